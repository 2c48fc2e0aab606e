"""Campaigns as the API answers with them."""

from collections.abc import Sequence

from pydantic import BaseModel

from api.campaign_view import run_of, standing_of
from api.campaigns import Estimate, Standing
from schemas.campaigns import Campaign
from schemas.tenant import Tenant


class RunBody(BaseModel):
    """One run. users: in the audience when it began. Times in ISO 8601, "" for not yet."""

    run: str
    phase: str
    note: str
    due: str
    started: str
    released_percent: float
    step: int
    users: int
    users_routed: int


class CampaignRow(BaseModel):
    """A campaign in a list. wanted: running, paused, cancelled, or "" when it never started."""

    campaign: str
    version: int
    wanted: str
    latest: RunBody | None


class ReasonCount(BaseModel):
    """How many outcomes had this reason."""

    status: str
    reason: str
    outcomes: int


class CampaignDetails(BaseModel):
    """A campaign: what was asked for, where it stands, and what became of it.

    runs: the latest first. funnel, reasons: None while ClickHouse does not answer.
    """

    campaign: str
    version: int
    wanted: str
    definition: Campaign
    runs: list[RunBody]
    funnel: dict[str, int] | None = None
    reasons: list[ReasonCount] | None = None


class CampaignPut(BaseModel):
    """What was defined."""

    campaign: str
    version: int
    definition: Campaign


class EstimateBody(BaseModel):
    """Whom a campaign would reach now, exactly, and how long it would take, roughly.

    devices_per_user, platforms (shares): from `sampled` users. users_per_s: the slowest speed that
    is known, limited_by says of what; None while none is. seconds: with the holds of its ramp.
    """

    users: int
    sampled: int
    devices_per_user: float
    platforms: dict[str, float]
    users_per_s: float | None
    limited_by: str
    hold_s: float
    seconds: float | None


class StateBody(BaseModel):
    """What people want of a campaign now. overruled: the gate's words, if a gate had stopped it."""

    campaign: str
    state: str
    overruled: str = ""


class TestSent(BaseModel):
    """The message that is on its way to so many users."""

    __test__ = False

    message_id: str
    users: int
    priority: str


def runs_of(standing: Standing, tenant: Tenant) -> list[RunBody]:
    """Give a campaign's runs."""
    return [RunBody(**run_of(run, tally, tenant)) for run, tally in standing.runs]


def row_of(standing: Standing, tenant: Tenant) -> CampaignRow:
    """Give a campaign for a list."""
    told = standing_of(standing, tenant)
    runs = runs_of(standing, tenant)
    return CampaignRow(
        campaign=told["campaign"],
        version=told["version"],
        wanted=told["wanted"],
        latest=runs[0] if runs else None,
    )


def details_of(
    standing: Standing,
    tenant: Tenant,
    figures: tuple[dict[str, int], Sequence[tuple[str, str, int]]] | None,
) -> CampaignDetails:
    """Give all about a campaign. figures: funnel and reasons, None when they are not known."""
    told = standing_of(standing, tenant)
    funnel, reasons = figures if figures is not None else (None, None)
    return CampaignDetails(
        campaign=told["campaign"],
        version=told["version"],
        wanted=told["wanted"],
        definition=standing.campaign,
        runs=runs_of(standing, tenant),
        funnel=funnel,
        reasons=None
        if reasons is None
        else [ReasonCount(status=s, reason=r, outcomes=n) for s, r, n in reasons],
    )


def estimate_of(found: Estimate) -> EstimateBody:
    """Give an estimate."""
    return EstimateBody(**found._asdict())
