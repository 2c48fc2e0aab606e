"""One HTTP/2 server connection on sans-io h2."""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

from sandbox.http_types import (
    Action,
    Connection,
    Handler,
    Request,
    Response,
    decode_headers,
    fold_headers,
)

logger = logging.getLogger(__name__)

FLOW_CONTROL_DEFAULT_BYTES = 65_535
CONNECTION_WINDOW_BYTES = 1 << 30
SLICE_BYTES = 1 << 14
"""h2 walks all open streams at each new one, so a big read is fed and answered in slices."""

CONFIG = h2.config.H2Configuration(
    client_side=False,
    header_encoding=None,
    # http_types.decode_headers() checks requests, in a tenth of the time h2 takes for it.
    validate_inbound_headers=False,
    validate_outbound_headers=False,  # our own answers, in lower case, no hop-by-hop headers
    normalize_outbound_headers=False,
)

Settings = h2.settings.SettingCodes


class Http2Connection(asyncio.Protocol):
    """Reads requests, calls the handler, writes the answers of one read in one write.

    A protocol error ends the connection with GOAWAY, as RFC 9113 section 5.4.1 asks. A body over
    max_body_bytes is answered with 413 and its stream is reset.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_concurrent_streams: int,
        max_body_bytes: int,
        max_header_bytes: int,
        on_lost: Callable[[asyncio.Protocol], None],
    ) -> None:
        self._handler = handler
        self._max_body_bytes = max_body_bytes
        self._on_lost = on_lost
        self._requests: dict[int, tuple[list[tuple[str, str]], bytearray]] = {}
        self._unsent: dict[int, bytes] = {}
        self._delayed: dict[int, asyncio.TimerHandle] = {}
        self._uncredited_bytes = 0
        self._last_stream_id = 0
        self._goaway_after: int | None = None
        self._closing = False
        self.connection = Connection("2")
        self.last_heard_s = 0.0
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._h2 = h2.connection.H2Connection(CONFIG)
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                Settings.MAX_CONCURRENT_STREAMS: max_concurrent_streams,
                Settings.MAX_HEADER_LIST_SIZE: max_header_bytes,
                # Room for a whole body, so no stream ever needs a window update.
                Settings.INITIAL_WINDOW_SIZE: max(max_body_bytes + 1, FLOW_CONTROL_DEFAULT_BYTES),
                Settings.ENABLE_PUSH: 0,
            },
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over an open connection and send the settings."""
        self._transport = cast("asyncio.Transport", transport)
        self.last_heard_s = self._loop.time()
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Read what came and answer what is complete."""
        if self._closing:
            return
        self.last_heard_s = self._loop.time()
        try:
            for start in range(0, len(data), SLICE_BYTES):
                for event in self._h2.receive_data(data[start : start + SLICE_BYTES]):
                    self._on_event(event)
                if self._transport.is_closing():
                    return
        except h2.exceptions.ProtocolError as error:
            logger.warning("HTTP/2 client broke the protocol: %s", error)
            self._flush()
            self._end()
            return
        self._flush()
        self._end_if_drained()

    def _on_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._on_request(event)
        elif isinstance(event, h2.events.DataReceived):
            self._on_data(event)
        elif isinstance(event, h2.events.StreamEnded):
            self._on_complete(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._forget(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            for stream_id in list(self._unsent):
                self._send_body(stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._end()

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        if self._goaway_after is not None and stream_id > self._goaway_after:
            return  # past the GOAWAY: the client knows that nobody looked at it
        self._last_stream_id = stream_id
        try:
            pairs = decode_headers(event.headers)
        except ValueError as error:
            logger.warning("malformed HTTP/2 request: %s", error)
            self._reset(stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            return
        self._requests[stream_id] = (pairs, bytearray())

    def _on_data(self, event: h2.events.DataReceived) -> None:
        self._uncredited_bytes += event.flow_controlled_length
        if self._uncredited_bytes > CONNECTION_WINDOW_BYTES // 2:
            self._h2.increment_flow_control_window(self._uncredited_bytes)
            self._uncredited_bytes = 0
        stream_id = event.stream_id
        request = self._requests.get(stream_id)
        if request is None:
            return
        body = request[1]
        body += event.data
        if len(body) > self._max_body_bytes:
            del self._requests[stream_id]
            self._h2.send_headers(stream_id, [(":status", "413")], end_stream=True)
            self._reset(stream_id, h2.errors.ErrorCodes.NO_ERROR)

    def _on_complete(self, stream_id: int) -> None:
        request = self._requests.pop(stream_id, None)
        if request is None:
            return
        pairs, body = request
        headers, duplicates = fold_headers(pairs)
        response = self._ask(
            Request(
                method=headers.pop(":method", ""),
                path=headers.pop(":path", ""),
                headers=headers,
                body=bytes(body),
                http_version="2",
                connection=self.connection,
                duplicates=duplicates,
            ),
        )
        if response.delay_s > 0:
            self._delayed[stream_id] = self._loop.call_later(
                response.delay_s,
                self._act_later,
                stream_id,
                response,
            )
        else:
            self._act(stream_id, response)

    def _ask(self, request: Request) -> Response:
        try:
            return self._handler(request)
        except Exception:
            logger.exception("the handler failed on %s %s", request.method, request.path)
            return Response(status=500)

    def _act_later(self, stream_id: int, response: Response) -> None:
        self._delayed.pop(stream_id, None)
        self._act(stream_id, response)
        self._flush()
        self._end_if_drained()

    def _act(self, stream_id: int, response: Response) -> None:
        if self._closing:
            return
        if response.max_concurrent_streams:
            self._h2.update_settings(
                {Settings.MAX_CONCURRENT_STREAMS: response.max_concurrent_streams}
            )
        if response.action in (Action.ANSWER, Action.GOAWAY):
            self._answer(stream_id, response)
            if response.action is Action.GOAWAY and self._goaway_after is None:
                self._go_away(response)
        elif response.action in (Action.RESET, Action.RESET_BODY):
            if response.action is Action.RESET_BODY:
                self._begin_answer(stream_id, response)
            self._reset(stream_id, h2.errors.ErrorCodes(response.reset_code))
        elif response.action is Action.CLOSE:
            self._closing = True
            self._transport.abort()

    def _answer(self, stream_id: int, response: Response) -> None:
        body = response.body
        try:
            self._h2.send_headers(stream_id, _headers(response), end_stream=not body)
        except h2.exceptions.ProtocolError:
            return  # the client has reset the stream meanwhile
        if body:
            self._unsent[stream_id] = body
            self._send_body(stream_id)

    def _begin_answer(self, stream_id: int, response: Response) -> None:
        """Send as much of an answer as half of a small body."""
        body = response.body
        try:
            self._h2.send_headers(stream_id, _headers(response))
            size = min(len(body) // 2, self._h2.local_flow_control_window(stream_id))
            self._h2.send_data(stream_id, body[: min(size, self._h2.max_outbound_frame_size)])
        except h2.exceptions.ProtocolError:
            return  # the client has reset the stream meanwhile

    def _send_body(self, stream_id: int) -> None:
        """Send what the client's window allows; the rest waits for its WINDOW_UPDATE."""
        body = self._unsent.pop(stream_id)
        try:
            while body:
                size = min(
                    len(body),
                    self._h2.local_flow_control_window(stream_id),
                    self._h2.max_outbound_frame_size,
                )
                if size <= 0:
                    self._unsent[stream_id] = body
                    return
                piece, body = body[:size], body[size:]
                self._h2.send_data(stream_id, piece, end_stream=not body)
        except h2.exceptions.ProtocolError:
            return  # the client has reset the stream meanwhile

    def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        try:
            self._h2.reset_stream(stream_id, error_code=code)
        except h2.exceptions.ProtocolError:
            return  # the client was faster

    def _go_away(self, response: Response) -> None:
        """Announce the end and finish what was accepted.

        h2's close_connection() refuses to answer open streams afterwards, so the frame is
        written here; RFC 9113 section 6.8 allows both.
        """
        self._flush()
        self._goaway_after = self._last_stream_id
        frame = GoAwayFrame(
            0,
            last_stream_id=self._last_stream_id,
            error_code=response.goaway_code,
            additional_data=response.goaway_debug,
        )
        self._transport.write(frame.serialize())

    def _end_if_drained(self) -> None:
        busy = self._requests or self._unsent or self._delayed
        if self._goaway_after is not None and not busy:
            self._end()

    def _forget(self, stream_id: int) -> None:
        self._requests.pop(stream_id, None)
        self._unsent.pop(stream_id, None)
        timer = self._delayed.pop(stream_id, None)
        if timer is not None:
            timer.cancel()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

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
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        self._on_lost(self)


def _headers(response: Response) -> list[tuple[str, str]]:
    return [
        (":status", str(response.status)),
        *((name.lower(), value) for name, value in response.headers.items()),
    ]
