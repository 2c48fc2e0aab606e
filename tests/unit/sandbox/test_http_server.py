"""The simulators' HTTP server, asked by httpx and by raw sockets."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from sandbox.http_server import PREFACE, Action, HttpServer, Request, Response
from sandbox.tls import make_tls, read_ca, read_tls

Start = Callable[..., Awaitable[int]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start servers; stop them after the test."""
    servers: list[HttpServer] = []

    async def starter(handler: Callable[[Request], Response], **options: object) -> int:
        server = HttpServer(handler, **options)  # type: ignore[arg-type]  # the test's keywords
        servers.append(server)
        return await server.start()

    yield starter
    for server in servers:
        await server.stop()


def echo(request: Request) -> Response:
    """Answer with what came."""
    return Response(
        status=201,
        headers={"x-method": request.method, "x-path": request.path, "x-a": request.headers["a"]},
        body=request.http_version.encode() + b" " + request.body,
    )


async def test_http1_plain(start: Start) -> None:
    """A plain HTTP/1.1 client gets its answers over one kept connection."""
    connections = set()

    def handler(request: Request) -> Response:
        connections.add(request.connection)
        return echo(request)

    port = await start(handler)
    async with httpx.AsyncClient() as client:
        for n in range(3):
            url = f"http://127.0.0.1:{port}/x/{n}?q=1"
            answer = await client.put(url, headers={"A": "b"}, content=b"hi")
            assert answer.status_code == 201
            assert answer.headers["x-path"] == f"/x/{n}?q=1"
            assert answer.headers["x-method"] == "PUT"
            assert answer.content == b"1.1 hi"
    assert len(connections) == 1


async def test_http2_by_alpn(start: Start) -> None:
    """TLS offers h2 by ALPN, and the CA that make_tls() gives is enough to trust it."""
    tls, ca_pem = make_tls()
    port = await start(echo, tls=tls)
    context = ssl.create_default_context(cadata=ca_pem.decode())
    async with httpx.AsyncClient(http2=True, verify=context) as client:
        answers = await asyncio.gather(
            *(
                client.post(f"https://localhost:{port}/", headers={"a": "b"}, content=b"hi")
                for _ in range(20)
            ),
        )
    assert {(a.http_version, a.content) for a in answers} == {("HTTP/2", b"2 hi")}


async def test_http2_prior_knowledge_and_large_answer(start: Start) -> None:
    """The preface on a plain port means HTTP/2; a body larger than every window arrives whole."""
    body = bytes(range(256)) * 2000
    port = await start(lambda _: Response(body=body))
    async with httpx.AsyncClient(http2=True, http1=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/", content=b"x")
    assert answer.http_version == "HTTP/2"
    assert answer.content == body


async def test_large_request_body(start: Start) -> None:
    """A body up to the limit reaches the handler whole; one over it is answered with 413."""
    port = await start(lambda r: Response(body=str(len(r.body)).encode()), max_body_bytes=200_000)
    for http2 in (False, True):
        async with httpx.AsyncClient(http2=http2, http1=not http2) as client:
            fits = await client.post(f"http://127.0.0.1:{port}/", content=b"x" * 200_000)
            over = await client.post(f"http://127.0.0.1:{port}/", content=b"x" * 200_001)
        assert (fits.content, over.status_code) == (b"200000", 413)


async def test_repeated_headers_are_named(start: Start) -> None:
    """A repeated header is reported with its last value; split cookies are joined instead."""
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return Response()

    port = await start(handler)
    headers = [("a", "1"), ("a", "2"), ("cookie", "x=1"), ("cookie", "y=2"), ("b", "3")]
    for http2 in (False, True):
        async with httpx.AsyncClient(http2=http2, http1=not http2) as client:
            await client.get(f"http://127.0.0.1:{port}/", headers=headers)
    for request in seen:
        assert request.duplicates == {"a"}
        assert request.headers["a"] == "2"
        assert request.headers["cookie"] == "x=1; y=2"


async def test_connection_state_is_kept(start: Start) -> None:
    """The handler's memory lasts as long as its connection."""

    def handler(request: Request) -> Response:
        count = int(str(request.connection.state.get("n", 0))) + 1
        request.connection.state["n"] = count
        return Response(body=str(count).encode())

    port = await start(handler)
    bodies = []
    for _ in range(2):
        async with httpx.AsyncClient(http2=True, http1=False) as client:
            bodies += [(await client.get(f"http://127.0.0.1:{port}/")).content for _ in range(2)]
    assert bodies == [b"1", b"2", b"1", b"2"]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("action", [Action.RESET, Action.CLOSE])
async def test_reset_and_close(start: Start, action: Action, *, http2: bool) -> None:
    """RESET and CLOSE end a request without an answer."""
    port = await start(lambda _: Response(action=action))
    async with httpx.AsyncClient(http2=http2, http1=not http2) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("http2", [False, True])
async def test_hang_ends_at_the_idle_limit(start: Start, *, http2: bool) -> None:
    """A hung request gets nothing until its connection has been silent for the idle limit."""
    port = await start(lambda _: Response(action=Action.HANG), idle_limit_s=0.05)
    async with httpx.AsyncClient(http2=http2, http1=not http2, timeout=5) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get(f"http://127.0.0.1:{port}/")
    assert not isinstance(caught.value, httpx.TimeoutException)


@pytest.mark.parametrize("http2", [False, True])
async def test_delayed_answer(start: Start, *, http2: bool) -> None:
    """A delayed answer arrives, and others overtake it on HTTP/2."""
    order: list[str] = []
    port = await start(lambda r: Response(delay_s=0.03 if r.path == "/slow" else 0))
    async with httpx.AsyncClient(http2=http2, http1=not http2) as client:

        async def get(path: str) -> None:
            assert (await client.get(f"http://127.0.0.1:{port}{path}")).status_code == 200
            order.append(path)

        await get("/first")
        await asyncio.gather(get("/slow"), get("/fast"))
    assert order == ["/first", "/fast", "/slow"]


async def test_goaway_answers_first_and_drains(start: Start) -> None:
    """GOAWAY comes after the answer, with its debug data, and the connection ends when drained."""
    debug = b'{"reason":"Shutdown"}'
    port = await start(lambda _: Response(action=Action.GOAWAY, goaway_debug=debug, body=b"ok"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
    client.send_headers(1, fields, end_stream=True)
    writer.write(client.data_to_send())
    events = client.receive_data(await asyncio.wait_for(reader.read(), 5))
    writer.close()
    kinds = [type(event) for event in events]
    ended = kinds.index(h2.events.ConnectionTerminated)
    assert kinds.index(h2.events.StreamEnded) < ended
    goaway = events[ended]
    assert isinstance(goaway, h2.events.ConnectionTerminated)
    assert (goaway.additional_data, goaway.last_stream_id, goaway.error_code) == (debug, 1, 0)


async def test_broken_input_ends_the_connection(start: Start) -> None:
    """Bytes that are no HTTP get 400 or GOAWAY and a closed connection, never a hang."""
    port = await start(echo)
    for first, expected in [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400"),
        (PREFACE + bytes(9), b"\x07"),  # DATA on stream 0; 7: GOAWAY
    ]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        assert expected in await asyncio.wait_for(reader.read(), 5)
        writer.close()


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "GET"), (":path", "/")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("A", "b")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("a", "b\r\nc: d")],
        [(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("connection", "close")],
    ],
)
async def test_malformed_http2_request(start: Start, fields: list[tuple[str, str]]) -> None:
    """A malformed request resets its stream only; the handler never sees it."""
    port = await start(lambda _: Response(status=500))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    config = h2.config.H2Configuration(
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    client.send_headers(1, fields, end_stream=True)
    writer.write(client.data_to_send())
    events: list[h2.events.Event] = []
    while not any(isinstance(event, h2.events.StreamReset) for event in events):
        data = await asyncio.wait_for(reader.read(65_536), 5)
        assert data
        events += client.receive_data(data)
    assert not any(isinstance(event, h2.events.ResponseReceived) for event in events)
    writer.close()


async def test_failing_handler_answers_500(start: Start) -> None:
    """A handler that raises costs its own request only."""

    def handler(request: Request) -> Response:
        raise KeyError(request.path)

    port = await start(handler)
    for http2 in (False, True):
        async with httpx.AsyncClient(http2=http2, http1=not http2) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 500


async def test_taken_port(start: Start) -> None:
    """A taken port raises OSError; the running server goes on."""
    port = await start(echo)
    with pytest.raises(OSError, match="address already in use"):
        await HttpServer(echo).start(port=port)


async def test_stop_cuts_connections() -> None:
    """stop() ends open connections and frees the port."""
    server = HttpServer(echo)
    port = await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE[:5])
    await server.stop()
    with contextlib.suppress(ConnectionResetError):  # a reset is a cut as well
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    again = HttpServer(echo)
    assert await again.start(port=port) == port
    await again.stop()


async def test_too_many_connections(start: Start) -> None:
    """A connection over the limit is cut at once."""
    port = await start(echo, max_connections=1)
    _, first = await asyncio.open_connection("127.0.0.1", port)
    first.write(b"GET / HTTP/1.1\r\n")
    await first.drain()
    reader, second = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionResetError):  # a reset is a cut as well
        assert await asyncio.wait_for(reader.read(), 5) == b""
    first.close()
    second.close()


def test_tls_files_are_read_back(tmp_path: Path) -> None:
    """What make_tls() leaves in a directory serves another process; the key is private."""
    _, ca_pem = make_tls(tmp_path / "tls")
    context, again = read_tls(tmp_path / "tls")
    assert again == ca_pem == read_ca(tmp_path / "tls")
    assert context.verify_mode is ssl.CERT_NONE
    assert (tmp_path / "tls" / "server.key").stat().st_mode & 0o077 == 0
    with pytest.raises(FileNotFoundError):
        read_ca(tmp_path)
