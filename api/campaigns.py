"""What people do with campaigns: define, estimate, try, start, steer and watch them."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic import ValidationError

from api.publishing import DefinitionWriter, Publisher
from api.refusals import RefusedError, Why
from operators.campaign_times import first_due_ms
from operators.campaigns import campaign_of, encode_run, is_over, run_key
from operators.recall import campaign_control
from schemas import segments as algebra
from schemas.campaigns import Campaign, Control, ControlState, Phase, Run, control_of, run_id_of
from schemas.decode import explain, faults
from schemas.definitions import Definition, Kind
from schemas.events import Event
from schemas.pipeline import Priority
from schemas.stream import Record
from schemas.tenant import Tenant
from schemas.topics import CAMPAIGNS, EVENTS
from sinks.campaign_figures import CampaignFigures
from state.definitions import Definitions
from state.profiles import Profiles
from state.progress import RUNS_KEPT, Progress, Tally
from state.segments import EVERYONE, Segments

MAX_CAMPAIGNS = 1_000
SAMPLE_USERS = 2_000
LEAST_USERS = 1_000
"""An earlier run of fewer users says little about speed."""


class CampaignError(RefusedError):
    """It cannot be done; the message names the field and says what to do."""


class Estimate(NamedTuple):
    """What a campaign would reach, and how long it would take.

    users: exact, now. devices_per_user, platforms: from `sampled` users; platforms are shares of
    their devices. users_per_s: the slowest of throttle, tenant's rate and what earlier campaigns
    reached, `limited_by` says which; None while there is none of them. seconds: until the last
    message is sent, with the holds of its ramp; None when the speed is not known.
    """

    users: int
    sampled: int
    devices_per_user: float
    platforms: dict[str, float]
    users_per_s: float | None
    limited_by: str
    hold_s: float
    seconds: float | None


class Standing(NamedTuple):
    """Where a campaign stands. runs: the latest first, each with what route is through with."""

    campaign: Campaign
    version: int
    control: Control | None
    runs: Sequence[tuple[Run, Tally]]


class Campaigns:
    """A tenant's campaigns. now_ms: the flows' business clock.

    Methods raise CampaignError, and what publishing and the stores raise.
    """

    def __init__(
        self,
        tenant: Tenant,
        *,
        definitions: Definitions,
        segments: Segments,
        profiles: Profiles,
        progress: Progress,
        publisher: Publisher,
        writer: DefinitionWriter,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._tenant = tenant
        self._definitions = definitions
        self._segments = segments
        self._profiles = profiles
        self._progress = progress
        self._publisher = publisher
        self._writer = writer
        self._now_ms = now_ms

    # -- defining

    def put(self, said: Mapping[str, Any], *, over: int | None = None) -> tuple[Campaign, int]:
        """Define a campaign, or a new version of it; a run under way keeps the one it has."""
        campaign = self.checked(said)
        known = self._definitions.get(Kind.CAMPAIGN, self._tenant.name, campaign.id)
        if known is None and len(self.names()) >= MAX_CAMPAIGNS:
            raise CampaignError(f"there are {MAX_CAMPAIGNS} campaigns: remove some that are over")
        body = campaign.model_dump(mode="json", exclude_none=True)
        version = self._writer.put(Kind.CAMPAIGN, self._tenant.name, campaign.id, body, over=over)
        return campaign, version

    def checked(self, said: Mapping[str, Any]) -> Campaign:
        """Check what someone wrote against its form and against the tenant."""
        try:
            campaign = Campaign.model_validate({"tenant": self._tenant.name, **said})
        except ValidationError as error:
            raise CampaignError(explain(faults(Campaign, error))) from None
        self._fits_tenant(campaign)
        return campaign

    def _fits_tenant(self, campaign: Campaign) -> None:
        own = self._tenant.name
        if campaign.tenant != own:
            raise CampaignError(f"tenant: is {campaign.tenant!r}, and this is {own!r}")
        event = campaign.event(campaign.id)
        if event.category not in self._tenant.categories:
            known = ", ".join(sorted(self._tenant.categories))
            raise CampaignError(f"message.category: there is no {event.category!r}, use {known}")

    def get(self, campaign: str) -> tuple[Campaign, Definition]:
        """Give a campaign and its definition."""
        found = self._definitions.get(Kind.CAMPAIGN, self._tenant.name, campaign)
        if found is None:
            raise CampaignError(f"there is no campaign {campaign!r}", Why.MISSING)
        return campaign_of(found.body), found

    def names(self) -> list[str]:
        """Give all campaigns' ids, sorted."""
        return list(self._definitions.all(Kind.CAMPAIGN, self._tenant.name))

    def remove(self, campaign: str, *, over: int | None = None) -> None:
        """Forget a campaign that is not under way. over: the version that it must have."""
        self.get(campaign)
        if self._under_way(campaign):
            raise CampaignError(f"{campaign!r} is under way: cancel it first", Why.CONFLICT)
        self._writer.remove(Kind.CAMPAIGN, self._tenant.name, campaign, over=over)

    # -- before it starts

    def estimate(self, campaign: Campaign, figures: CampaignFigures) -> Estimate:
        """Count whom it would reach now, and work out how long that takes."""
        tree = self._audience(campaign)
        name, shards = self._tenant.name, self._tenant.shards
        users = self._segments.count(name, shards, tree)
        sample: list[str] = []
        for shard in range(shards):
            if len(sample) >= SAMPLE_USERS:
                break
            sample += self._segments.members(name, shard, tree)[: SAMPLE_USERS - len(sample)]
        found = self._profiles.get_many(name, shards, sample)
        platforms = Counter(d.platform.value for p in found if p is not None for d in p.devices)
        devices = platforms.total()
        each = devices / len(sample) if sample else 0.0
        speeds = {
            "users_per_minute": (campaign.users_per_minute or 0) / 60,
            "the tenant's rate": (self._tenant.rates.per_second or 0) / each if each else 0,
            "earlier campaigns": figures.users_per_s(name, least=LEAST_USERS) or 0,
        }
        known = {why: speed for why, speed in speeds.items() if speed}
        slowest = min(known, key=known.__getitem__, default="")
        speed = known.get(slowest)
        steps = campaign.ramp.steps if campaign.ramp is not None else ()
        hold_s = float(sum(step.hold_s for step in steps if step.percent < 100))
        return Estimate(
            users=users,
            sampled=len(sample),
            devices_per_user=round(each, 3),
            platforms={p: round(n / devices, 3) for p, n in sorted(platforms.items())},
            users_per_s=speed,
            limited_by=slowest,
            hold_s=hold_s,
            seconds=None if speed is None else users / speed + hold_s,
        )

    def test_send(
        self, campaign: Campaign, users: Sequence[str], *, priority: Priority = Priority.HIGH
    ) -> str:
        """Send its message to these users now, outside the campaign; give the message's id."""
        message_id = f"test:{campaign.id}:{uuid4().hex[:12]}"
        whole = {**campaign.message, "audience": {"users": list(users)}, "priority": priority}
        whole.pop("holdout_percent", None)
        try:
            event = Event.model_validate({**whole, "id": message_id, "tenant": campaign.tenant})
        except ValidationError as error:
            raise CampaignError(explain(faults(Event, error))) from None
        self._publisher.put([Record(EVENTS[event.priority], message_id.encode(), event.to_json())])
        return message_id

    # -- steering

    def start(self, campaign: str) -> Run:
        """Start a campaign: at its time, or now. Gives its first run."""
        spec, found = self.get(campaign)
        self._fits_tenant(spec)
        self._audience(spec)
        if self._under_way(campaign):
            raise CampaignError(
                f"{campaign!r} is under way: cancel it before you start it again", Why.CONFLICT
            )
        due_ms = first_due_ms(spec.schedule, self._now_ms())
        if not due_ms:
            raise CampaignError("schedule.until: is over, choose a later time")
        start_id, name = uuid4().hex[:8], self._tenant.name
        run_id = run_id_of(campaign, start_id, due_ms)
        run = Run(run_id, name, campaign, start_id, found.body, due_ms)
        # The run ends where its control names another start; so that one is there first.
        self._control(campaign, Control(state=ControlState.RUNNING, start_id=start_id))
        self._publisher.put([Record(CAMPAIGNS, run_key(run), encode_run(run))])
        self._progress.save([run])
        return run

    def pause(self, campaign: str) -> None:
        """Release nobody more, and hold what is queued in chunks; see resume."""
        self._change(campaign, ControlState.PAUSED)

    def resume(self, campaign: str) -> str:
        """Go on after a pause, or in spite of a gate that did not hold; gives the gate's words."""
        runs = self._progress.runs(self._tenant.name, campaign)
        stopped = next((run for run in runs if run.phase is Phase.STOPPED), None)
        waived = f"{stopped.run_id}/{stopped.step}" if stopped is not None else None
        self._change(campaign, ControlState.RUNNING, waived=waived)
        return stopped.note if stopped is not None else ""

    def cancel(self, campaign: str) -> None:
        """End it: nobody more is released, and what has not left for a provider stops."""
        self._change(campaign, ControlState.CANCELLED)

    def standing(self, campaign: str, *, latest: int = RUNS_KEPT) -> Standing:
        """Give where it stands. latest: how many runs to look at; each is a round trip."""
        spec, found = self.get(campaign)
        name = self._tenant.name
        runs = self._progress.runs(name, campaign)[:latest]
        tallies = [self._progress.tally(name, run.run_id) for run in runs]
        control = self._known_control(campaign)
        return Standing(spec, found.version, control, list(zip(runs, tallies, strict=True)))

    def _audience(self, campaign: Campaign) -> algebra.Expression:
        """Parse the audience, of segments that exist."""
        audience = campaign.event(campaign.id).audience
        tree = algebra.parse(getattr(audience, "segment", EVERYONE))
        named = algebra.names(tree)
        if missing := set(named) - self._segments.exists(self._tenant.name, named):
            listed = ", ".join(sorted(missing))
            raise CampaignError(f"message.audience: there is no segment {listed}; upload it first")
        return tree

    def _under_way(self, campaign: str) -> bool:
        control = self._known_control(campaign)
        if control is None or control.state is ControlState.CANCELLED:
            return False
        runs = self._progress.runs(self._tenant.name, campaign)
        return any(run.start_id == control.start_id and not is_over(run) for run in runs)

    def _change(self, campaign: str, state: ControlState, *, waived: str | None = None) -> None:
        self.get(campaign)
        control = self._known_control(campaign)
        if control is None:
            raise CampaignError(f"{campaign!r} was never started", Why.CONFLICT)
        if not self._under_way(campaign):
            raise CampaignError(
                f"{campaign!r} is over: start it again if you want it", Why.CONFLICT
            )
        changes: dict[str, Any] = {"state": state}
        if waived is not None:
            changes["waived"] = waived
        self._control(campaign, control.model_copy(update=changes))

    def _known_control(self, campaign: str) -> Control | None:
        name = campaign_control(campaign)
        found = self._definitions.get(Kind.CONTROL, self._tenant.name, name)
        return None if found is None else control_of(found)

    def _control(self, campaign: str, control: Control) -> None:
        body = control.model_dump(mode="json")
        self._writer.put(Kind.CONTROL, self._tenant.name, campaign_control(campaign), body)
