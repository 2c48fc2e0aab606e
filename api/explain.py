"""Why somebody did or did not get a message: the chain of decisions, in words.

A service without a printer: the command line and the HTTP API both show what it gives.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from api.explain_story import message_of, profile_now, told, where_it_stands
from api.explained import Explained, Outcomes, Told
from schemas.events import BadEventError, decode_event
from schemas.explanations import explanation_of
from schemas.outcomes import Reason, Status
from schemas.stream import Source
from schemas.topics import EVENTS
from sinks.outcome_history import Decision, Group
from state.profiles import Profile

_FIRST_SEEN = re.compile(r"first seen at (\S+)")
_COLLECTED = frozenset({Reason.DIGESTED.value, Reason.IN_DIGEST.value})
_DIGEST = re.compile(r"\bdigest (\S+)$")


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
    event_at: Callable[[Source], bytes | None] | None = lambda _at: None,
) -> Explained:
    """Explain a message: what became of it for one user, or of all of it.

    tenant: None finds it. profile_of: reads a profile as it is now, or
    raises NoProfileError. event_at: reads an event's record, to name the event that a duplicate
    repeats; None names its place alone. Raises AmbiguousError, and what these raise.
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
    steps = [told(one) for one in decisions]
    notes += _about_duplicates(decisions, event_at)
    notes += _about_digests(decisions)
    if not decisions and not groups and not (user_id and outcomes.users(tenant, message_id)):
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
        message=message_of(decisions) or _message(outcomes, tenant, message_id, groups),
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


def _message(
    outcomes: Outcomes, tenant: str, message_id: str, groups: Sequence[Group]
) -> dict[str, Any]:
    """Give what is known of a message from a decision about any of its users."""
    one = outcomes.any_of(tenant, message_id) if groups else None
    return message_of([one]) if one is not None else {}


def _about_duplicates(
    decisions: Sequence[Decision], event_at: Callable[[Source], bytes | None] | None
) -> list[str]:
    """Name the events that were first."""
    notes: dict[str, None] = {}
    for one in decisions:
        found = _FIRST_SEEN.search(one.detail) if one.reason == Reason.DUPLICATE_EVENT else None
        at = source_in(found[1]) if found else None
        if at is None:
            continue
        if event_at is None:
            notes[f"the event that was first is {at}"] = None
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
    return [f"it went into the digest {name}: explain that message too" for name in names]


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
