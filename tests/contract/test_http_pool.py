"""The provider HTTP transport against a misbehaving server."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sandbox.http_server import Action, HttpServer, Request, Response
from sandbox.tls import make_tls
from sinks.http import MAX_BODY_BYTES, HttpPool, LostError, NotSentError

Start = Callable[..., Awaitable[str]]
Open = Callable[..., Awaitable[HttpPool]]

ANSWERS = {
    "/ok": Response(headers={"X-Id": "7"}, body=b"hi"),
    "/empty": Response(status=201),
    "/refused": Response(status=410, body=b'{"reason":"Unregistered"}'),
    "/moved": Response(status=307, headers={"location": "/ok"}),
    "/cookie": Response(headers={"set-cookie": "a=b"}),
    "/long": Response(status=400, body=b"x" * (MAX_BODY_BYTES + 1)),
    "/reset": Response(action=Action.RESET),
    "/close": Response(action=Action.CLOSE),
    "/hang": Response(action=Action.HANG),
    "/goaway": Response(action=Action.GOAWAY),
    "/soon": Response(delay_s=0.02),
}


def by_path(request: Request) -> Response:
    """Answer from the table above."""
    return ANSWERS[request.path]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a server for a handler; give its plain HTTP/2 base URL."""
    servers: list[HttpServer] = []

    async def starter(handler: Callable[[Request], Response] = by_path) -> str:
        server = HttpServer(handler)
        servers.append(server)
        return f"http://127.0.0.1:{await server.start()}"

    yield starter
    for server in servers:
        await server.stop()


@pytest.fixture
async def open_pool() -> AsyncIterator[Open]:
    """Open pools; close them after the test."""
    pools: list[HttpPool] = []

    async def opener(**options: object) -> HttpPool:
        options.setdefault("prior_knowledge", True)
        pool = HttpPool(**options)  # type: ignore[arg-type]  # the test's keywords
        await pool.open()
        pools.append(pool)
        return pool

    yield opener
    for pool in pools:
        await pool.close()


async def test_answers_are_values(start: Start, open_pool: Open) -> None:
    """Every status comes back as it is: body, headers in any case, no redirect followed."""
    base, pool = await start(), await open_pool()
    ok = await pool.post(f"{base}/ok", headers={"a": "b"}, body=b"{}")
    assert (ok.status, ok.headers.get("x-id"), ok.headers.get("X-ID"), ok.body) == (
        200,
        "7",
        "7",
        b"hi",
    )
    empty = await pool.post(f"{base}/empty", headers=[("a", "b")], body=b"")
    assert (empty.status, empty.body, empty.headers.get("nothing")) == (201, b"", None)
    refused = await pool.post(f"{base}/refused", headers={}, body=b"{}")
    assert (refused.status, refused.body) == (410, b'{"reason":"Unregistered"}')
    assert (await pool.post(f"{base}/moved", headers={}, body=b"{}")).status == 307


async def test_what_is_sent(start: Start, open_pool: Open) -> None:
    """Headers and body arrive as given; nothing is asked for that nobody wants."""
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return Response(headers={"set-cookie": "a=b"})

    base, pool = await start(handler), await open_pool(connections=1)
    for _ in range(2):
        await pool.post(f"{base}/p?q", headers={"apns-id": "1"}, body=b"\x00\xff")
    for request in seen:
        assert (request.method, request.path, request.body) == ("POST", "/p?q", b"\x00\xff")
        assert request.headers["apns-id"] == "1"
        assert {"cookie", "accept-encoding"}.isdisjoint(request.headers)


async def test_long_bodies_are_cut(start: Start, open_pool: Open) -> None:
    """No more than 64 KiB of a body are kept, and the connection goes on."""
    base, pool = await start(), await open_pool(connections=1)
    answer = await pool.post(f"{base}/long", headers={}, body=b"")
    assert len(answer.body) == MAX_BODY_BYTES
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).body == b"hi"


async def test_unwanted_success_bodies_stay_unread(start: Start, open_pool: Open) -> None:
    """success_body=False drops the body of a 2xx and still reads the others."""
    base, pool = await start(), await open_pool(success_body=False)
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).body == b""
    refused = await pool.post(f"{base}/refused", headers={}, body=b"")
    assert refused.body == b'{"reason":"Unregistered"}'


@pytest.mark.parametrize("path", ["/reset", "/close"])
async def test_lost_after_sending(start: Start, open_pool: Open, path: str) -> None:
    """A reset or cut connection leaves the request's fate unknown; the next one works."""
    base, pool = await start(), await open_pool(connections=1)
    with pytest.raises(LostError) as caught:
        await pool.post(base + path, headers={}, body=b"")
    assert not caught.value.timeout
    assert base not in str(caught.value)
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).status == 200


async def test_timeout_is_lost(start: Start, open_pool: Open) -> None:
    """A request without an answer is lost by timeout and does not block its connection."""
    base, pool = await start(), await open_pool(connections=1, request_timeout_s=0.1)
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).status == 200
    with pytest.raises(LostError) as caught:
        await pool.post(f"{base}/hang", headers={}, body=b"")
    assert caught.value.timeout
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).status == 200


async def test_graceful_goaway_loses_nothing(start: Start, open_pool: Open) -> None:
    """Requests around a graceful GOAWAY are all answered, on a new connection where needed."""
    base, pool = await start(), await open_pool(connections=1)
    await pool.post(f"{base}/ok", headers={}, body=b"")
    paths = ["/goaway" if n == 20 else "/ok" for n in range(60)]
    answers = await asyncio.gather(*(pool.post(base + p, headers={}, body=b"") for p in paths))
    assert Counter(answer.status for answer in answers) == {200: 60}


async def test_refused_connection_is_not_sent(open_pool: Open) -> None:
    """Nobody listens: the request has certainly not left."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(NotSentError, match="refused"):
            await (await open_pool()).post(url, headers={}, body=b"")


async def test_silent_handshake_is_not_sent(open_pool: Open) -> None:
    """A server that accepts and never speaks TLS costs the connect timeout, and nothing left."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pool = await open_pool(prior_knowledge=False, connect_timeout_s=0.05)
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(NotSentError):
            await pool.post(url, headers={}, body=b"")


async def test_tls_is_verified(open_pool: Open) -> None:
    """An unknown authority is refused before anything is sent; the given one is trusted."""
    tls, ca_pem = make_tls()
    server = HttpServer(by_path, tls=tls)
    url = f"https://localhost:{await server.start()}/ok"
    with pytest.raises(NotSentError, match="UnknownIssuer"):
        await (await open_pool(prior_knowledge=False)).post(url, headers={}, body=b"")
    pool = await open_pool(prior_knowledge=False, ca_pem=ca_pem)
    assert (await pool.post(url, headers={}, body=b"")).status == 200
    await server.stop()


async def test_bad_requests_raise_value_error(start: Start, open_pool: Open) -> None:
    """A URL or header that cannot be sent is the caller's defect, whichever it is."""
    base, pool = await start(), await open_pool(connections=1)
    for url, headers in [
        ("ftp://127.0.0.1/", {}),
        ("nonsense", {}),
        (f"{base}/ok", {"a": "b\r\nc: d"}),
        (f"{base}/ok", {"a b": "c"}),
    ]:
        with pytest.raises(ValueError, match=r"."):
            await pool.post(url, headers=headers, body=b"")
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).status == 200


async def test_first_request_of_a_connection_goes_alone(start: Start, open_pool: Open) -> None:
    """Until a connection has answered once, nothing else is sent on it; then the burst is."""
    too_early = 0
    connections: Counter[object] = Counter()

    def handler(request: Request) -> Response:
        nonlocal too_early
        state = request.connection.state
        connections[request.connection] += 1
        if not state:
            state["answered"] = False
            # Planned before the server plans its answer, so it comes just before that.
            asyncio.get_running_loop().call_later(0.02, state.update, {"answered": True})
            return Response(delay_s=0.02)
        too_early += not state["answered"]
        return Response()

    base, pool = await start(handler), await open_pool(connections=3)
    answers = await asyncio.gather(
        *(pool.post(f"{base}/ok", headers={}, body=b"") for _ in range(90)),
    )
    assert {answer.status for answer in answers} == {200}
    assert (len(connections), too_early) == (3, 0)


async def test_in_flight_is_bounded(start: Start, open_pool: Open) -> None:
    """No connection carries more than its share; the rest wait their turn and all get through."""
    most = 0

    def handler(_: Request) -> Response:
        nonlocal most
        most = max(most, *(lane.in_flight for lane in host._lanes))
        return Response(delay_s=0.001)

    base = await start(handler)
    pool = await open_pool(connections=2, max_in_flight_per_connection=4)
    host = pool._host(f"{base}/ok")
    answers = await asyncio.gather(
        *(pool.post(f"{base}/ok", headers={}, body=b"") for _ in range(100)),
    )
    assert len(answers) == 100
    assert most == 4
    assert host.idle


async def test_waiting_for_a_place_ends(start: Start, open_pool: Open) -> None:
    """A request that finds no place in time has not been sent."""
    base = await start()
    pool = await open_pool(
        connections=1,
        max_in_flight_per_connection=1,
        request_timeout_s=0.1,
    )
    outcomes = await asyncio.gather(
        *(pool.post(f"{base}/hang", headers={}, body=b"") for _ in range(3)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], LostError)
    assert any(isinstance(outcome, NotSentError) for outcome in outcomes)


async def test_cancelled_requests_give_their_place_back(start: Start, open_pool: Open) -> None:
    """Cancelling requests, waiting or under way, leaves the pool usable."""
    base = await start()
    pool = await open_pool(connections=1, max_in_flight_per_connection=2)
    await pool.post(f"{base}/ok", headers={}, body=b"")
    tasks = [asyncio.create_task(pool.post(f"{base}/hang", headers={}, body=b"")) for _ in range(5)]
    waiting = asyncio.create_task(pool.post(f"{base}/ok", headers={}, body=b""))
    for _ in range(10):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    assert (await waiting).status == 200
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert pool._host(base + "/").idle


async def test_close_ends_what_is_under_way(start: Start, open_pool: Open) -> None:
    """close() ends requests under way as lost and waiting ones as not sent; both at once."""
    base = await start()
    pool = await open_pool(connections=1, max_in_flight_per_connection=1)
    await pool.post(f"{base}/ok", headers={}, body=b"")
    tasks = [asyncio.create_task(pool.post(f"{base}/hang", headers={}, body=b"")) for _ in range(2)]
    for _ in range(10):
        await asyncio.sleep(0)
    await pool.close()
    under_way, waiting = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(under_way, LostError)
    assert isinstance(waiting, NotSentError)
    with pytest.raises(NotSentError):
        await pool.post(f"{base}/ok", headers={}, body=b"")


async def test_pool_survives_a_server_restart(open_pool: Open) -> None:
    """After the server is gone and back, the pool connects again."""
    server = HttpServer(by_path)
    port = await server.start()
    base, pool = f"http://127.0.0.1:{port}", await open_pool(connections=2)
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).status == 200
    await server.stop()
    with pytest.raises((NotSentError, LostError)):
        await pool.post(f"{base}/ok", headers={}, body=b"")
    again = HttpServer(by_path)
    await again.start(port=port)
    assert (await pool.post(f"{base}/ok", headers={}, body=b"")).status == 200
    await again.stop()
