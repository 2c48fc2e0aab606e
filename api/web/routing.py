"""What every route has: bounded bodies, problem documents, and an entry in the audit log."""

import asyncio
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from api.web.audit import Deed, address_of
from api.web.door import door_of
from api.web.guard import identify
from api.web.ids import random_id
from api.web.outbox import NotTakenError
from api.web.problems import PROBLEMS, ProblemError
from schemas import metrics

MAX_BODY_BYTES = 1_048_576
"""A request body, where the route says nothing else."""
MAX_DEPTH = 32
PART_TIMEOUT_S = 10.0
"""Between two parts of a body: a slow client does not hold a connection."""
BODY_TIMEOUT_S = 60.0
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DENIED = frozenset({403, 404})


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read a body whole. Raises ProblemError: 413 for a long one, 408 for a slow one."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    left = max_bytes
    now_s = asyncio.get_running_loop().time
    end_s = now_s() + BODY_TIMEOUT_S
    try:
        async with asyncio.timeout(PART_TIMEOUT_S) as limit:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                left -= len(part)
                if left < 0:
                    raise _too_large(max_bytes)
                parts.append(part)
                if not message.get("more_body", False):
                    return part if len(parts) == 1 else b"".join(parts)
                limit.reschedule(min(now_s() + PART_TIMEOUT_S, end_s))
    except TimeoutError:
        raise ProblemError(408, f"the body did not come within {PART_TIMEOUT_S:g} s") from None


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(413, f"the body is too large: send at most {max_bytes} bytes")


class BoundedRequest(Request):
    """A request whose body is bounded in size, depth and time."""

    async def body(self) -> bytes:
        """Read the body. Raises ProblemError."""
        if not hasattr(self, "_body"):
            self._body = await read_body(self, MAX_BODY_BYTES)
        return self._body

    async def json(self) -> Any:
        """Parse the body. Raises ProblemError."""
        if not hasattr(self, "_json"):
            try:
                found = from_json(await self.body(), allow_inf_nan=False)
            except ValueError as error:
                raise ProblemError(400, f"the body is no JSON: {error}", code="bad_json") from None
            if too_deep(found, MAX_DEPTH):
                raise ProblemError(422, f"the body is nested more than {MAX_DEPTH} levels deep")
            self._json = found
        return self._json


def too_deep(value: Any, levels: int) -> bool:
    """Tell whether JSON is nested deeper than this. The parser bounds it as well, at 200."""
    if isinstance(value, dict):
        return levels == 0 or any(too_deep(one, levels - 1) for one in value.values())
    if isinstance(value, list):
        return levels == 0 or any(too_deep(one, levels - 1) for one in value)
    return False


class DoorRoute(APIRoute):
    """A route of the door. It asks for a credential unless its openapi_extra is PUBLIC.

    `openapi_extra={"x-audit": "sums"}`: calls are too many to keep one by one; it counts them.
    "always": a reading that is kept like a change.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["responses"] = {**PROBLEMS, **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handle = super().get_route_handler()
        extra = self.openapi_extra or {}
        audit, asks = extra.get("x-audit"), extra.get("security") != []

        async def handled(request: Request) -> Response:
            if asks:
                # Before the body is read: nobody makes us parse without a credential.
                await identify(door_of(request), request)
            return await handle(request)

        keeps = audit == "always" or (self.methods or set()) & _CHANGES
        if audit == "sums" or not keeps:

            async def plain(request: Request) -> Response:
                bounded = BoundedRequest(request.scope, request.receive)
                try:
                    return await handled(bounded)
                except ProblemError as error:
                    # Who tries what is not theirs shows in the sums.
                    if error.status in _DENIED:
                        _count(bounded, self.path_format, error.status)
                    raise

            return plain

        async def audited(request: Request) -> Response:
            bounded = BoundedRequest(request.scope, request.receive)
            try:
                response = await handled(bounded)
            except ProblemError as error:
                # A refusal is kept too, once it is known whose it is.
                await _keep(bounded, self.path_format, error.status)
                raise
            await _keep(bounded, self.path_format, response.status_code)
            return response

        return audited


async def _keep(request: Request, path: str, status: int) -> None:
    deed = deed_of(request, path, status)
    if deed is None:
        return
    try:
        await door_of(request).audit.keep(deed)
    except NotTakenError:
        metrics.API_AUDIT_LOST.inc()
        raise ProblemError(
            503,
            "it may be done, but the audit log does not answer: repeat it",
            code="audit_unavailable",
            headers={"Retry-After": "1"},
        ) from None


def _count(request: Request, path: str, status: int) -> None:
    deed = deed_of(request, path, status)
    if deed is not None:
        door_of(request).audit.count(deed, 1)


def deed_of(request: Request, path: str, status: int) -> Deed | None:
    """Give what a request did; None when nobody is known to have done it."""
    principal = getattr(request.state, "principal", None)
    if principal is None:
        return None
    target, before, after = getattr(request.state, "audit", ("", None, None))
    return Deed(
        principal,
        f"{request.method} {path}",
        target or "/".join(map(str, request.path_params.values())),
        status,
        address_of(request),
        request.headers.get("user-agent", "")[:200],
        request_id(request),
        _digest(before),
        _digest(after),
    )


def request_id(request: Request) -> str:
    """Give the request's id: what the client or a proxy gave it, or a new one."""
    if not hasattr(request.state, "request_id"):
        given = request.headers.get("x-request-id", "")[:64]
        request.state.request_id = given if given.isascii() and given.isprintable() else ""
        request.state.request_id = request.state.request_id or random_id()
    found: str = request.state.request_id
    return found


def _digest(value: Any) -> str:
    if value is None:
        return ""
    return sha256(value if isinstance(value, bytes) else to_json(value)).hexdigest()[:32]
