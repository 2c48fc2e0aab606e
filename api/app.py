"""The HTTP door: events over HTTP instead of Kafka.

It has no authentication yet, so ``clarion api`` binds to loopback only.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from schemas.events import MAX_EVENT_BYTES, BadEventError, decode_event
from schemas.topics import EVENTS

ACK_TIMEOUT_S = 10.0
POLL_S = 0.1
PROBLEM = "application/problem+json"  # RFC 9457


class Outbox(Protocol):
    """Takes records and says when Kafka has them."""

    async def put(self, topic: str, key: bytes, value: bytes) -> None:
        """Return once the record is acknowledged. Raises KafkaException or TimeoutError."""
        ...

    async def run(self) -> None:
        """Serve acknowledgements until cancelled."""
        ...


class KafkaOutbox:
    """An idempotent producer whose acknowledgements come back to the event loop."""

    def __init__(self, make_producer: Callable[[], Producer]) -> None:
        self._make_producer = make_producer
        self._producer: Producer | None = None

    async def run(self) -> None:
        """See Outbox."""
        self._producer = self._make_producer()
        try:
            while True:
                await asyncio.to_thread(self._producer.poll, POLL_S)
        finally:
            self._producer.flush(ACK_TIMEOUT_S)

    async def put(self, topic: str, key: bytes, value: bytes) -> None:
        """See Outbox."""
        if self._producer is None:
            raise TimeoutError("the producer has not started")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def acknowledged(error: Any, _message: Any) -> None:
            loop.call_soon_threadsafe(_settle, done, error)

        try:
            self._producer.produce(topic, value, key, on_delivery=acknowledged)
        except BufferError as error:
            raise TimeoutError("the local queue is full") from error
        await asyncio.wait_for(done, ACK_TIMEOUT_S)


def _settle(done: "asyncio.Future[None]", error: Any) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(KafkaException(error))


def create_app(outbox: Outbox) -> FastAPI:
    """Make the application."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(outbox.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = FastAPI(title="Clarion", version="1", lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "ok"}

    @app.post("/v1/events", status_code=202)
    async def post_event(request: Request) -> JSONResponse:
        """Take one event; 202 with its id once Kafka has acknowledged it."""
        raw = await _body(request)
        if raw is None:
            return _problem(413, "too_large", f"an event has at most {MAX_EVENT_BYTES} bytes")
        try:
            event = decode_event(raw, id_required=False)
        except BadEventError as error:
            return _problem(422, "bad_event", str(error))
        try:
            await outbox.put(EVENTS[event.priority], event.id.encode(), event.to_json())
        except (KafkaException, TimeoutError) as error:
            return _problem(503, "not_acknowledged", f"Kafka did not take it: {error}")
        return JSONResponse({"id": event.id}, status_code=202)

    return app


async def _body(request: Request) -> bytes | None:
    """Read the body up to the limit; None when it is longer."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_EVENT_BYTES:
            return None
    return bytes(body)


def _problem(status: int, code: str, detail: str) -> JSONResponse:
    content = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return JSONResponse(content, status_code=status, media_type=PROBLEM)
