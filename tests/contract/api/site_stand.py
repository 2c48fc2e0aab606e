"""A site beside the API, each on its own loopback port, as browsers see them."""

import dataclasses
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.access import Access
from api.auth.device_tokens import DeviceTokens
from api.web.app import create_app
from api.web.door import Door
from schemas.settings import load_settings
from state.profiles import RedisProfiles
from tests.contract.api.client_stand import on_port
from tests.contract.api.door_stand import TestProver

CALL_S = 30.0


class Call(NamedTuple):
    """One request that the API got, and the status that it answered."""

    method: str
    path: str
    credential: str
    body: Any
    status: int


class Recorded:
    """Notes every request to the API but preflights; answers 503 while it is away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.calls: queue.Queue[Call] = queue.Queue()
        self.away = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        message = await receive()
        raw = message.get("body", b"")
        credential = dict(scope["headers"]).get(b"authorization", b"").decode()
        status = 503

        async def again() -> Message:
            return message

        async def told(answer: Message) -> None:
            nonlocal status
            status = answer.get("status", status)
            await send(answer)

        if self.away:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, again, told)
        body = json.loads(raw) if raw else None
        self.calls.put(Call(scope["method"], scope["path"], credential, body, status))

    def next(self, path: str) -> Call:
        """Wait for the next request on a path; those on others are passed over."""
        while True:
            call = self.calls.get(timeout=CALL_S)
            if call.path == path:
                return call


class Site(NamedTuple):
    """Where the site is, and the API before which calls are noted."""

    origin: str
    api: str
    recorded: Recorded


class _Pages(BaseHTTPRequestHandler):
    api = ""

    def do_GET(self) -> None:
        kind, text = "text/html", f"<script src='{self.api}/v1/sdk/clarion.js'></script>"
        if self.path == "/clarion-sw.js":
            kind, text = "text/javascript", f"importScripts('{self.api}/v1/sdk/clarion-sw.js')"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def site_of(door: Door) -> Iterator[Site]:
    """Serve a site, and the API that answers its pages and knows device tokens."""
    pages = type("Pages", (_Pages,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    origin = f"http://127.0.0.1:{server.server_port}"
    provers = [
        TestProver(),
        DeviceTokens(door.signer, door.tenants, RedisProfiles(door.redis), door.wall_ms),
    ]
    whole = dataclasses.replace(
        door,
        settings=load_settings(api={"cors_origins": [origin]}),
        access=Access(provers, door.wall_ms),
    )
    recorded = Recorded(create_app(whole))
    try:
        with on_port(recorded) as url:
            pages.api = url  # type: ignore[attr-defined]
            yield Site(origin, url, recorded)
    finally:
        server.shutdown()
        thread.join(timeout=CALL_S)
        server.server_close()
