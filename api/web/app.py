"""The application: every router on one FastAPI, with the door behind it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.web import (
    audit_log,
    campaigns,
    clicks,
    credentials,
    devices,
    erasures,
    events,
    exports,
    feedback,
    figures,
    keys,
    links,
    messages,
    preferences,
    public,
    sdk,
    segment_uploads,
    segments,
    templates,
    users,
    vapid,
)
from api.web.access_log import AccessLog
from api.web.cors import cors
from api.web.door import Door
from api.web.openapi import describe
from api.web.problems import handle_problems
from api.web.shortcut import EventsShortcut
from schemas import metrics

ROUTERS: tuple[APIRouter, ...] = (
    # First, as they are tried one after the other and apps register whenever they start.
    devices.router,
    audit_log.router,
    clicks.router,
    credentials.router,
    campaigns.router,
    erasures.router,
    events.router,
    exports.router,
    feedback.router,
    figures.router,
    keys.router,
    links.router,
    messages.router,
    preferences.router,
    public.router,
    sdk.router,
    segments.router,
    segment_uploads.router,
    templates.router,
    users.router,
    vapid.router,
)


def create_app(door: Door) -> FastAPI:
    """Make the application."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        door.outbox.start()
        door.audit.start()
        yield
        await door.audit.stop()
        await door.outbox.stop()

    app = FastAPI(
        title="Clarion",
        version="1",
        summary="Stream-native notification delivery.",
        openapi_url="/v1/openapi.json",
        lifespan=lifespan,
    )
    app.state.door = door
    handle_problems(app)
    for router in ROUTERS:
        # Not included but taken over: each inclusion would make every route anew, at its first use.
        app.router.routes.extend(router.routes)
    describe(app)
    app.add_middleware(EventsShortcut)
    app.add_middleware(Observed)
    if door.settings.api.cors_origins:
        app.add_middleware(CORSMiddleware, **cors(door.settings.api.cors_origins))
    return app


GONE = 499
"""The client went away before it was answered. Not registered; nginx's."""


class Observed:
    """Counts, times and logs requests by their route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tell = AccessLog()
        self._counters: dict[tuple[str, str, int], Callable[[float], None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            status = GONE
        finally:
            route = getattr(scope.get("route"), "path_format", "")
            took_s = time.perf_counter() - started
            self._count(scope["method"], route, status)(took_s)
            self._tell(scope, route, status, took_s)

    def _count(self, method: str, route: str, status: int) -> Callable[[float], None]:
        key = (method, route, status)
        found = self._counters.get(key)
        if found is None:
            requests = metrics.API_REQUESTS.labels(method, route, status)
            seconds = metrics.API_SECONDS.labels(route)

            def found(took: float) -> None:
                requests.inc()
                seconds.observe(took)

            if len(self._counters) < 1_000:
                self._counters[key] = found
        return found
