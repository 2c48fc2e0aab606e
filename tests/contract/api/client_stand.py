"""Clients against the API: in process for asyncio, on a loopback port for threads, with faults."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from api.client import AsyncClient, Client, Retry
from schemas.events import decode_event
from tests.contract.api.door_stand import AppliedOutbox

KEY = "test:acme:admin"
AT_ONCE = Retry(base_s=0.0, attempts=5)
EVENT = {
    "type": "t",
    "category": "news",
    "audience": {"users": ["u1"]},
    "content": {"title": "Hi"},
}
FAULTS: dict[str, Any] = {
    "503": lambda: httpx.Response(503, json={"status": 503, "code": "unavailable", "detail": "x"}),
    "429": lambda: httpx.Response(429, headers={"Retry-After": "0"}, json={"status": 429}),
    "502": lambda: httpx.Response(502, text="<html>bad gateway</html>"),
}


class Faulty:
    """A list of what goes wrong, in turn; "" and what comes after the list goes well.

    "refused": no connection. "cut": the request arrives, and the connection is cut before the
    answer. A status: a server before the API says so.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        self.requests: list[httpx.Request] = []

    def next_fault(self, request: httpx.Request) -> str:
        self.requests.append(request)
        return self.faults.pop(0) if self.faults else ""

    def before(self, fault: str) -> httpx.Response | None:
        if fault == "refused":
            raise httpx.ConnectError("refused")
        return FAULTS[fault]() if fault in FAULTS else None

    def after(self, fault: str) -> None:
        if fault == "cut":
            raise httpx.ReadError("cut")


class AsyncFaulty(Faulty, httpx.AsyncBaseTransport):
    """Before the application in this process."""

    def __init__(self, app: FastAPI, faults: Sequence[str] = ()) -> None:
        super().__init__(faults)
        self._inner = httpx.ASGITransport(app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fault = self.next_fault(request)
        answer = self.before(fault) or await self._inner.handle_async_request(request)
        self.after(fault)
        return answer


class SyncFaulty(Faulty, httpx.BaseTransport):
    """Before a server."""

    def __init__(self, faults: Sequence[str] = ()) -> None:
        super().__init__(faults)
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fault = self.next_fault(request)
        answer = self.before(fault) or self._inner.handle_request(request)
        if fault == "cut":
            answer.read()
        self.after(fault)
        return answer


def async_client(app: FastAPI, *faults: str, retry: Retry = AT_ONCE) -> AsyncClient:
    return AsyncClient("http://test", KEY, retry=retry, transport=AsyncFaulty(app, faults))


def sync_client(url: str, *faults: str, retry: Retry = AT_ONCE) -> Client:
    return Client(url, KEY, retry=retry, transport=SyncFaulty(faults))


@contextmanager
def on_port(app: Any) -> Iterator[str]:
    """Serve the application on a loopback port; give its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


def kept(outbox: AppliedOutbox) -> list[str]:
    """Give the keys by which `route` tells events apart, in order, each once."""
    return list(dict.fromkeys(decode_event(record.value).dedup_key for record in outbox.records))
