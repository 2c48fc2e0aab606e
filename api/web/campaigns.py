"""Campaigns: defined, estimated, tried, started, steered and watched."""

from bisect import bisect_right
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.campaign_stores import campaigns_of
from api.campaign_view import run_of
from api.campaigns import Campaigns, Standing
from api.web.asking import asking
from api.web.audit import note
from api.web.campaign_bodies import (
    CampaignDetails,
    CampaignPut,
    CampaignRow,
    EstimateBody,
    RunBody,
    StateBody,
    TestSent,
    details_of,
    estimate_of,
    row_of,
)
from api.web.conditions import When, etag
from api.web.door import Door, door_of
from api.web.guard import may
from api.web.paging import DEFAULT_LIMIT, CostlyLimit, Cursor, Page, after, page_of
from api.web.permits import check_sendable
from api.web.problems import ProblemError, faulty
from api.web.routing import DoorRoute
from api.web.stores import stores_of
from schemas.access import Principal, Scope
from schemas.campaign_asks import CampaignAsk, TestSendAsk
from schemas.campaigns import Campaign, ControlState
from schemas.definitions import Kind
from schemas.pipeline import Priority
from sinks.campaign_figures import CampaignFigures
from state.progress import Tally

router = APIRouter(prefix="/v1", tags=["campaigns"], route_class=DoorRoute)

CampaignName = Annotated[str, Path(min_length=1, max_length=90, description="of the campaign")]
Reader = Annotated[Principal, may(Scope.CAMPAIGNS_READ)]
Writer = Annotated[Principal, may(Scope.CAMPAIGNS_WRITE)]
TEST_PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
"""A test send goes as the first of these that its caller may send."""


def _campaigns(door: Door, caller: Principal) -> Campaigns:
    return campaigns_of(stores_of(door, caller), door.now_ms)


def _check(caller: Principal, campaign: Campaign) -> None:
    """Refuse a campaign that the caller may not send. Raises ProblemError: 403."""
    event = campaign.event(campaign.id)
    check_sendable(caller, event.category, event.priority, at="message.")


@router.get("/campaigns")
def list_campaigns(
    request: Request, caller: Reader, limit: CostlyLimit = DEFAULT_LIMIT, cursor: Cursor = ""
) -> Page[CampaignRow]:
    """List the campaigns and where their latest runs stand."""
    door = door_of(request)
    campaigns, tenant = _campaigns(door, caller), door.tenant_of(caller)
    what = f"{caller.tenant}/campaigns"
    every = campaigns.names()
    start = bisect_right(every, after(door.signer, what, cursor, door.wall_ms()))
    found = [
        row_of(campaigns.standing(name, latest=1), tenant)
        for name in every[start : start + limit + 1]
    ]
    return page_of(
        found, signer=door.signer, what=what, limit=limit, name_of=lambda one: one.campaign
    )


@router.put("/campaigns/{campaign_id}")
def put_campaign(
    request: Request,
    response: Response,
    *,
    campaign_id: CampaignName,
    body: CampaignAsk,
    caller: Writer,
    when: When,
) -> CampaignPut:
    """Define a campaign, or a new version of it. Sends nothing.

    A run under way keeps the version that it started with.
    """
    door = door_of(request)
    campaigns = _campaigns(door, caller)
    if body.id not in {None, campaign_id}:
        raise faulty(f"id: is {body.id!r}, and the address says {campaign_id!r}")
    said = {**body.model_dump(mode="json", exclude_unset=True), "id": campaign_id}
    _check(caller, campaigns.checked(said))
    known = door.definitions.get(Kind.CAMPAIGN, caller.tenant, campaign_id)
    note(request, target=campaign_id, before=None if known is None else known.body, after=said)
    with when.kept():
        over = when.over(0 if known is None else known.version)
        campaign, version = campaigns.put(said, over=over)
    response.headers["ETag"] = etag(version)
    return CampaignPut(campaign=campaign_id, version=version, definition=campaign)


@router.get("/campaigns/{campaign_id}")
def get_campaign(
    request: Request, response: Response, campaign_id: CampaignName, caller: Reader
) -> CampaignDetails:
    """Show a campaign: its definition, its runs, its funnel, and why users got nothing."""
    door = door_of(request)
    standing = _campaigns(door, caller).standing(campaign_id)
    response.headers["ETag"] = etag(standing.version)
    return details_of(standing, door.tenant_of(caller), _figures(door, caller.tenant, standing))


def _figures(
    door: Door, tenant: str, standing: Standing
) -> tuple[dict[str, int], list[tuple[str, str, int]]] | None:
    """Ask for funnel and reasons; None while ClickHouse is away: the rest is needed then, too."""
    name = standing.campaign.id
    since_ms = min((run.started_ms or run.due_ms for run, _ in standing.runs), default=0)
    try:
        with asking(door) as client:
            figures = CampaignFigures(lambda: client)
            funnel = figures.funnel(tenant, name)
            return funnel, figures.reasons(tenant, name, since_ms=since_ms)
    except ProblemError:
        return None


@router.delete("/campaigns/{campaign_id}", status_code=204)
def delete_campaign(
    request: Request, campaign_id: CampaignName, caller: Writer, when: When
) -> Response:
    """Forget a campaign that is not under way. What it sent stays in the figures."""
    campaigns = _campaigns(door_of(request), caller)
    _, found = campaigns.get(campaign_id)
    note(request, target=campaign_id, before=found.body)
    with when.kept():
        campaigns.remove(campaign_id, over=when.over(found.version))
    return Response(status_code=204, headers=request.state.limit_headers)


@router.post("/campaigns/{campaign_id}/estimate")
def estimate_campaign(request: Request, campaign_id: CampaignName, caller: Reader) -> EstimateBody:
    """Count whom a campaign would reach now, and how long it would take. Sends nothing."""
    door = door_of(request)
    note(request, target=campaign_id)
    campaigns = _campaigns(door, caller)
    campaign, _ = campaigns.get(campaign_id)
    with asking(door) as client:
        return estimate_of(campaigns.estimate(campaign, CampaignFigures(lambda: client)))


@router.post("/campaigns/{campaign_id}/test-send", status_code=202)
def test_send(
    request: Request, campaign_id: CampaignName, ask: TestSendAsk, caller: Writer
) -> TestSent:
    """Send a campaign's message to some users now; it counts for nothing but their caps.

    It goes with high priority, or the highest below it that the caller may send.
    """
    campaigns = _campaigns(door_of(request), caller)
    campaign, _ = campaigns.get(campaign_id)
    priority = next((one for one in TEST_PRIORITIES if one in caller.priorities), Priority.HIGH)
    check_sendable(caller, campaign.message["category"], priority, at="message.")
    message_id = campaigns.test_send(campaign, ask.users, priority=priority)
    note(request, target=campaign_id, after=[message_id, *ask.users])
    return TestSent(message_id=message_id, users=len(ask.users), priority=priority)


@router.post("/campaigns/{campaign_id}/start")
def start_campaign(
    request: Request, campaign_id: CampaignName, caller: Writer, when: When
) -> RunBody:
    """Start a campaign: at its time, or now."""
    door = door_of(request)
    campaigns = _campaigns(door, caller)
    campaign, found = campaigns.get(campaign_id)
    _check(caller, campaign)
    note(request, target=campaign_id, before=found.body)
    when.over(found.version)
    run = campaigns.start(campaign_id)
    note(request, target=campaign_id, before=found.body, after=run.run_id)
    return RunBody(**run_of(run, Tally(), door.tenant_of(caller)))


@router.post("/campaigns/{campaign_id}/pause")
def pause_campaign(request: Request, campaign_id: CampaignName, caller: Writer) -> StateBody:
    """Release nobody more, within a second. What providers' queues have still goes; see cancel."""
    note(request, target=campaign_id, after=ControlState.PAUSED)
    _campaigns(door_of(request), caller).pause(campaign_id)
    return StateBody(campaign=campaign_id, state=ControlState.PAUSED)


@router.post("/campaigns/{campaign_id}/resume")
def resume_campaign(request: Request, campaign_id: CampaignName, caller: Writer) -> StateBody:
    """Go on after a pause, or in spite of a gate that did not hold."""
    campaigns = _campaigns(door_of(request), caller)
    note(request, target=campaign_id, after=ControlState.RUNNING)
    _check(caller, campaigns.get(campaign_id)[0])
    overruled = campaigns.resume(campaign_id)
    return StateBody(campaign=campaign_id, state=ControlState.RUNNING, overruled=overruled)


@router.post("/campaigns/{campaign_id}/cancel")
def cancel_campaign(request: Request, campaign_id: CampaignName, caller: Writer) -> StateBody:
    """End a campaign, within a second; what has not left for a provider is retracted."""
    note(request, target=campaign_id, after=ControlState.CANCELLED)
    _campaigns(door_of(request), caller).cancel(campaign_id)
    return StateBody(campaign=campaign_id, state=ControlState.CANCELLED)
