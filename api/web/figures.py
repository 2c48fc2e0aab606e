"""Figures for analysts: deliveries over time, reasons, and how far campaigns got."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import AwareDatetime, BaseModel

from api.web.asking import asking
from api.web.door import door_of
from api.web.guard import may
from api.web.problems import ProblemError, not_found
from api.web.routing import DoorRoute
from schemas.access import Principal, Scope
from schemas.definitions import Kind
from schemas.pipeline import Platform, Priority
from sinks.campaign_figures import FUNNEL
from sinks.figures import (
    MAX_REASONS,
    MAX_ROWS,
    Bucket,
    Dimension,
    Figures,
    Funnel,
    Interval,
    Window,
)

LONGEST: Mapping[Interval, timedelta] = {
    Interval.MINUTE: timedelta(days=1),
    Interval.HOUR: timedelta(days=62),
    Interval.DAY: timedelta(days=400),
}
"""How long a window may be: about 1,500 buckets."""
LONGEST_READ = timedelta(days=31)
"""How long a window may be that is read from outcomes, and not from their sums."""
USUAL: Mapping[Interval, timedelta] = {
    Interval.MINUTE: timedelta(hours=1),
    Interval.HOUR: timedelta(days=1),
    Interval.DAY: timedelta(days=30),
}
"""How long it is where its beginning is not said."""
CATEGORY_CHARS = 64

router = APIRouter(prefix="/v1", tags=["figures"], route_class=DoorRoute)
Reader = Annotated[Principal, may(Scope.METRICS_READ)]
From = Annotated[
    AwareDatetime | None, Query(alias="from", description="included; RFC 3339, with its zone")
]
To = Annotated[AwareDatetime | None, Query(alias="to", description="not included; now without")]
CategoryName = Annotated[str, Query(max_length=CATEGORY_CHARS, description="only of this one")]


class DeliveryCounts(BaseModel):
    """Outcomes by status. retried, deferred: will be tried again. opened to dismissed: feedback."""

    outcomes: int
    sent: int
    failed: int
    rejected: int
    suppressed: int
    expired: int
    unknown: int
    retried: int
    deferred: int
    delivered: int
    opened: int
    clicked: int
    dismissed: int


class DeliveryBucket(DeliveryCounts):
    """What became of deliveries in [at, at + interval).

    platform, priority, category: where `by` names them. latency: from acceptance to the provider's
    answer, of what was sent, in ms; null where nothing was.
    """

    at: datetime
    platform: str | None = None
    priority: str | None = None
    category: str | None = None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None


class DeliveryFigures(BaseModel):
    """Buckets by time; those in which nothing happened are left out. since, until: as asked."""

    since: datetime
    until: datetime
    interval: Interval
    buckets: list[DeliveryBucket]


class ReasonRow(BaseModel):
    """How many outcomes of a category had this status and reason."""

    category: str
    status: str
    reason: str
    outcomes: int


class ReasonFigures(BaseModel):
    """Outcomes by reason, the most frequent first."""

    since: datetime
    until: datetime
    reasons: list[ReasonRow]


class FunnelBody(BaseModel):
    """Users, each once, and deliveries, by how far they got. Users of millions are 0.5 % exact."""

    targeted_users: int
    suppressed_users: int
    sent_users: int
    failed_users: int
    delivered_users: int
    opened_users: int
    clicked_users: int
    sent_deliveries: int
    failed_deliveries: int


class VariantFunnel(FunnelBody):
    """Of the users who were to see one variant of the message."""

    variant: str


class CampaignFigures(BaseModel):
    """How far a campaign got, over all of its runs, and each variant of its message."""

    campaign: str
    funnel: FunnelBody
    variants: list[VariantFunnel]


@router.get("/metrics/deliveries")
def deliveries(
    request: Request,
    caller: Reader,
    *,
    since: From = None,
    until: To = None,
    interval: Interval = Interval.HOUR,
    by: Annotated[
        list[Dimension], Query(max_length=3, description="what they are told apart by")
    ] = [],  # noqa: B006 - FastAPI copies it
    platform: Annotated[Platform | None, Query(description="only of this one")] = None,
    priority: Annotated[Priority | None, Query(description="only of this one")] = None,
    category: CategoryName = "",
) -> DeliveryFigures:
    """Count deliveries over time by what became of them, with the latency of what was sent.

    Read from sums by the minute; with a category, from the outcomes themselves, 31 days at most.
    """
    door = door_of(request)
    said = {Dimension.PLATFORM: platform, Dimension.PRIORITY: priority,
            Dimension.CATEGORY: category}  # fmt: skip
    only = {name: str(value) for name, value in said.items() if value}
    dimensions = list(dict.fromkeys(by))
    longest = LONGEST[interval]
    if Dimension.CATEGORY in {*dimensions, *only}:
        longest = min(longest, LONGEST_READ)
    window = _window(since, until, door.now_ms(), usual=USUAL[interval], longest=longest)
    with asking(door) as client:
        found = Figures(client, caller.tenant).deliveries(
            window, interval, by=dimensions, only=only
        )
    if len(found) > MAX_ROWS:
        raise _fault(
            "interval", f"there are more than {MAX_ROWS} buckets: use a longer one, or less of by"
        )
    return DeliveryFigures(
        since=_time(window.since_ms),
        until=_time(window.until_ms),
        interval=interval,
        buckets=[_bucket(one) for one in found],
    )


@router.get("/metrics/reasons")
def reasons(
    request: Request,
    caller: Reader,
    *,
    since: From = None,
    until: To = None,
    category: CategoryName = "",
) -> ReasonFigures:
    """Count outcomes by category, status and reason, the most frequent first.

    Of the last day where `from` is left out; 31 days at most.
    """
    door = door_of(request)
    usual = USUAL[Interval.HOUR]
    window = _window(since, until, door.now_ms(), usual=usual, longest=LONGEST_READ)
    with asking(door) as client:
        found = Figures(client, caller.tenant).reasons(window, category=category)
    if len(found) > MAX_REASONS:
        raise _fault("category", f"there are more than {MAX_REASONS} reasons: name one")
    return ReasonFigures(
        since=_time(window.since_ms),
        until=_time(window.until_ms),
        reasons=[ReasonRow(**one._asdict()) for one in found],
    )


@router.get("/metrics/campaigns/{campaign_id}")
def campaign(
    request: Request,
    campaign_id: Annotated[str, Path(min_length=1, max_length=90)],
    caller: Reader,
) -> CampaignFigures:
    """Give how far a campaign got, over all of its runs, and each variant of its message.

    Also of one that was removed: figures stay for 13 months.
    """
    door = door_of(request)
    with asking(door) as client:
        figures = Figures(client, caller.tenant)
        found, variants = figures.campaign(campaign_id), figures.variants(campaign_id)
    if found is None:
        if door.definitions.get(Kind.CAMPAIGN, caller.tenant, campaign_id) is None:
            raise not_found(f"campaign {campaign_id!r}")
        found = Funnel("", dict.fromkeys(FUNNEL, 0))
    return CampaignFigures(
        campaign=campaign_id,
        funnel=FunnelBody(**found.counts),
        variants=[VariantFunnel(variant=one.variant, **one.counts) for one in variants],
    )


def _window(
    since: datetime | None,
    until: datetime | None,
    now_ms: int,
    *,
    usual: timedelta,
    longest: timedelta,
) -> Window:
    """Give the window that is asked for. Raises ProblemError."""
    end = until if until is not None else _time(now_ms)
    begin = since if since is not None else end - usual
    if begin >= end:
        raise _fault("from", "must be before to")
    if end - begin > longest:
        raise _fault("from", f"must be at most {longest.days} days before to, for these figures")
    if not datetime(2000, 1, 1, tzinfo=UTC) < begin < end < datetime(2200, 1, 1, tzinfo=UTC):
        raise _fault("from", "use a time between the years 2000 and 2200")
    return Window(int(begin.timestamp() * 1_000), int(end.timestamp() * 1_000))


def _fault(field: str, fix: str) -> ProblemError:
    return ProblemError(422, f"{field}: {fix}", errors=[(field, fix)])


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)


def _bucket(one: Bucket) -> DeliveryBucket:
    p50, p95, p99 = one.latency
    return DeliveryBucket(
        at=datetime.fromtimestamp(one.at_s, UTC),
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        latency_p99_ms=p99,
        **one.names,
        **one.counts,
    )
