"""One line for each request: what was asked by whom, and how it was answered. No ids, no secrets.

The route's template stands for the path, as paths hold ids and signed texts.
"""

import time
from collections.abc import Callable

import structlog
from fastapi import Request
from starlette.types import Scope

from api.web.routing import request_id
from schemas import metrics
from schemas.access import Principal
from schemas.masking import masked

LINES_PER_S = 50
"""Of requests that went well."""
ERROR_LINES_PER_S = 1_000
"""Of the others: all of them, short of a flood."""
MAX_ACTORS = 1_000
_DENIED = frozenset({403, 404})
OTHER = "other"


class AccessLog:
    """Logs requests and counts who is denied. monotonic: seconds. One thread's alone."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._log = structlog.get_logger()
        self._second = 0
        self._lines = self._error_lines = self._unlogged = 0
        self._actors: set[tuple[str, str]] = set()

    def __call__(self, scope: Scope, route: str, status: int, took_s: float) -> None:
        """Log one request. scope: as the routes left it."""
        request = Request(scope)
        who: Principal | None = getattr(request.state, "principal", None)
        if status in _DENIED and who is not None:
            self._deny(who, status)
        is_error = status >= 400
        if not self._has_room(is_error=is_error):
            self._unlogged += 1
            return
        line = self._log.warning if is_error else self._log.info
        line(
            "request",
            method=request.method,
            route=route or "(none)",
            status=status,
            took_ms=round(took_s * 1_000, 1),
            request_id=request_id(request),
            tenant=who.tenant if who is not None else "",
            actor=actor_of(who),
        )

    def _has_room(self, *, is_error: bool) -> bool:
        second = int(self._monotonic())
        if second != self._second:
            if self._unlogged:
                self._log.warning("more requests than are logged", unlogged=self._unlogged)
            self._second, self._lines, self._error_lines, self._unlogged = second, 0, 0, 0
        if is_error:
            self._error_lines += 1
            return self._error_lines <= ERROR_LINES_PER_S
        self._lines += 1
        return self._lines <= LINES_PER_S

    def _deny(self, who: Principal, status: int) -> None:
        actor = (who.tenant, actor_of(who) if who.kind != "device" else "device")
        if actor not in self._actors:
            if len(self._actors) >= MAX_ACTORS:
                actor = (who.tenant, OTHER)
            else:
                self._actors.add(actor)
        metrics.API_DENIED.labels(*actor, status).inc()


def actor_of(who: Principal | None) -> str:
    """Name a caller in a log line: keys by their id; who may be a person is masked."""
    if who is None:
        return ""
    return f"key:{who.id}" if who.kind == "key" else f"{who.kind}:{masked(who.id)}"
