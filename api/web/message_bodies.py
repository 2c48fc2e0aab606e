"""What the routes about messages answer."""

from pydantic import BaseModel, ConfigDict

from api.explained import Explained, Told
from schemas.explanations import explanation_of
from schemas.moments import exact_moment
from sinks.outcome_history import Decision, Group


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AboutMessage(_Answer):
    """What a message is; "" for what is not known."""

    type: str = ""
    category: str = ""
    priority: str = ""
    campaign_id: str = ""
    sandbox: bool = False


class DecisionStep(_Answer):
    """One decision. rule: what decided it, in words; change: where to look if it should not have.

    seen: the state that policy saw. provider: its answer. until: when what is held comes again.
    latency_ms: from the event's arrival to the provider's answer, null when not measured.
    for_token: what the answer meant for the device token, when it is not to be kept.
    """

    at: str
    status: str
    reason: str
    rule: str
    change: str
    seen: str
    until: str
    user_id: str
    device_id: str
    platform: str
    attempt: int
    provider: str
    provider_id: str
    latency_ms: int | None
    for_token: str
    trace_id: str


class StatusCount(_Answer):
    """How often something was decided about a message, and about how many users."""

    status: str
    reason: str
    platform: str
    decisions: int
    users: int
    example_user_id: str


class MessageStatus(_Answer):
    """Where a message stands. users: about whom anything was decided.

    steps: decisions about the message as a whole. now: what has ended and what is still held.
    """

    message_id: str
    about: AboutMessage
    users: int
    counts: list[StatusCount]
    steps: list[DecisionStep]
    now: str
    notes: list[str]


class DeviceNow(_Answer):
    """A device that the user has now. token: a hash that tells two tokens apart."""

    device_id: str
    platform: str
    app: str
    token: str
    registered_at: str


class UserNow(_Answer):
    """A profile as it is now; what policy saw at the time stands in the steps."""

    devices: list[DeviceNow]
    locale: str = ""
    time_zone: str = ""
    country: str = ""
    opted_out_all: bool = False
    opted_out_categories: list[str] = []
    opted_out_channels: list[str] = []
    choices: list[dict[str, bool | str]] = []
    muted_until: str = ""
    quiet_hours: str = ""
    segments: list[str] = []
    updated_at: str = ""


class Explanation(_Answer):
    """Why a message, or one user of it, met what it met.

    steps: in time order; of the one user asked for, and of the message as a whole. counts: when no
    user was asked for. user: the profile as it is now, tokens masked; null where it is not shown.
    notes: what cannot be known or may be the cause.
    """

    message_id: str
    user_id: str
    about: AboutMessage
    steps: list[DecisionStep]
    counts: list[StatusCount]
    users: int
    now: str
    user: UserNow | None
    notes: list[str]


class TraceEntry(_Answer):
    """A decision with the ids to look further: of its outcome, its delivery and its trace."""

    at: str
    outcome_id: str
    trace_id: str
    status: str
    reason: str
    rule: str
    user_id: str
    device_id: str
    delivery_id: str
    platform: str
    attempt: int
    provider_status: int
    detail: str


class Cancelled(_Answer):
    """A message is taken back: what of it has not left for a provider stops within a second.

    by: who took it back first.
    """

    message_id: str
    state: str = "cancelled"
    by: str


def status_of(found: Explained) -> MessageStatus:
    """Tell where a message stands."""
    return MessageStatus(
        message_id=found.message_id,
        about=AboutMessage(**found.message),
        users=found.users,
        counts=[_count(one) for one in found.groups],
        steps=[_step(one) for one in found.steps],
        now=found.now,
        notes=found.notes,
    )


def explanation(found: Explained) -> Explanation:
    """Tell why."""
    return Explanation(
        message_id=found.message_id,
        user_id=found.user_id,
        about=AboutMessage(**found.message),
        steps=[_step(one) for one in found.steps],
        counts=[_count(one) for one in found.groups],
        users=found.users,
        now=found.now,
        user=None if found.profile is None else UserNow(**found.profile),
        notes=found.notes,
    )


def entry(one: Decision) -> TraceEntry:
    """Tell a decision with its ids."""
    return TraceEntry(
        at=exact_moment(one.occurred_at_ms),
        outcome_id=one.outcome_id,
        trace_id=one.trace_id,
        status=one.status,
        reason=one.reason,
        rule=explanation_of(one.reason).rule,
        user_id=one.user_id,
        device_id=one.device_id,
        delivery_id=one.delivery_id,
        platform=one.platform,
        attempt=one.attempt,
        provider_status=one.provider_status,
        detail=one.detail,
    )


def _step(one: Told) -> DecisionStep:
    fields = {name: getattr(one, name) for name in DecisionStep.model_fields}
    return DecisionStep(**fields | {"latency_ms": one.latency_ms if one.latency_ms >= 0 else None})


def _count(one: Group) -> StatusCount:
    return StatusCount(
        status=one.status,
        reason=one.reason,
        platform=one.platform,
        decisions=one.decisions,
        users=one.users,
        example_user_id=one.an_example,
    )
