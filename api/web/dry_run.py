"""POST /v1/events?dry_run=true: whom an event would reach; nothing is sent, nothing changes."""

from threading import BoundedSemaphore
from time import monotonic

from fastapi import Request
from pydantic import BaseModel

from api.web.door import Door
from api.web.problems import ProblemError
from flows.compose_rehearsal import rehearsal_on
from flows.rehearsal import Reach, Tally
from schemas.events import Event
from schemas.explanations import explanation_of
from schemas.moments import moment
from state.errors import StateError

MAX_USERS = 10_000
MAX_S = 10.0
AT_ONCE = 2
"""Dry runs of a process: each takes a thread, and about half a core."""

_free = BoundedSemaphore(AT_ONCE)
_SAID = {"": False, "false": False, "0": False, "true": True, "1": True}


class DecidedCount(BaseModel):
    """How often something would be decided. rule: in words.

    example_user_id, example_detail: one of those users, and what was seen.
    """

    status: str
    reason: str
    rule: str
    decisions: int
    example_user_id: str
    example_detail: str


class ReachBody(BaseModel):
    """Whom an event would reach. at: the time for which it is asked.

    users: looked at. reached: of these, who would get it at once. devices: by platform. decided:
    about the others, most first. held_from, held_until: when those held would get it, "" for none.
    faults: of the texts, a few. is_whole: all of the audience was looked at; else stopped_by says
    why not, and the counts are of the part that was. takes_s: what the tenant's rates make it take
    at least.
    """

    message_id: str
    category: str
    priority: str
    at: str
    users: int
    reached: int
    devices: dict[str, int]
    decided: list[DecidedCount]
    held_from: str
    held_until: str
    faults: list[str]
    is_whole: bool
    stopped_by: str
    parts_done: int
    parts_known: int
    takes_s: float


def is_dry_run(request: Request) -> bool:
    """Tell whether a request asks for a dry run. Raises ProblemError."""
    if not request.scope["query_string"]:
        return False
    said = _SAID.get(request.query_params.get("dry_run", ""))
    if said is None:
        raise ProblemError(
            422, "dry_run: use true or false", errors=[("dry_run", "use true or false")]
        )
    return said


def rehearse(door: Door, event: Event) -> ReachBody:
    """Tell whom an event would reach. Blocks, for MAX_S and a part of the audience at most.

    event: of a tenant that is known here. Raises ProblemError when others are at it, and when Redis
    does not answer.
    """
    if not _free.acquire(blocking=False):
        raise ProblemError(
            503,
            f"{AT_ONCE} dry runs are under way: try again",
            code="busy",
            headers={"Retry-After": "2"},
        )
    try:
        return _rehearsed(door, event)
    except StateError:
        raise ProblemError(
            503, "the state store does not answer, try again", headers={"Retry-After": "1"}
        ) from None
    finally:
        _free.release()


def _rehearsed(door: Door, event: Event) -> ReachBody:
    until_s = monotonic() + MAX_S
    tenants = {event.tenant: door.tenants[event.tenant]}
    rehearsal = rehearsal_on(door.redis, tenants, door.settings.flow.chunk_users)
    stopped_by = "users_limit"
    parts = rehearsal.run(event, door.now_ms(), users_limit=MAX_USERS)
    reach = next(parts)
    while (more := next(parts, None)) is not None:
        reach = more
        if monotonic() > until_s:
            stopped_by = "time_limit"
            break
    return _body(reach, "" if reach.is_whole else stopped_by)


def _body(reach: Reach, stopped_by: str) -> ReachBody:
    first_ms, last_ms = reach.held_ms
    return ReachBody(
        message_id=reach.message_id,
        category=reach.category,
        priority=reach.priority,
        at=moment(reach.at_ms),
        users=reach.users,
        reached=reach.reached,
        devices=dict(sorted(reach.devices.items())),
        decided=[_count(one) for one in sorted(reach.decided, key=lambda one: -one.decisions)],
        held_from=moment(first_ms) if first_ms else "",
        held_until=moment(last_ms) if first_ms else "",
        faults=reach.faults,
        is_whole=reach.is_whole,
        stopped_by=stopped_by,
        parts_done=reach.parts_done,
        parts_known=reach.parts_known,
        takes_s=reach.slowest_s,
    )


def _count(one: Tally) -> DecidedCount:
    return DecidedCount(
        status=one.status.value,
        reason=one.reason.value,
        rule=explanation_of(one.reason).rule,
        decisions=one.decisions,
        example_user_id=one.example_user,
        example_detail=one.example_detail,
    )
