"""Campaigns: one message for a large audience, released over time as its author says."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from schemas.content import Wire
from schemas.definitions import Definition
from schemas.duration import WholeSeconds
from schemas.events import BadEventError, Event, decode_event
from schemas.fields import ID_PATTERN, ClockTime, Name, Time, TimeZone
from schemas.pipeline import Priority

OWN_FIELDS = ("id", "tenant", "campaign_id", "idempotency_key", "created_at", "send_at",
              "expires_at")  # fmt: skip
"""Of the message, what the campaign itself decides."""
LOCAL_TIME_PATTERN = r"^2\d{3}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d$"
DAY_S = 86_400


def _cron(text: str) -> str:
    try:
        next(CronSim(text, datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))))
    except CronSimError as error:
        raise ValueError(
            f"{error}; write minute, hour, day, month and weekday, such as '0 9 * * mon'"
        ) from None
    except StopIteration:
        raise ValueError("such a time never comes") from None
    return text


def _local_time(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("there is no such day") from None
    return text


CampaignId = Annotated[str, Field(min_length=1, max_length=90, pattern=ID_PATTERN)]
"""Shorter than other ids, as those of its runs are made from it."""
Cron = Annotated[str, Field(min_length=9, max_length=200), AfterValidator(_cron)]
LocalTime = Annotated[str, Field(pattern=LOCAL_TIME_PATTERN), AfterValidator(_local_time)]


_RUN_ID = re.compile(r"(.+):([0-9a-z]{2,8}):(\d{1,16})")


class Schedule(Wire):
    """When a campaign runs: at most one of these; at once when there is none.

    at: once, then. cron, time_zone: again and again, by the clock of that zone, until `until`.
    local_at: at this wall-clock time in each user's own zone. best_hour_from: within the day after
    this time, at the hour at which each user opens most; at default_hour of their day when nothing
    is known.
    """

    at: Time | None = None
    cron: Cron | None = None
    time_zone: TimeZone = "UTC"
    until: Time | None = None
    local_at: LocalTime | None = None
    best_hour_from: Time | None = None
    default_hour: ClockTime = "10:00"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = ("at", "cron", "local_at", "best_hour_from")
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give only one of {' and '.join(given)}")
        if self.until is not None and self.cron is None:
            raise ValueError("until: belongs to cron, remove it")
        return self


_Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class RampStep(Wire):
    """The share of the audience that has the message after this step, and how long to watch it."""

    percent: _Percent
    hold_s: Annotated[WholeSeconds, Field(ge=1, le=7 * DAY_S)] = 300


class Gates(Wire):
    """What must hold after a step before the next one begins; else the campaign pauses itself.

    failure_percent: of the deliveries that ended, how many failed. p99_ms: from release to the
    provider's answer. opt_out_percent: of the users reached, how many have opted out since.
    min_sent: before so many were sent nothing is judged, and the step holds for at most a day.
    """

    failure_percent: _Percent | None = 5.0
    p99_ms: Annotated[int, Field(strict=True, ge=1, le=3_600_000)] | None = None
    opt_out_percent: _Percent | None = 1.0
    min_sent: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0


class Ramp(Wire):
    """A canary first, then more: `steps` end with 100 percent, which is added when missing."""

    steps: Annotated[tuple[RampStep, ...], Field(min_length=1, max_length=20)]
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _rising(self) -> Self:
        percents = [step.percent for step in self.steps]
        if sorted(set(percents)) != percents:
            raise ValueError("steps: let each percent be more than the one before")
        return self

    @property
    def percents(self) -> tuple[float, ...]:
        """The shares, the whole audience last."""
        found = tuple(step.percent for step in self.steps)
        return found if found[-1] == 100 else (*found, 100.0)


class Campaign(Wire):
    """A campaign as its author writes it.

    id: names it everywhere. message: an event without id and times, for a segment, everyone or
    whatever else stands for a set of users; its priority is low unless it says normal.
    users_per_minute: no faster than this. ramp: a part of the audience first.
    """

    schema_version: Literal[1] = 1
    id: CampaignId
    tenant: Name
    message: Annotated[dict[str, Any], Field(max_length=100)]
    schedule: Schedule = Schedule()
    users_per_minute: Annotated[int, Field(strict=True, ge=1, le=100_000_000)] | None = None
    ramp: Ramp | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in OWN_FIELDS:
            if name in self.message:
                raise ValueError(f"message.{name}: the campaign decides this, remove it")
        event = self.event(self.id)
        if event.priority not in {Priority.NORMAL, Priority.LOW}:
            raise ValueError("message.priority: a campaign is normal or low")
        audience = event.audience
        if hasattr(audience, "users") or hasattr(audience, "devices"):
            raise ValueError(
                "message.audience: name a segment or everyone; upload a list as a segment first"
            )
        if (self.schedule.local_at or self.schedule.best_hour_from) and (
            self.users_per_minute or self.ramp
        ):
            raise ValueError(
                "schedule: local_at and best_hour_from go with neither users_per_minute nor ramp"
            )
        return self

    def event(self, message_id: str) -> Event:
        """Give the event of a run. Raises ValueError, naming the field of the message."""
        whole = {"priority": Priority.LOW, **self.message, "id": message_id,
                 "tenant": self.tenant, "campaign_id": self.id}  # fmt: skip
        try:
            # From JSON, as its times and enumerations are read there.
            return decode_event(msgspec.json.encode(whole))
        except BadEventError as error:
            raise ValueError(f"message: {error}") from None
        except (TypeError, UnicodeEncodeError) as error:
            raise ValueError(f"message: use JSON values only ({error})") from None


class ControlState(StrEnum):
    """What people want of a campaign or message."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Control(Wire):
    """The body of a definition of kind control: the last word on a campaign, message or user.

    start_id: of the start that holds; runs of an earlier one end. waived: the run and step whose
    gates a person has overruled, as `run/step`. erased_ms: for a user who is erased, since when
    (epoch ms); start_id is the erasure then.
    """

    state: ControlState
    start_id: Annotated[str, Field(max_length=64)] = ""
    waived: Annotated[str, Field(max_length=256)] = ""
    by: Annotated[str, Field(max_length=200)] = ""
    erased_ms: Annotated[int, Field(strict=True, ge=0)] = 0


def control_of(definition: Definition) -> Control:
    """Read a definition of kind control. Raises ValueError."""
    return Control.model_validate_json(definition.body)


class Phase(StrEnum):
    """Where a run stands."""

    SCHEDULED = "scheduled"
    """Its time has not come."""
    RUNNING = "running"
    """Users are being released."""
    WATCHING = "watching"
    """A step of its ramp is watched before the next."""
    STOPPED = "stopped"
    """A gate did not hold; a person decides."""
    PAUSED = "paused"
    """A person has paused it."""
    DRAINING = "draining"
    """All are released; the last chunks are on their way through route."""
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One run of a campaign, as it goes from tick to tick. Times in epoch ms, business clock.

    run_id: the message's id. spec: JSON of Campaign. cursor: how far the audience is released, of
    the tenant's shards times 65,536 places (operators/slices). step: of the ramp, from 0.
    step_since_ms: when the step's users were all released, 0 before. last_ms: of the last tick.
    users: in the audience when it began, -1 before it was counted. chunks: released so far.
    note: why it is where it is, for people. templates: the versions that were in use when it began,
    by name: all of its slices have them.
    """

    run_id: str
    tenant: str
    campaign: str
    start_id: str
    spec: bytes
    due_ms: int
    phase: Phase = Phase.SCHEDULED
    started_ms: int = 0
    cursor: int = 0
    step: int = 0
    step_since_ms: int = 0
    last_ms: int = 0
    users: int = -1
    chunks: int = 0
    note: str = ""
    tick: int = 0
    templates: dict[str, int] = {}


def run_id_of(campaign: str, start_id: str, due_ms: int) -> str:
    """Name a run by its campaign, the start that it came of, and when it was due."""
    return f"{campaign}:{start_id}:{due_ms}"


def start_of(run_id: str) -> str:
    """Give the start that a run came of, "" for a message that is no run."""
    return _parts(run_id)[1]


def campaign_of_run(run_id: str) -> str:
    """Give the campaign of a run, "" for a message that is no run."""
    return _parts(run_id)[0]


def _parts(run_id: str) -> tuple[str, str]:
    found = _RUN_ID.fullmatch(run_id)
    return (found[1], found[2]) if found else ("", "")
