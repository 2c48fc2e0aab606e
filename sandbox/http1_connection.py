"""One HTTP/1.1 server connection on sans-io h11, kept alive between requests."""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import h11

from sandbox.http_types import Action, Connection, Handler, Request, Response, fold_headers

logger = logging.getLogger(__name__)


class Http1Connection(asyncio.Protocol):
    """Reads one request at a time (pipelined ones wait), calls the handler and answers.

    A broken request is answered with 400, too large a body with 413, and the connection closed.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_body_bytes: int,
        max_header_bytes: int,
        on_lost: Callable[[asyncio.Protocol], None],
    ) -> None:
        self._handler = handler
        self._max_body_bytes = max_body_bytes
        self._on_lost = on_lost
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=max_header_bytes)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._waiting = False
        self._closing = False
        self._delayed: asyncio.TimerHandle | None = None
        self.connection = Connection("1.1")
        self.last_heard_s = 0.0
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over an open connection."""
        self._transport = cast("asyncio.Transport", transport)
        self.last_heard_s = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Read what came and answer what is complete."""
        self.last_heard_s = self._loop.time()
        self._read(data)

    def eof_received(self) -> None:
        """Tell h11 that the client has said its last."""
        self._read(b"")

    def _read(self, data: bytes) -> None:
        if self._closing:
            return
        self._h11.receive_data(data)
        if self._waiting and len(self._h11.trailing_data[0]) > self._max_body_bytes:
            self.abort()  # pipelining without end behind an answer that has not come
            return
        self._handle_events()

    def _handle_events(self) -> None:
        try:
            self._pump()
        except h11.RemoteProtocolError as error:
            logger.warning("HTTP/1.1 client broke the protocol: %s", error)
            self._refuse(error.error_status_hint)

    def _pump(self) -> None:
        """Handle events until h11 needs more data or a response is being waited for."""
        while not self._waiting and not self._closing:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._transport.write(self._h11.send(go_on) or b"")
                return
            if event is h11.PAUSED:
                # Pipelined requests, or more than one could need: stop reading until answered.
                return
            if isinstance(event, h11.Request):
                self._head = event
                self._body.clear()
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > self._max_body_bytes:
                    self._refuse(413)
            elif isinstance(event, h11.EndOfMessage):
                self._on_complete()
            elif isinstance(event, h11.ConnectionClosed):
                self._end()

    def _on_complete(self) -> None:
        head = self._head
        if head is None:
            return
        pairs = [(name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers]
        headers, duplicates = fold_headers(pairs)
        request = Request(
            method=head.method.decode("ascii"),
            path=head.target.decode("ascii"),
            headers=headers,
            body=bytes(self._body),
            http_version="1.1",
            connection=self.connection,
            duplicates=duplicates,
        )
        try:
            response = self._handler(request)
        except Exception:
            logger.exception("the handler failed on %s %s", request.method, request.path)
            response = Response(status=500)
        self._waiting = True
        if response.delay_s > 0:
            self._delayed = self._loop.call_later(response.delay_s, self._act_later, response)
        else:
            self._act(response)

    def _act_later(self, response: Response) -> None:
        self._delayed = None
        self._act(response)
        self._handle_events()

    def _act(self, response: Response) -> None:
        if response.action in (Action.ANSWER, Action.GOAWAY):
            self._answer(response, close=response.action is Action.GOAWAY)
        elif response.action is Action.CLOSE:
            self.abort()
        elif response.action is Action.RESET_BODY:
            self._begin_answer(response)
            self._end()
        elif response.action is Action.RESET:
            self._end()
        # HANG leaves the request waiting until the idle limit.

    def _answer(self, response: Response, *, close: bool) -> None:
        parts = [self._h11.send(_head(response, close=close)) or b""]
        if response.body:
            parts.append(self._h11.send(h11.Data(data=response.body)) or b"")
        parts.append(self._h11.send(h11.EndOfMessage()) or b"")
        self._transport.write(b"".join(parts))
        self._waiting = False
        if self._h11.our_state is h11.MUST_CLOSE:
            self._end()
        else:
            self._h11.start_next_cycle()

    def _begin_answer(self, response: Response) -> None:
        """Send an answer as far as half of its body."""
        half = h11.Data(data=response.body[: len(response.body) // 2])
        self._transport.write(
            (self._h11.send(_head(response, close=False)) or b"") + (self._h11.send(half) or b"")
        )

    def _refuse(self, status: int) -> None:
        self._waiting = False
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(Response(status=status), close=True)
        self._end()

    def _end(self) -> None:
        self._closing = True
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._closing = True
        self._transport.abort()

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if not self._closing:
            self._transport.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Drop what was to be answered."""
        self._closing = True
        if self._delayed is not None:
            self._delayed.cancel()
        self._on_lost(self)


def _head(response: Response, *, close: bool) -> h11.Response:
    headers = [(name, value) for name, value in response.headers.items()]
    if not 100 <= response.status < 200 and response.status not in (204, 304):
        headers.append(("content-length", str(len(response.body))))
    if close:
        headers.append(("connection", "close"))
    return h11.Response(status_code=response.status, headers=headers)
