"""A client's connection: cuts requests out of the stream and answers them in order."""

import asyncio
import logging
import struct
from collections.abc import Coroutine
from struct import Struct
from typing import cast

from sandbox.kafka_broker.apis import API_VERSIONS, APIS, answer_versions
from sandbox.kafka_broker.broker import Broker, Request
from sandbox.kafka_broker.codec import MalformedError, Reader, Writer
from sandbox.kafka_broker.errors import Code

MAX_REQUEST_BYTES = 100 << 20  # Kafka's socket.request.max.bytes
BUFFER_BYTES = 1 << 16
MAX_IDLE_BUFFER_BYTES = 1 << 21

_SIZE = Struct(">i")
_HEADER = Struct(">hhi")

logger = logging.getLogger(__name__)


class Connection(asyncio.BufferedProtocol):
    """One connection. One request is under way at a time, as in Kafka: answers keep their order.

    open_connections: all of the broker's, this one among them while it is open.
    """

    def __init__(
        self, broker: Broker, open_connections: "set[Connection]", *, max_connections: int
    ) -> None:
        self._broker = broker
        self._open = open_connections
        self._max_connections = max_connections
        self._transport: asyncio.Transport | None = None
        self._host = ""
        self._buffer = bytearray(BUFFER_BYTES)
        self._start = 0  # of what is not yet handled
        self._filled = 0
        self._waiting: asyncio.Task[None] | None = None
        self._congested = False
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._open) >= self._max_connections:
            logger.warning("refused a connection: %d are open", len(self._open))
            self._transport.abort()
            return
        self._open.add(self)
        peer = transport.get_extra_info("peername")
        self._host = f"/{peer[0]}" if peer else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it, with the request that waits."""
        self._open.discard(self)
        self._transport = None
        if self._waiting is not None:
            self._waiting.cancel()
        if exc is not None:
            logger.debug("connection lost: %s", exc)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give room for what comes next: at least the rest of the request at hand."""
        have = self._filled - self._start
        try:
            need = max(self._wanted(), sizehint // 4)
        except MalformedError:  # which is said when the request's turn comes
            need = BUFFER_BYTES
        if len(self._buffer) - self._start < need or self._filled == len(self._buffer):
            size = max(need, BUFFER_BYTES, have + BUFFER_BYTES // 2)
            if size <= len(self._buffer) <= MAX_IDLE_BUFFER_BYTES:
                self._buffer[:have] = self._buffer[self._start : self._filled]
            else:
                fresh = bytearray(size)
                fresh[:have] = memoryview(self._buffer)[self._start : self._filled]
                self._buffer = fresh
            self._start, self._filled = 0, have
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Handle what has come."""
        self._filled += nbytes
        self._handle_all()

    def eof_received(self) -> bool:
        """Close: nobody reads an answer any more."""
        return False

    def pause_writing(self) -> None:
        """Handle no more requests until the client has read its answers."""
        self._congested = True

    def resume_writing(self) -> None:
        """Go on."""
        self._congested = False
        self._handle_all()

    def _wanted(self) -> int:
        """Give the size of the request at hand. Raises MalformedError for an absurd one."""
        if self._filled - self._start < _SIZE.size:
            return _SIZE.size
        size = int(_SIZE.unpack_from(self._buffer, self._start)[0])
        if not _HEADER.size <= size <= MAX_REQUEST_BYTES:
            raise MalformedError(f"a request of {size} bytes")
        return size + _SIZE.size

    def _handle_all(self) -> None:
        try:
            while self._waiting is None and not self._congested and self._transport is not None:
                wanted = self._wanted()
                if self._filled - self._start < max(wanted, _SIZE.size + 1):
                    break
                at = self._start + _SIZE.size
                self._start += wanted
                self._handle(memoryview(self._buffer)[at : self._start])
        except (MalformedError, struct.error, ValueError) as error:
            logger.warning("closed the connection of %s: %s", self._host, error)
            self.close()
        except Exception:
            logger.exception("closed the connection of %s", self._host)
            self.close()
        if self._start == self._filled:
            self._start = self._filled = 0
            if len(self._buffer) > MAX_IDLE_BUFFER_BYTES:
                self._buffer = bytearray(BUFFER_BYTES)
        self._read_if(self._waiting is None and not self._congested)

    def _read_if(self, free: bool) -> None:  # noqa: FBT001 - a private switch
        """Stop reading while busy, once more has come than the request at hand."""
        if self._transport is None or free == self._reading:
            return
        if free:
            self._transport.resume_reading()
        elif self._filled > self._start:
            self._transport.pause_reading()
        else:
            return
        self._reading = free

    def _handle(self, frame: memoryview) -> None:
        key, version, correlation_id = _HEADER.unpack_from(frame)
        api = APIS.get(key)
        spoken = api is not None and api.lowest <= version <= api.highest
        if api is None or not (spoken or key == API_VERSIONS):
            raise MalformedError(f"request {key} of version {version} is not spoken here")
        flexible = spoken and version >= api.flexible_from
        body = Reader(frame[_HEADER.size :])
        client_id = body.nullable_string() or ""  # never compact, also in flexible versions
        body.flexible = flexible
        body.tags()
        request = Request(
            version if spoken else 0,
            body,
            correlation_id=correlation_id,
            tagged_header=flexible and key != API_VERSIONS,
            client_id=client_id,
            host=self._host,
        )
        if not spoken:
            self._send(answer_versions(request, Code.UNSUPPORTED_VERSION))
            return
        answer = api.handle(self._broker, request)
        if isinstance(answer, Writer):
            self._send(answer)
        elif answer is not None:
            self._waiting = self._broker.loop.create_task(self._answer_later(answer))

    async def _answer_later(self, answer: Coroutine[None, None, Writer]) -> None:
        try:
            writer = await answer
        except Exception:
            logger.exception("closed the connection of %s", self._host)
            self.close()
            return
        self._waiting = None
        self._send(writer)
        self._handle_all()

    def _send(self, writer: Writer) -> None:
        if self._transport is not None:
            parts = writer.finish()
            if len(parts) == 1:
                self._transport.write(parts[0])
            else:
                self._transport.writelines(parts)
