"""Why somebody did or did not get a message: the chain of decisions, in words.

A service without a printer: the command line and the HTTP API both show what it gives.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from operators.seen import UNTIL, windows_seen
from schemas.events import BadEventError, decode_event
from schemas.explanations import explanation_of
from schemas.masking import masked
from schemas.moments import moment
from schemas.outcomes import Reason, Status, TokenAction
from schemas.stream import Source
from schemas.topics import EVENTS
from sinks.outcome_history import Decision, Group, History
from state.profiles import Profile

LATE_MS = 120_000
"""Held for longer than its time by this much, something is not running."""
_WAITING = frozenset({Status.DEFERRED.value, Status.RETRY.value})
_FEEDBACK = frozenset(
    {
        Status.DELIVERED.value,
        Status.OPENED.value,
        Status.CLICKED.value,
        Status.DISMISSED.value,
    }
)
_TIME = re.compile(UNTIL + r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_FIRST_SEEN = re.compile(r"first seen at (\S+)")
_COLLECTED = frozenset({Reason.DIGESTED.value, Reason.IN_DIGEST.value})
_DIGEST = re.compile(r"\bdigest (\S+)$")


class Outcomes(Protocol):
    """What is remembered of messages; sinks/outcome_history.py asks ClickHouse."""

    def tenants(self, message_id: str) -> list[str]:
        """Give the tenants that have such a message."""
        ...

    def decisions(self, tenant: str, message_id: str, user_ids: Sequence[str]) -> History:
        """Give what was decided about these users, in time order; "" stands for the message."""
        ...

    def groups(self, tenant: str, message_id: str) -> list[Group]:
        """Count what was decided about the message's users."""
        ...

    def users(self, tenant: str, message_id: str) -> int:
        """Count the users about whom anything was decided."""
        ...


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision. rule: what decided it, in words; change: where to look if it should not have.

    seen: the state that policy saw. provider: its answer. until: when what is held comes again.
    latency_ms: from the event's arrival to the provider's answer. for_token: what the answer meant
    for the device token, when it is not to be kept.
    """

    at: str
    status: str
    reason: str
    rule: str
    change: str
    seen: str = ""
    until: str = ""
    user_id: str = ""
    device_id: str = ""
    platform: str = ""
    attempt: int = 0
    provider: str = ""
    provider_id: str = ""
    latency_ms: int = -1
    for_token: str = ""
    trace_id: str = ""


class Explained(msgspec.Struct, frozen=True, omit_defaults=True):
    """All there is to say. message: its type, category and so on. now: where it stands.

    steps: in time order; of the one user asked for, and of the message as a whole. groups: how
    many users met what, when no user was asked for. profile: as it is now, tokens masked.
    notes: what cannot be known or may be the cause.
    """

    message_id: str
    tenant: str = ""
    user_id: str = ""
    message: dict[str, Any] = {}
    steps: list[Told] = []
    groups: list[Group] = []
    users: int = 0
    now: str = ""
    profile: dict[str, Any] | None = None
    notes: list[str] = []


class AmbiguousError(ValueError):
    """Several tenants have a message of this id; the text names them."""


class NoProfileError(Exception):
    """A profile cannot be read now; the text says why."""


def explain(
    outcomes: Outcomes,
    message_id: str,
    *,
    now_ms: int,
    tenant: str | None = None,
    user_id: str = "",
    profile_of: Callable[[str, str], Profile | None] = lambda _tenant, _user: None,
    event_at: Callable[[Source], bytes | None] = lambda _at: None,
) -> Explained:
    """Explain a message: what became of it for one user, or of all of it.

    tenant: None finds it. profile_of: reads a profile as it is now, or
    raises NoProfileError. event_at: reads an event's
    record, to name the event that a duplicate repeats. Raises AmbiguousError, and what these raise.
    """
    if tenant is None:
        found = outcomes.tenants(message_id)
        if len(found) > 1:
            raise AmbiguousError(f"{message_id} is a message of {', '.join(found)}: say which")
        tenant = found[0] if found else ""
    history = outcomes.decisions(tenant, message_id, ["", user_id] if user_id else [""])
    notes = ["there are more decisions than are shown here"] if history.is_cut else []
    groups: list[Group] = []
    users = 0
    if not user_id:
        groups = outcomes.groups(tenant, message_id)
        users = outcomes.users(tenant, message_id) if groups else 0
    decisions = history.decisions
    steps = [_told(one) for one in decisions]
    notes += _about_duplicates(decisions, event_at)
    notes += _about_digests(decisions)
    if not decisions and not groups:
        notes += _not_found(message_id, user_id)
    elif user_id and not any(one.user_id for one in decisions):
        notes.append(
            f"nothing was decided about user {user_id} yet: not in the audience, in a part of it"
            " that has not been read, or not in ClickHouse yet (it takes seconds)"
        )
    now = where_it_stands(decisions, groups, now_ms)
    if "overdue" in now:
        notes.append("what is overdue: look at the timers flow, whether it runs and keeps up")
    profile = None
    try:
        profile = profile_of(tenant, user_id) if user_id and tenant else None
    except NoProfileError as error:
        notes.append(f"the profile cannot be read now: {error}")
    return Explained(
        message_id=message_id,
        tenant=tenant,
        user_id=user_id,
        message=_message(decisions),
        steps=steps,
        groups=groups,
        users=users,
        now=now,
        profile=None if profile is None else profile_now(profile),
        notes=notes,
    )


def explain_event(
    outcomes: Outcomes,
    raw: bytes,
    *,
    now_ms: int,
    event_at: Callable[[Source], bytes | None] = lambda _at: None,
) -> Explained:
    """Explain the event that these bytes are, as `explain`; one that is none says why."""
    try:
        event = decode_event(raw)
    except BadEventError as error:
        rule, change = explanation_of(Reason.BAD_EVENT)
        return Explained(
            message_id="",
            steps=[Told("", Status.REJECTED, Reason.BAD_EVENT, rule, change, str(error))],
            now="it would be rejected",
            notes=["its id is where it lies, as events.high/0/12: clarion dlq ls --stage route"],
        )
    return explain(outcomes, event.id, now_ms=now_ms, tenant=event.tenant, event_at=event_at)


def source_in(text: str) -> Source | None:
    """Read an event's coordinates, such as events.high/0/12; None for anything else."""
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    if topic in EVENTS.values() and partition.isdecimal() and offset.isdecimal():
        return Source(topic, int(partition), int(offset))
    return None


def where_it_stands(decisions: Sequence[Decision], groups: Sequence[Group], now_ms: int) -> str:
    """Say in a line whether it has ended, and what is still held."""
    last: dict[tuple[str, str], Decision] = {}
    newest_ms = 0
    for one in decisions:
        if one.status in _FEEDBACK:
            continue
        last[one.user_id, one.delivery_id] = one
        newest_ms = max(newest_ms, one.occurred_at_ms)
    waiting = [
        one
        for one in last.values()
        if one.status in _WAITING
        # What was held as a whole is over once anything came after it.
        and (one.delivery_id or (one.occurred_at_ms >= newest_ms and not groups))
    ]
    ended = [one for one in last.values() if one.status not in _WAITING]
    parts = [f"{len(ended)} ended"] if ended else []
    for one in waiting:
        until = _until(one)
        where = one.device_id or one.user_id or "the message"
        late = until and datetime.fromisoformat(until).timestamp() * 1_000 < now_ms - LATE_MS
        held = "waits for its next attempt" if one.status == Status.RETRY else "is held"
        parts.append(
            f"{where} {held}{f' until {until}' if until else ''}{', overdue' if late else ''}"
        )
    return "; ".join(parts)


def profile_now(profile: Profile) -> dict[str, Any]:
    """Show a profile as it is now: no token, and nothing that says nothing."""
    windows = (profile.quiet_hours, *profile.more_quiet_hours) if profile.quiet_hours else ()
    shown: dict[str, Any] = {
        "devices": [
            {
                "device_id": one.device_id,
                "platform": one.platform.value,
                "app": one.app,
                "token": masked(one.token),
                "registered_at": moment(one.registered_at_ms),
            }
            for one in profile.devices
        ],
        "locale": profile.locale,
        "time_zone": profile.time_zone,
        "country": profile.country,
        "opted_out_all": profile.opted_out_all,
        "opted_out_categories": list(profile.opted_out_categories),
        "opted_out_channels": list(profile.opted_out_platforms),
        "choices": [
            {
                name: value
                for name, value in (
                    ("allow", one.allow),
                    ("type", one.type),
                    ("category", one.category),
                    ("channel", one.platform),
                )
                if value != ""
            }
            for one in profile.choices
        ],
        "muted_until": moment(profile.muted_until_ms) if profile.muted_until_ms else "",
        "quiet_hours": windows_seen(profile.time_zone, windows, "the user's") if windows else "",
        "segments": list(profile.segments),
        "updated_at": moment(max(profile.updated_at_ms, profile.preferences_at_ms)),
    }
    return {name: value for name, value in shown.items() if value or name == "devices"}


def _told(one: Decision) -> Told:
    rule, change = explanation_of(one.reason)
    answered = one.attempt > 0 and one.status != Status.DEFERRED
    words = f"{one.provider_status or ''} {one.detail}".strip()
    return Told(
        at=_exact(one.occurred_at_ms),
        status=one.status,
        reason=one.reason,
        rule=rule,
        change=change,
        seen="" if answered else one.detail,
        until=_until(one),
        user_id=one.user_id,
        device_id=one.device_id,
        platform=one.platform,
        attempt=one.attempt,
        provider=words if answered else "",
        provider_id=one.provider_id,
        latency_ms=one.latency_ms,
        for_token="" if one.token_action == TokenAction.KEEP else one.token_action,
        trace_id=one.trace_id,
    )


def _exact(at_ms: int) -> str:
    return f"{moment(at_ms)[:-1]}.{at_ms % 1_000:03}Z"


def _until(one: Decision) -> str:
    found = _TIME.match(one.detail) if one.status in _WAITING else None
    return found[1] if found else ""


def _message(decisions: Sequence[Decision]) -> dict[str, Any]:
    names = ("type", "category", "priority", "campaign_id")
    known = next((one for one in decisions if one.category), None)
    if known is None:
        return {}
    shown: dict[str, Any] = {name: value for name in names if (value := getattr(known, name))}
    return {**shown, "sandbox": True} if known.sandbox else shown


def _about_duplicates(
    decisions: Sequence[Decision], event_at: Callable[[Source], bytes | None]
) -> list[str]:
    """Name the events that were first."""
    notes: dict[str, None] = {}
    for one in decisions:
        found = _FIRST_SEEN.search(one.detail) if one.reason == Reason.DUPLICATE_EVENT else None
        at = source_in(found[1]) if found else None
        if at is None:
            continue
        try:
            first = decode_event(event_at(at)).id
        except BadEventError:
            notes[f"the event that was first is {at}; it is not on Kafka any more"] = None
        else:
            same = "this same id, sent before" if first == one.message_id else first
            notes[f"the event that was first: {same} ({at})"] = None
    return list(notes)


def _about_digests(decisions: Sequence[Decision]) -> list[str]:
    """Name the messages that events were collected into."""
    told = (_DIGEST.search(one.detail) for one in decisions if one.reason in _COLLECTED)
    names = dict.fromkeys(found[1] for found in told if found)
    return [f"it went into a digest: clarion explain --message {name}" for name in names]


def _not_found(message_id: str, user_id: str) -> list[str]:
    whom = f" for user {user_id}" if user_id else ""
    return [
        f"ClickHouse knows no decision about {message_id}{whom}. What may be the cause:",
        "- the id (or --tenant) is another: it is the event's id, not its idempotency key",
        "- it is not there yet: decisions take seconds, more while the outcomes flow is behind",
        "- the event waits on Kafka: the route flow for its priority is behind or not running",
        "- the event could not be read: clarion dlq ls --stage route",
        "- it is older than the table's time to live (13 months)",
    ]
