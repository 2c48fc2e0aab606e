"""Segments, templates, campaigns and figures."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from api.client.answers_campaigns import (
    CampaignDetails,
    CampaignFigures,
    CampaignPut,
    CampaignRow,
    DeliveryFigures,
    EstimateBody,
    LintReport,
    ListUploaded,
    PreviewBody,
    ReasonFigures,
    RunBody,
    SegmentDefined,
    SegmentDetails,
    SegmentEstimate,
    SegmentRow,
    StateBody,
    TemplateChanged,
    TemplateRow,
    TemplateVersion,
    TestSent,
)
from api.client.areas import Area, M, listing, method
from api.client.core import NDJSON, Paged, Request, Steps, decoded, json_body, path

Body = Mapping[str, Any]


class Segments(Area[M]):
    """`client.segments`."""

    @listing
    def list(self) -> Paged[SegmentRow]:
        """Give the tenant's segments, by name."""
        return self._paged("/v1/segments", SegmentRow)

    @method
    def get(self, name: str) -> Steps[SegmentDetails]:
        """Show a segment."""
        return self._ask("GET", path("/v1/segments/{}", name), SegmentDetails)

    @method
    def put(self, name: str, definition: Body) -> Steps[SegmentDefined]:
        """Define a segment by `rule`, `behaviour` or `sql`, and build it."""
        return self._ask("PUT", path("/v1/segments/{}", name), SegmentDefined, body=definition)

    @method
    def refresh(self, name: str) -> Steps[SegmentDefined]:
        """Build it anew."""
        return self._ask("POST", path("/v1/segments/{}/refresh", name), SegmentDefined)

    @method
    def delete(self, name: str) -> Steps[None]:
        """Remove a segment and its members."""
        return self._ask("DELETE", path("/v1/segments/{}", name), type(None))

    @listing
    def members(self, name: str) -> Paged[str]:
        """Give the ids of the users in it."""
        return self._paged(path("/v1/segments/{}/members", name), str)

    @method
    def upload(
        self, name: str, users: Iterable[str], *, mode: Literal["replace", "add", "remove"]
    ) -> Steps[ListUploaded]:
        """Upload a list of user ids. mode: what becomes of those that are in it already."""
        content = b"".join(json_body({"user_id": user}) + b"\n" for user in users)
        place = path("/v1/segments/{}/members", name)
        request = Request("PUT", place, {"mode": mode}, content, {"Content-Type": NDJSON})
        answer = yield from self._core.ask(request)
        return decoded(answer, ListUploaded)

    @method
    def estimate(self, expression: str) -> Steps[SegmentEstimate]:
        """Count the users of an expression, such as `buyers & eu`."""
        asked = {"expression": expression}
        return self._ask("POST", "/v1/segments:estimate", SegmentEstimate, body=asked)


class Templates(Area[M]):
    """`client.templates`."""

    @listing
    def list(self) -> Paged[TemplateRow]:
        """Give the tenant's templates, by name."""
        return self._paged("/v1/templates", TemplateRow)

    @method
    def get(self, name: str) -> Steps[TemplateRow]:
        """Show a template's versions."""
        return self._ask("GET", path("/v1/templates/{}", name), TemplateRow)

    @method
    def get_version(self, name: str, version: int) -> Steps[TemplateVersion]:
        """Show one version."""
        place = path("/v1/templates/{}/versions/{}", name, str(version))
        return self._ask("GET", place, TemplateVersion)

    @method
    def put(self, name: str, template: Body) -> Steps[TemplateChanged]:
        """Keep a draft."""
        return self._ask("PUT", path("/v1/templates/{}", name), TemplateChanged, body=template)

    @method
    def publish(self, name: str, *, version: int | None = None) -> Steps[TemplateChanged]:
        """Publish a version, the newest when none is given."""
        return self._turn(name, "publish", {"version": version})

    @method
    def rollback(self, name: str, *, to: int | None = None) -> Steps[TemplateChanged]:
        """Go back to a version, the one published before when none is given."""
        return self._turn(name, "rollback", {"to": to})

    def _turn(self, name: str, verb: str, body: Body) -> Steps[TemplateChanged]:
        place = path("/v1/templates/{}/" + verb, name)
        return self._ask("POST", place, TemplateChanged, body=body)

    @method
    def lint(self, name: str, *, version: int | None = None) -> Steps[LintReport]:
        """Say what is wrong with a version."""
        place = path("/v1/templates/{}/lint", name)
        return self._ask("POST", place, LintReport, body={"version": version})

    @method
    def preview(self, name: str, asked: Body) -> Steps[PreviewBody]:
        """Show what a user would see. asked: `platform`, maybe `user`, `locale`, `variables`."""
        return self._ask("POST", path("/v1/templates/{}/preview", name), PreviewBody, body=asked)

    @method
    def delete_version(self, name: str, version: int) -> Steps[None]:
        """Remove a version."""
        place = path("/v1/templates/{}/versions/{}", name, str(version))
        return self._ask("DELETE", place, type(None))

    @method
    def delete(self, name: str) -> Steps[None]:
        """Remove a template."""
        return self._ask("DELETE", path("/v1/templates/{}", name), type(None))


class Campaigns(Area[M]):
    """`client.campaigns`."""

    @listing
    def list(self) -> Paged[CampaignRow]:
        """Give the tenant's campaigns, by id."""
        return self._paged("/v1/campaigns", CampaignRow)

    @method
    def get(self, campaign_id: str) -> Steps[CampaignDetails]:
        """Show a campaign, its runs and its figures."""
        return self._ask("GET", path("/v1/campaigns/{}", campaign_id), CampaignDetails)

    @method
    def put(self, campaign_id: str, campaign: Body) -> Steps[CampaignPut]:
        """Define a campaign."""
        place = path("/v1/campaigns/{}", campaign_id)
        return self._ask("PUT", place, CampaignPut, body=campaign)

    @method
    def estimate(self, campaign_id: str) -> Steps[EstimateBody]:
        """Tell how many it would reach, and how long that takes."""
        return self._ask("POST", path("/v1/campaigns/{}/estimate", campaign_id), EstimateBody)

    @method
    def test_send(self, campaign_id: str, users: Iterable[str]) -> Steps[TestSent]:
        """Send it to these users only."""
        place = path("/v1/campaigns/{}/test-send", campaign_id)
        return self._ask("POST", place, TestSent, body={"users": list_of(users)})

    @method
    def start(self, campaign_id: str) -> Steps[RunBody]:
        """Start it."""
        return self._ask("POST", path("/v1/campaigns/{}/start", campaign_id), RunBody)

    @method
    def pause(self, campaign_id: str) -> Steps[StateBody]:
        """Hold what has not been sent."""
        return self._ask("POST", path("/v1/campaigns/{}/pause", campaign_id), StateBody)

    @method
    def resume(self, campaign_id: str) -> Steps[StateBody]:
        """Go on."""
        return self._ask("POST", path("/v1/campaigns/{}/resume", campaign_id), StateBody)

    @method
    def cancel(self, campaign_id: str) -> Steps[StateBody]:
        """End it for good."""
        return self._ask("POST", path("/v1/campaigns/{}/cancel", campaign_id), StateBody)

    @method
    def delete(self, campaign_id: str) -> Steps[None]:
        """Remove a campaign that does not run."""
        return self._ask("DELETE", path("/v1/campaigns/{}", campaign_id), type(None))


def list_of(values: Iterable[str]) -> "list[str]":
    """Give a list; inside an area `list` is a method."""
    return [*values]


class Figures(Area[M]):
    """`client.figures`. since, until: the last day when absent."""

    @method
    def deliveries(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        interval: str | None = None,
        by: Iterable[str] = (),
        platform: str | None = None,
        priority: str | None = None,
        category: str | None = None,
    ) -> Steps[DeliveryFigures]:
        """Count what became of deliveries, by interval and maybe platform, priority, category."""
        params = {
            **_between(since, until),
            "interval": interval,
            "by": list_of(by) or None,
            "platform": platform,
            "priority": priority,
            "category": category,
        }
        return self._ask("GET", "/v1/metrics/deliveries", DeliveryFigures, params=params)

    @method
    def reasons(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        category: str | None = None,
    ) -> Steps[ReasonFigures]:
        """Count why messages did not arrive."""
        params = {**_between(since, until), "category": category}
        return self._ask("GET", "/v1/metrics/reasons", ReasonFigures, params=params)

    @method
    def campaign(self, campaign_id: str) -> Steps[CampaignFigures]:
        """Count what a campaign did, by variant."""
        return self._ask("GET", path("/v1/metrics/campaigns/{}", campaign_id), CampaignFigures)


def _between(since: datetime | None, until: datetime | None) -> dict[str, str | None]:
    """Give the parameters of a span of time."""
    return {
        "from": since.isoformat() if since is not None else None,
        "to": until.isoformat() if until is not None else None,
    }
