"""An HTTP/2 server for load that accepts everything, as quick as one core of Python allows.

It reads frame headers only: HPACK is never decoded, so it knows neither paths nor headers, and
every stream that ends gets the same prebuilt answer. All answers of one read leave in one write.
For answers that depend on the request, use the strict simulators. Source: RFC 9113.

As a program: `python -m sandbox.fast_server --port 0 --status 201` prints its port as the first
line and ends on SIGTERM, when its stdin (a pipe) closes, and when its parent dies.
"""

import argparse
import asyncio
import os
import signal
import ssl
import stat
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import cast

import hpack
import uvloop

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW_SIZE = 4
_PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _FRAME_SIZE_ERROR, _ENHANCE_YOUR_CALM = 1, 3, 6, 11
_MAX_FRAME_BYTES = 16_384
_MAX_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_TOP_UP_BYTES = 2**30
_HEAD = struct.Struct(">IB")  # (payload length << 8 | type), flags; the stream id follows
_HEAD_BYTES = 9
_SETTING = struct.Struct(">HI")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) << 8 | kind, flags) + stream.to_bytes(4) + payload


class _Answers:
    """Prebuilt frames of the one answer; only the stream ids differ."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        # Never-indexed fields leave the client's header table alone, so one block fits always.
        fields = [hpack.NeverIndexedHeaderTuple(":status", str(status))]
        fields += [hpack.NeverIndexedHeaderTuple(k.lower(), v) for k, v in headers.items()]
        block = hpack.Encoder().encode(fields)
        flags = _END_HEADERS if body else _END_HEADERS | _END_STREAM
        self.body_bytes = len(body)
        self._first = _HEAD.pack(len(block) << 8 | _HEADERS, flags)
        self._middle = block + _HEAD.pack(len(body) << 8 | _DATA, _END_STREAM) if body else b""
        self._last = body or block
        self._between = self._last + self._first

    def frames(self, streams: list[bytes]) -> bytes:
        """Build the answers of these streams (4-byte ids), at least one."""
        middle = self._middle
        ids = [s + middle + s for s in streams] if middle else streams
        return self._first + self._between.join(ids) + self._last


class FastServer:
    """Answers every request with one status and body.

    body: at most 16,384 bytes (one DATA frame). latency_s: wait before each answer.
    max_streams: how many requests one connection may have waiting.
    requests: answered or waiting so far, over all connections.
    """

    def __init__(
        self,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        latency_s: float = 0.0,
        max_streams: int = 10_000,
    ) -> None:
        if len(body) > _MAX_FRAME_BYTES:
            raise ValueError(f"a body of {len(body)} bytes is over {_MAX_FRAME_BYTES}")
        self.requests = 0
        self.latency_s = latency_s
        self.max_streams = max_streams
        self.answers = _Answers(status, headers or {}, body)
        self.connections: set[FastConnection] = set()
        self._server: asyncio.Server | None = None

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> int:
        """Listen; give the port. tls must offer ALPN "h2"; None means prior knowledge (h2c)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: FastConnection(self, loop), host, port, ssl=tls, backlog=1024
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.abort()


class FastConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: FastServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._answers = server.answers
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._greeted = False
        self._rest = b""
        self._received_bytes = 0  # DATA since the connection window was last topped up
        self._window_bytes = _DEFAULT_WINDOW  # what the client lets us send
        self._waiting = 0  # streams that ended and have no answer yet
        self._held: list[bytes] = []  # of these, held back by the client's window
        self._reset: set[bytes] = set()  # of these, given up by the client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet with our settings and open both windows as far as they go."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._transport = transport
        self._server.connections.add(self)
        settings = _SETTING.pack(3, self._server.max_streams)
        settings += _SETTING.pack(_INITIAL_WINDOW_SIZE, _MAX_WINDOW)
        increment = (_MAX_WINDOW - _DEFAULT_WINDOW).to_bytes(4)
        transport.write(_frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, increment))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._server.connections.discard(self)
        self._transport = None

    def pause_writing(self) -> None:
        """Stop reading while the client does not read its answers."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Step over whole frames, collect the streams that ended, answer them."""
        data = self._rest + data if self._rest else data
        at = 0
        if not self._greeted:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                return self._refuse(_PROTOCOL_ERROR)
            if len(data) < len(PREFACE):
                self._rest = data
                return None
            self._greeted, at = True, len(PREFACE)
        ended: list[bytes] = []
        unpack, end = _HEAD.unpack_from, len(data)
        while end - at >= _HEAD_BYTES:
            head, flags = unpack(data, at)
            size = head >> 8
            after = at + _HEAD_BYTES + size
            kind = head & 0xFF
            if after > end:
                if size > _MAX_FRAME_BYTES:
                    return self._refuse(_FRAME_SIZE_ERROR)
                break
            if kind <= _HEADERS:
                if kind == _DATA:
                    self._received_bytes += size
                if flags & _END_STREAM:
                    ended.append(data[at + 5 : at + 9])
            else:
                self._control(kind, flags, data[at + 5 : at + 9], data[at + _HEAD_BYTES : after])
            at = after
        self._rest = data[at:]
        return self._settle(ended)

    def _settle(self, ended: list[bytes]) -> None:
        if self._received_bytes > _TOP_UP_BYTES:
            self._write(_frame(_WINDOW_UPDATE, 0, 0, self._received_bytes.to_bytes(4)))
            self._received_bytes = 0
        if not ended:
            return
        self._server.requests += len(ended)
        self._waiting += len(ended)
        if self._waiting > self._server.max_streams:
            self._refuse(_ENHANCE_YOUR_CALM)
        elif self._server.latency_s:
            self._loop.call_later(self._server.latency_s, self._answer, ended)
        else:
            self._answer(ended)

    def _answer(self, ended: list[bytes]) -> None:
        if self._held:
            ended = self._held + ended
            self._held = []
        if self._reset:
            self._waiting -= sum(1 for s in ended if s in self._reset)
            ended = [s for s in ended if s not in self._reset]
        body_bytes = self._answers.body_bytes
        if body_bytes and len(ended) * body_bytes > self._window_bytes:
            fit = max(self._window_bytes // body_bytes, 0)
            self._held = ended[fit:]
            ended = ended[:fit]
        if ended:
            self._window_bytes -= len(ended) * body_bytes
            self._waiting -= len(ended)
            self._write(self._answers.frames(ended))
        if not self._waiting:
            self._reset.clear()

    def _control(self, kind: int, flags: int, stream: bytes, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._apply_settings(payload)
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE and stream == b"\0\0\0\0":
            self._window_bytes += int.from_bytes(payload) & _MAX_WINDOW
            if self._held:
                self._answer([])
        elif kind == _RST_STREAM and (self._waiting or self._server.latency_s):
            if len(self._reset) >= self._server.max_streams:
                self._reset.clear()  # clients must ignore what crosses their reset anyway
            self._reset.add(stream)

    def _apply_settings(self, payload: bytes) -> None:
        """Refuse a client whose streams cannot hold the one body: its windows are not tracked."""
        for key, value in _SETTING.iter_unpack(payload[: len(payload) // 6 * 6]):
            if key == _INITIAL_WINDOW_SIZE and value < self._answers.body_bytes:
                self._refuse(_FLOW_CONTROL_ERROR)

    def _write(self, frames: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    def _refuse(self, error: int) -> None:
        """Say GOAWAY and close."""
        self._write(_frame(7, 0, 0, _MAX_WINDOW.to_bytes(4) + error.to_bytes(4)))
        if self._transport is not None:
            self._transport.close()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.fast_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--header", action="append", default=[], help="name:value, repeatable")
    parser.add_argument("--body", default="", help="text of the answer's body")
    parser.add_argument("--latency-s", type=float, default=0.0, help="wait before each answer")
    parser.add_argument("--cert", help="PEM file of the certificate; with --key, serve TLS")
    parser.add_argument("--key", help="PEM file of the certificate's key")
    return parser.parse_args(argv)


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """End when the pipe that is our stdin closes; a terminal or a file is left alone."""
    stdin = sys.stdin.fileno()

    def on_readable() -> None:
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            ended.set()

    if stat.S_ISFIFO(os.fstat(stdin).st_mode):
        loop.add_reader(stdin, on_readable)


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    _watch_stdin(loop, ended)
    tls = None
    if options.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.cert, options.key)
        tls.set_alpn_protocols(["h2"])
    server = FastServer(
        status=options.status,
        headers=dict(header.split(":", 1) for header in options.header),
        body=options.body.encode(),
        latency_s=options.latency_s,
    )
    parent = os.getppid()
    port = await server.start(options.host, options.port, tls)
    print(port, flush=True)  # noqa: T201 - the first line is this program's interface
    while not ended.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(ended.wait(), timeout=0.5)
        except TimeoutError:
            continue
    await server.stop()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the server until it is told to end."""
    uvloop.run(_serve(_arguments(argv)))


if __name__ == "__main__":
    main()
