"""Runs the application on an ASGI server, in one process or several that share a port."""

import gc
import os
import tempfile
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.web.app import create_app
from api.web.compose import make_door
from api.web.connection import BoundedHttp
from flows.observe import configure_logs
from schemas.settings import load_settings

KEEP_ALIVE_S = 75
CONNECTIONS = 10_000
DRAIN_S = 20
SERVER: dict[str, Any] = {
    "loop": "uvloop",
    "http": BoundedHttp,
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "timeout_keep_alive": KEEP_ALIVE_S,
    "timeout_graceful_shutdown": DRAIN_S,
    "limit_concurrency": CONNECTIONS,
}
"""How uvicorn is run, here and by the bench."""


def make_app() -> FastAPI:
    """Make the application from the environment. Raises BadSettingsError, ConfigError."""
    settings = load_settings()
    observed = settings.observability
    configure_logs(
        level=observed.log_level,
        as_json=observed.json_logs,
        flow="api",
        instance=settings.kafka.instance,
    )
    app = create_app(make_door(settings))
    # What is loaded by now stays, and requests leave next to no cycles: the collector looks seldom,
    # and at little. At Python's own thresholds its pauses were most of the slowest hundredth.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    return app


def serve(*, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM; requests under way are answered, for DRAIN_S at most.

    workers: processes; one that dies is started again.
    """
    with tempfile.TemporaryDirectory(prefix="clarion-api-") as directory:
        if workers > 1:
            # Whichever process is asked for metrics gives those of all. Read at its import.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        uvicorn.run(
            "api.web.serve:make_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            **SERVER,
        )
