"""The browser SDK: two scripts that a site's pages load, as they are."""

from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Header
from starlette.responses import Response

from api.web.openapi import PUBLIC
from api.web.routing import DoorRoute

MEDIA_TYPE = "text/javascript"
MAX_AGE_S = 3_600
"""Browsers look for a new service worker at least once a day, whatever this says."""

router = APIRouter(prefix="/v1/sdk", tags=["sdk"], route_class=DoorRoute)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {f"{MEDIA_TYPE}; charset=utf-8": {"schema": {"type": "string"}}}},
    304: {"description": "The browser has it already"},
}
IfNoneMatch = Annotated[str, Header(description="the ETag of what the browser has")]


class _Script(NamedTuple):
    content: bytes
    etag: str


@lru_cache(maxsize=8)
def _script(name: str) -> _Script:
    content = files("api").joinpath("static", name).read_bytes()
    return _Script(content, f'"{sha256(content).hexdigest()[:32]}"')


def _answer(name: str, if_none_match: str) -> Response:
    script = _script(name)
    headers = {
        "ETag": script.etag,
        "Cache-Control": f"public, max-age={MAX_AGE_S}",
        # Any site may load it: it holds no secret, and acts for whoever loads it.
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
        "Service-Worker-Allowed": "/",
    }
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if script.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(script.content, headers=headers, media_type=MEDIA_TYPE)


@router.get("/clarion.js", response_class=Response, responses=_ANSWERS, openapi_extra=PUBLIC)
async def page_script(if_none_match: IfNoneMatch = "") -> Response:
    """Give the script for pages: subscribe, unsubscribe, preferences."""
    return _answer("clarion.js", if_none_match)


@router.get("/clarion-sw.js", response_class=Response, responses=_ANSWERS, openapi_extra=PUBLIC)
async def worker_script(if_none_match: IfNoneMatch = "") -> Response:
    """Give the service worker: shows notifications and reports what becomes of them.

    A worker must come from the site's own origin: a file of one line there imports this one.
    """
    return _answer("clarion-sw.js", if_none_match)
