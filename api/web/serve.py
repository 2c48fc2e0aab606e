"""Runs the application on an ASGI server."""

import uvicorn
from fastapi import FastAPI

KEEP_ALIVE_S = 75
HEADER_BYTES = 32_768
CONNECTIONS = 10_000
DRAIN_S = 20


def serve_app(app: FastAPI, *, host: str, port: int) -> None:
    """Serve until SIGTERM; requests under way are answered, for DRAIN_S at most."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
