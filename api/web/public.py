"""Routes that ask for no credential: health, readiness, metrics."""

import asyncio
import os
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import JSONResponse, Response

from api.web.door import door_of
from api.web.openapi import PUBLIC
from api.web.outbox import NotTakenError
from api.web.routing import DoorRoute
from state.errors import StateError

router = APIRouter(tags=["health"], route_class=DoorRoute)


@router.get("/healthz", openapi_extra=PUBLIC)
async def healthz() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz", responses={503: {"description": "What does not answer"}}, openapi_extra=PUBLIC
)
async def readyz(request: Request) -> Response:
    """Tell whether the stores answer that requests need."""
    door = door_of(request)
    missing: list[str] = []
    try:
        await asyncio.to_thread(door.redis.ping)
    except StateError:
        missing.append("redis")
    try:
        await door.outbox.ping()
    except NotTakenError:
        missing.append("kafka")
    body: dict[str, Any] = {"status": "unready" if missing else "ok", "missing": missing}
    return JSONResponse(body, status_code=503 if missing else 200)


@router.get("/metrics", include_in_schema=False, openapi_extra=PUBLIC)
def metrics() -> Response:
    """Give Prometheus' metrics of this process, or of all workers that share its port."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # the library has no types here
    return Response(generate_latest(together), media_type=CONTENT_TYPE_LATEST)
