"""The provider HTTP transport: a few warmed connections per host, on pyreqwest (hyper)."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    NetworkError,
    PyreqwestError,
    RequestError,
    RequestTimeoutError,
)
from pyreqwest.response import Response

from sinks.http_lanes import Host, Lane

MAX_BODY_BYTES = 64 * 1024
"""What is kept of an answer's body; providers answer in well under 2 kB."""

MAX_HOSTS = 256
"""Hosts remembered at one time: a Web Push endpoint names its host itself."""

PING_INTERVAL_S = 30.0
PING_TIMEOUT_S = 10.0
IDLE_LIMIT_S = 900.0
"""hyper closes a connection unused for this long. Apple asks to keep connections open."""

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


class HttpAnswer(msgspec.Struct):
    """An answer that arrived. headers: look-ups ignore case. body: its first 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSentError(Exception):
    """The request never left, or the provider says it never looked at it: safe to send again."""


class NoConnectionError(NotSentError):
    """No connection could be made."""


class LostError(Exception):
    """The request may have left and no answer came: its fate is unknown. timeout: by the clock."""

    def __init__(self, message: str, *, timeout: bool) -> None:
        super().__init__(message)
        self.timeout = timeout


class HttpPool:
    """Posts over `connections` connections per host, taking the least loaded.

    hyper keeps one HTTP/2 connection per client and host, so N connections are N clients. How many
    streams a connection may carry is unknown before its first answer, so its first request goes
    alone; others take another connection or wait.

    request_timeout_s: from connecting to the end of the answer. A request that finds every
    connection full first waits up to request_timeout_s for a place. ca_pem: one more trusted
    authority. http2: by ALPN on https; prior_knowledge: HTTP/2 without asking, also on http.
    success_body: False leaves the body of a 2xx answer unread, where status and headers say all.
    pins: a host and the IP addresses that stand for it, in turn for each connection: its name is
    not looked up. No redirects, cookies, decompression or proxies from the environment.
    """

    def __init__(
        self,
        *,
        connections: int = 4,
        request_timeout_s: float = 10.0,
        connect_timeout_s: float = 5.0,
        ca_pem: bytes | None = None,
        http2: bool = True,
        prior_knowledge: bool = False,
        max_in_flight_per_connection: int = 500,
        success_body: bool = True,
        pins: tuple[str, Sequence[str]] = ("", ()),
    ) -> None:
        if connections < 1 or max_in_flight_per_connection < 1:
            raise ValueError("a pool needs at least one connection and one request on it")
        self._connections = connections
        self._request_timeout_s = request_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._ca_pem = ca_pem
        self._http2 = http2
        self._prior_knowledge = prior_knowledge
        self._max_in_flight = max_in_flight_per_connection
        self._success_body = success_body
        self._pins = pins
        self._clients: list[Client] = []
        self._hosts: dict[str, Host] = {}

    async def open(self) -> None:
        """Build the clients. Connects to nothing; the first requests do."""
        if not self._clients:
            self._clients = [self._build_client(number) for number in range(self._connections)]

    async def close(self) -> None:
        """Close all connections; what is under way ends with LostError or NotSentError.

        Needed before the interpreter exits: hyper runs in a thread of its own.
        """
        clients, self._clients = self._clients, []
        hosts, self._hosts = self._hosts, {}
        for client in clients:
            await client.close()
        for host in hosts.values():
            host.wake_all()

    async def post(self, url: str, *, headers: Headers, body: bytes) -> HttpAnswer:
        """Send one POST and give the answer, whatever its status.

        Raises NotSentError, LostError, and ValueError for a URL or header that cannot be sent.
        """
        host = self._host(url)
        lane = host.take()
        if lane is None:
            lane = await self._wait_for_lane(host)
        answered = broken = False
        try:
            building = lane.client.post(url).headers(headers).body_bytes(body)
            # Else the body is read before the status can be seen, and its loss hides that.
            request = building.streamed_read_buffer_limit(0).build_streamed()
            async with request as response:
                answered = True
                return await self._read(response)
        except RequestError as error:
            broken = isinstance(error, NetworkError)
            # No chaining: the original names the URL, which holds the device token.
            raise _translate(error) from None
        finally:
            host.give_back(lane, answered=answered, broken=broken)

    async def _read(self, response: Response) -> HttpAnswer:
        status = response.status
        headers = response.headers
        accepted = 200 <= status < 300
        if (accepted and not self._success_body) or headers.get("content-length") == "0":
            return HttpAnswer(status, headers, b"")
        try:
            # One read takes everything up to its limit, however it was cut on the way.
            body = await response.body_reader.read(MAX_BODY_BYTES)
        except PyreqwestError:
            if not accepted:
                raise
            body = None  # accepted is accepted, even when the end of the answer is lost
        return HttpAnswer(status, headers, b"" if body is None else body.to_bytes())

    async def _wait_for_lane(self, host: Host) -> Lane:
        try:
            lane = await host.wait(self._request_timeout_s)
        except TimeoutError as error:
            raise NotSentError("no place on a connection within the time allowed") from error
        if not self._clients:
            host.give_back(lane, answered=False)
            raise NotSentError("the pool is closed")
        return lane

    def _host(self, url: str) -> Host:
        origin = url[: url.find("/", 8)]
        host = self._hosts.get(origin)
        if host is None:
            if not self._clients:
                raise NotSentError("the pool is not open")
            self._make_room()
            host = self._hosts[origin] = Host(
                self._clients,
                max_in_flight_per_lane=self._max_in_flight,
                idle_limit_s=IDLE_LIMIT_S,
            )
        return host

    def _make_room(self) -> None:
        """Forget the oldest idle host when there are too many; hyper closes it when unused."""
        if len(self._hosts) < MAX_HOSTS:
            return
        for origin, host in self._hosts.items():
            if host.idle:
                del self._hosts[origin]
                return
        raise NotSentError(f"requests to {MAX_HOSTS} hosts are under way")

    def _build_client(self, number: int) -> Client:
        builder = (
            ClientBuilder()
            .timeout(timedelta(seconds=self._request_timeout_s))
            .connect_timeout(timedelta(seconds=self._connect_timeout_s))
            .pool_idle_timeout(timedelta(seconds=IDLE_LIMIT_S))
            .http2_keep_alive_interval(timedelta(seconds=PING_INTERVAL_S))
            .http2_keep_alive_timeout(timedelta(seconds=PING_TIMEOUT_S))
            .http2_keep_alive_while_idle(enabled=True)
            .follow_redirects(enable=False)
            .referer(enable=False)
            .gzip(enable=False)
            .brotli(enable=False)
            .zstd(enable=False)
            .deflate(enable=False)
            .no_proxy()
            .user_agent("clarion")
        )
        if self._prior_knowledge:
            builder = builder.http2_prior_knowledge()
        else:
            builder = builder.http2(enable=self._http2)
        host, addresses = self._pins
        if addresses:
            # Port 0: that of the URL holds. Source: reqwest's ClientBuilder::resolve.
            builder = builder.resolve(host, addresses[number % len(addresses)], 0)
        if self._ca_pem is not None:
            builder = builder.add_root_certificate_pem(self._ca_pem)
        return builder.build()


def _translate(error: RequestError) -> NotSentError | LostError:
    """Tell from hyper's chain of causes whether the request can have left.

    hyper-util names the phase "client error (Connect)" while there is no connection yet. A stream
    refused (RFC 9113 section 8.7) or beyond a GOAWAY was not looked at; hyper sends such a request
    again itself, so it surfaces here only when that failed as well.
    """
    causes = [cause["message"] for cause in error.details.get("causes") or ()]
    text = ": ".join(causes[1:]) or error.message  # the first cause repeats the URL
    if "client error (Connect)" in causes:
        return NoConnectionError(text)
    if any("refused stream before processing" in cause for cause in causes):
        return NotSentError(text)
    return LostError(text, timeout=isinstance(error, RequestTimeoutError))
