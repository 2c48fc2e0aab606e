"""The HTTP server under the provider simulators: HTTP/2 and HTTP/1.1, with or without TLS."""

import asyncio
import ssl
from typing import cast

from sandbox.http1_connection import Http1Connection
from sandbox.http2_connection import Http2Connection
from sandbox.http_types import Action, Connection, Handler, Request, Response

__all__ = ["Action", "Connection", "Handler", "HttpServer", "Request", "Response"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How an HTTP/2 client opens a connection. Source: RFC 9113 section 3.4."""

STOP_TIMEOUT_S = 2.0
IDLE_CHECKS_PER_LIMIT = 4


class HttpServer:
    """Serves one synchronous handler.

    tls: speaks TLS with ALPN h2 or http/1.1; None: plain, HTTP/2 by prior knowledge or HTTP/1.1.
    A connection on which nothing was heard for idle_limit_s is cut, which also ends hung requests.
    Connections over max_connections are refused.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None = None,
        max_concurrent_streams: int = 1000,
        max_body_bytes: int = 1 << 20,
        max_header_bytes: int = 1 << 16,
        max_connections: int = 1000,
        idle_limit_s: float = 300.0,
    ) -> None:
        self._handler = handler
        self._tls = tls
        self._max_concurrent_streams = max_concurrent_streams
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._max_connections = max_connections
        self._idle_limit_s = idle_limit_s
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._protocols: set[asyncio.Protocol] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and give the bound port. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Opening(self),
            host,
            port,
            ssl=self._tls,
            backlog=1024,
        )
        self._plan_sweep()
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and cut every connection; takes at most STOP_TIMEOUT_S."""
        if self._server is None:
            return
        server, self._server = self._server, None
        if self._sweep is not None:
            self._sweep.cancel()
        server.close()
        for protocol in list(self._protocols):
            _abort(protocol)
        try:
            await asyncio.wait_for(server.wait_closed(), STOP_TIMEOUT_S)
        except TimeoutError:
            return  # the sockets are aborted; only their callbacks are late

    def _plan_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._idle_limit_s / IDLE_CHECKS_PER_LIMIT
        self._sweep = loop.call_later(pause_s, self._cut_idle_connections)

    def _cut_idle_connections(self) -> None:
        oldest_s = asyncio.get_running_loop().time() - self._idle_limit_s
        for protocol in list(self._protocols):
            if cast("_Serving", protocol).last_heard_s < oldest_s:
                _abort(protocol)
        self._plan_sweep()

    def admit(self, protocol: asyncio.Protocol) -> bool:
        """Count a new connection in, unless there are too many."""
        if self._server is None or len(self._protocols) >= self._max_connections:
            return False
        self._protocols.add(protocol)
        return True

    def forget(self, protocol: asyncio.Protocol) -> None:
        """Count a connection out."""
        self._protocols.discard(protocol)

    def serve(self, opening: "_Opening", *, http2: bool) -> "_Serving":
        """Give the protocol that takes over an opened connection."""
        self.forget(opening)
        protocol: _Serving
        if http2:
            protocol = Http2Connection(
                self._handler,
                max_concurrent_streams=self._max_concurrent_streams,
                max_body_bytes=self._max_body_bytes,
                max_header_bytes=self._max_header_bytes,
                on_lost=self.forget,
            )
        else:
            protocol = Http1Connection(
                self._handler,
                max_body_bytes=self._max_body_bytes,
                max_header_bytes=self._max_header_bytes,
                on_lost=self.forget,
            )
        self._protocols.add(protocol)
        return protocol


class _Opening(asyncio.Protocol):
    """Finds out which HTTP a new connection speaks, then hands it over."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._first = b""
        self._transport: asyncio.Transport
        self.last_heard_s = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._server.admit(self):
            self._transport.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._hand_over(http2=tls.selected_alpn_protocol() == "h2")

    def data_received(self, data: bytes) -> None:
        self._first += data
        if self._first.startswith(PREFACE):
            self._hand_over(http2=True)
        elif not PREFACE.startswith(self._first):
            self._hand_over(http2=False)

    def _hand_over(self, *, http2: bool) -> None:
        protocol = self._server.serve(self, http2=http2)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._first:
            protocol.data_received(self._first)

    def abort(self) -> None:
        """Cut the connection at once."""
        self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.forget(self)


_Serving = Http2Connection | Http1Connection


def _abort(protocol: asyncio.Protocol) -> None:
    cast("_Serving | _Opening", protocol).abort()
