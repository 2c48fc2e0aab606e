"""The one route that counts in thousands a second goes past the router.

Finding the route, its dependencies and its exit stacks costs FastAPI as much as all the rest of
taking an event. The route stands in its router as well, for the OpenAPI document.
"""

from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.web.events import post_events
from api.web.problems import ProblemError, away
from state.errors import StateError

PATH: Final = "/v1/events"


class _Route:
    """Stands in the scope for the route that was found."""

    path_format = PATH


_ROUTE = _Route()


class EventsShortcut:
    """Serves POST /v1/events; leaves everything else to the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        try:
            response = await post_events(Request(scope, receive))
        except ProblemError as problem:
            response = problem.response()
        except StateError as error:
            response = away(error)
        await response(scope, receive, send)
