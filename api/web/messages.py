"""/v1/messages: where a message stands, why, and taking it back."""

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.explain import NoProfileError, explain
from api.explained import Explained
from api.publishing import DefinitionWriter
from api.recalls import RecallError, cancel_message
from api.web.asking import asking
from api.web.audit import note
from api.web.door import Door, door_of
from api.web.guard import may
from api.web.message_bodies import (
    Cancelled,
    Explanation,
    MessageStatus,
    TraceEntry,
    entry,
    explanation,
    status_of,
)
from api.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, after, page_of
from api.web.problems import ProblemError
from api.web.routing import DoorRoute
from api.web.waits import eventually
from schemas.access import Principal, Scope
from schemas.fields import ID_PATTERN, Id
from schemas.tenant import Tenant
from sinks.outcome_history import Decision, OutcomeHistory
from state.errors import StateError
from state.profiles import Profile, RedisProfiles

MAX_WAIT_S = 10
WAITING_AT_ONCE = 50
"""Requests that wait for their message; more are answered at once, as `Prefer` is but a wish."""

router = APIRouter(prefix="/v1", tags=["messages"], route_class=DoorRoute)
# An id may hold a slash: the routes with more after it come first.
_ONE = "/messages/{message_id:path}"
MessageId = Annotated[Id, Path(description="the event's id")]
OfUser = Annotated[
    str, Query(max_length=128, pattern=rf"{ID_PATTERN}|^$", description="of its users this one")
]
Reader = Annotated[Principal, may(Scope.MESSAGES_READ)]
T = TypeVar("T")
_UNKNOWN = (
    "there is no such message here. The id may be another: it is the event's id, not its"
    " idempotency key. Or nothing was decided about it yet: that takes seconds from when it was"
    " sent, more while a flow is behind; send Prefer: wait=10 to wait for it. Or it could not be"
    " read, or is older than 13 months"
)


def _wait_s(
    prefer: Annotated[
        list[str] | None,
        Header(description=f"`wait=N`: seconds to wait until it is known, {MAX_WAIT_S} at most"),
    ] = None,
) -> int:
    """Give how long the client would wait, in whole seconds. Source: RFC 7240 §4.3."""
    for wish in ",".join(prefer or ()).split(","):
        name, _, value = wish.partition(";")[0].partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() == "wait" and value.isascii() and value.isdecimal():
            return min(int(value[:4]), MAX_WAIT_S)
    return 0


WaitS = Annotated[int, Depends(_wait_s)]
_waiting = asyncio.Semaphore(WAITING_AT_ONCE)


async def _once_there(response: Response, wait_s: int, ask: Callable[[], T | None]) -> T:
    """Ask, in a thread, until there is an answer or the wait is over. Raises ProblemError: 404."""
    found: list[T] = []

    def is_there() -> bool:
        answer = ask()
        if answer is not None:
            found.append(answer)
        return answer is not None

    if not wait_s or _waiting.locked():
        await run_in_threadpool(is_there)
    else:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        async with _waiting:
            await eventually(is_there, wait_s=wait_s)
    if not found:
        raise ProblemError(404, _UNKNOWN)
    return found[0]


@router.get(f"{_ONE}/explain")
async def explain_message(
    request: Request,
    response: Response,
    *,
    caller: Reader,
    message_id: MessageId,
    wait_s: WaitS,
    user_id: OfUser = "",
) -> Explanation:
    """Tell why a user got a message or not, or what became of all of it: decision by decision.

    The profile as it is now stands beside it for callers who may also read users.
    """
    door = door_of(request)
    ask = partial(_explained, door, door.tenant_of(caller), caller, message_id, user_id)
    return explanation(await _once_there(response, wait_s, ask))


@router.get(f"{_ONE}/trace")
async def trace_message(
    request: Request,
    response: Response,
    *,
    caller: Reader,
    message_id: MessageId,
    wait_s: WaitS,
    user_id: OfUser = "",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = "",
) -> Page[TraceEntry]:
    """List a message's decisions in time order, with the ids of their traces."""
    door = door_of(request)
    tenant = door.tenant_of(caller).name
    # Hashed, as ids are long: a cursor has a bound.
    what = f"{tenant}/trace/{blake2b(f'{user_id} {message_id}'.encode()).hexdigest()[:32]}"
    place = after(door.signer, what, cursor, door.wall_ms())

    def ask() -> list[Decision] | None:
        with asking(door) as client:
            history = OutcomeHistory(client)
            found = history.trace(tenant, message_id, user_id=user_id, after=place, limit=limit + 1)
            return found if found or place or history.knows(tenant, message_id) else None

    found = await _once_there(response, wait_s, ask)
    page = page_of(found, signer=door.signer, what=what, limit=limit, name_of=lambda one: one.place)
    return Page(items=[entry(one) for one in page.items], next_cursor=page.next_cursor)


@router.get(_ONE)
async def get_message(
    request: Request, response: Response, caller: Reader, message_id: MessageId, wait_s: WaitS
) -> MessageStatus:
    """Tell where a message stands: what was decided how often, and what is still held."""
    door = door_of(request)
    ask = partial(_explained, door, door.tenant_of(caller), caller, message_id, "")
    return status_of(await _once_there(response, wait_s, ask))


def _explained(
    door: Door, tenant: Tenant, caller: Principal, message_id: str, user_id: str
) -> Explained | None:
    """Explain a message; None when nothing is known of it. Blocks. Raises ProblemError."""
    with asking(door) as client:
        history = OutcomeHistory(client)
        found = explain(
            history,
            message_id,
            tenant=tenant.name,
            user_id=user_id,
            now_ms=door.now_ms(),
            profile_of=partial(_profile, door, tenant, caller),
            event_at=None,
        )
        is_known = found.steps or found.groups
        return found if is_known or (user_id and history.knows(tenant.name, message_id)) else None


def _profile(
    door: Door, tenant: Tenant, caller: Principal, _name: str, user_id: str
) -> Profile | None:
    if Scope.USERS_READ not in caller.scopes:
        raise NoProfileError("this credential has not the scope users:read")
    try:
        return RedisProfiles(door.redis).get_many(tenant.name, tenant.shards, [user_id])[0]
    except StateError:
        raise NoProfileError("the state store does not answer") from None


@router.post(f"{_ONE}/cancel")
def cancel(
    request: Request,
    caller: Annotated[Principal, may(Scope.MESSAGES_CANCEL)],
    message_id: MessageId,
) -> Cancelled:
    """Take a message back: what of it has not left for a provider stops within a second.

    It need not be known yet: a message that is on its way is stopped when it comes, and an id that
    is never used stops nothing. Taking it back again changes nothing.
    """
    door = door_of(request)
    tenant = door.tenant_of(caller).name
    by = f"{caller.kind} {caller.id}"[:200]
    try:
        control = cancel_message(
            tenant,
            message_id,
            definitions=door.definitions,
            writer=DefinitionWriter(door.publisher(), door.definitions),
            now_ms=door.wall_ms(),
            by=by,
        )
    except RecallError as error:
        raise ProblemError(409, str(error), code="too_many_recalls") from None
    note(request, target=message_id, after=control.model_dump(mode="json"))
    return Cancelled(message_id=message_id, by=control.by)
