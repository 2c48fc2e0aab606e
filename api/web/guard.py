"""Every route's first step: who calls, may they, and not too often."""

from collections.abc import Mapping
from typing import Any

from fastapi import Depends, Request
from starlette.responses import Response

from api.auth.access import ThrottledError, UnauthenticatedError, UnprovableError
from api.auth.limits import Verdict
from api.web.audit import address_of
from api.web.door import Door, door_of
from api.web.problems import ProblemError, not_found
from schemas import metrics
from schemas.access import Principal, Scope
from state.errors import StateError

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="clarion"'}


async def admit(door: Door, request: Request, scope: Scope) -> Principal:
    """Let a request in. Raises ProblemError, StateError."""
    principal = await identify(door, request)
    if scope not in principal.scopes:
        metrics.API_REFUSED.labels("forbidden").inc()
        raise ProblemError(403, f"this credential has not the scope {scope}")
    await hold_to_limits(door, request, principal)
    return principal


async def identify(door: Door, request: Request) -> Principal:
    """Give who calls, found out once for a request. Raises ProblemError: 401, 429, 503."""
    known: Principal | None = getattr(request.state, "principal", None)
    if known is None:
        known = request.state.principal = await _caller(door, request)
    return known


async def hold_to_limits(door: Door, request: Request, principal: Principal) -> None:
    """Let a caller call so often and no more. Raises ProblemError: 429."""
    verdict = door.limits.take(principal, 1)
    if verdict is None:
        verdict = await door.limits.lease(principal, 1)
    _hold_to(request, verdict, "rate")


async def spend(door: Door, request: Request, principal: Principal, events: int) -> None:
    """Take events from the caller's quota of the day. Raises ProblemError: 429."""
    verdict = await door.limits.take_events(principal, events)
    if verdict.headers:
        before: Mapping[str, str] = request.state.limit_headers
        told = {
            name: f"{before[name]}, {value}" if name in before else value
            for name, value in verdict.headers.items()
        }
        _hold_to(request, verdict._replace(headers=told), "quota")


def _hold_to(request: Request, verdict: Verdict, which: str) -> None:
    request.state.limit_headers = verdict.headers
    if verdict.retry_after_s:
        metrics.API_REFUSED.labels(which).inc()
        raise _too_often(verdict.why, verdict.retry_after_s, verdict.headers)


def _too_often(why: str, retry_after_s: int, headers: Mapping[str, str]) -> ProblemError:
    return ProblemError(429, why, headers={**headers, "Retry-After": str(retry_after_s)})


async def _caller(door: Door, request: Request) -> Principal:
    kind, _, credential = request.headers.get("authorization", "").partition(" ")
    credential = credential.strip() if kind.lower() == "bearer" else ""
    address = address_of(request)
    try:
        caller = await door.access.caller(credential, address)
    except UnauthenticatedError as error:
        door.audit.refused(address)
        metrics.API_REFUSED.labels("unauthenticated").inc()
        raise ProblemError(401, str(error), headers=_CHALLENGE) from None
    except ThrottledError as error:
        metrics.API_REFUSED.labels("throttled").inc()
        raise _too_often(str(error), error.wait_s, {}) from None
    except (UnprovableError, StateError) as error:
        metrics.API_REFUSED.labels("unprovable").inc()
        what = "the state store does not answer" if isinstance(error, StateError) else str(error)
        raise ProblemError(503, f"{what}, try again", headers={"Retry-After": "1"}) from None
    door.audit.used(caller, address, request.headers.get("user-agent", ""))
    return caller


def may(scope: Scope) -> Any:
    """Give the dependency of a route that needs a scope; it gives the Principal.

    ``async def route(caller: Annotated[Principal, may(Scope.USERS_READ)])``
    """

    async def allowed(request: Request, response: Response) -> Principal:
        principal = await admit(door_of(request), request, scope)
        response.headers.update(request.state.limit_headers)
        return principal

    allowed.scope = scope  # type: ignore[attr-defined]  # the tests walk the routes by it
    return Depends(allowed)


def own_user(caller: Principal, user_id: str) -> str:
    """Give the user's id back if the caller may touch this user; others look absent."""
    if caller.user_id and caller.user_id != user_id:
        raise not_found(f"user {user_id!r}")
    return user_id


def own_device(caller: Principal, device_id: str) -> str:
    """Give the device's id back if the caller may touch this device."""
    if caller.device_id and caller.device_id != device_id:
        raise not_found(f"device {device_id!r}")
    return device_id
