import asyncio
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pyreqwest.client import ClientBuilder

from sandbox.fast_server import PREFACE, FastServer
from sandbox.tls import make_tls

SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[FastServer, str]]:
    server = FastServer(**options)
    port = await server.start()
    yield server, f"http://127.0.0.1:{port}"
    await server.stop()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head, flags, stream = struct.unpack(">IBI", await reader.readexactly(9))
    return head & 0xFF, flags, stream, await reader.readexactly(head >> 8)


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    async with asyncio.timeout(5):
        yield reader, writer
    writer.close()


async def test_httpx_gets_status_headers_and_body() -> None:
    """The HTTP/2 client of httpx reads the prebuilt answer whole."""
    body = b'{"name":"projects/p/messages/1"}'
    async with running(body=body, headers={"Location": "/m/1"}) as (server, url):
        async with httpx.AsyncClient(http1=False, http2=True) as client:
            answers = [await client.post(f"{url}/x", content=b"y" * 500) for _ in range(3)]
        assert [(a.status_code, a.content, a.headers["location"]) for a in answers] == [
            (200, body, "/m/1")
        ] * 3
        assert server.requests == 3


async def test_pyreqwest_gets_many_answers_at_once() -> None:
    """2,000 concurrent requests on one connection all get their 201."""
    async with running(status=201) as (server, url):
        client = ClientBuilder().http2_prior_knowledge().build()
        async with client:

            async def one() -> int:
                return (await client.post(f"{url}/x").body_bytes(b"p" * 400).build().send()).status

            assert set(await asyncio.gather(*(one() for _ in range(2000)))) == {201}
        assert server.requests == 2000


async def test_tls_with_alpn() -> None:
    """Over TLS the client finds HTTP/2 by ALPN."""
    context, ca_pem = make_tls()
    server = FastServer(status=201)
    port = await server.start(tls=context)
    client = ClientBuilder().http2(enable=True).add_root_certificate_pem(ca_pem).build()
    async with client:
        answer = await client.post(f"https://127.0.0.1:{port}/x").body_bytes(b"p").build().send()
    await server.stop()
    assert (answer.status, answer.version) == (201, "HTTP/2.0")


async def test_latency_delays_but_answers() -> None:
    """A fixed latency holds the answers of one read together and loses none."""
    async with running(latency_s=0.01, body=b"ok") as (server, url):
        async with httpx.AsyncClient(http1=False, http2=True) as client:
            answers = await asyncio.gather(*(client.get(url) for _ in range(5)))
        assert [a.content for a in answers] == [b"ok"] * 5
        assert server.requests == 5


async def test_frames_split_over_reads() -> None:
    """A request that arrives byte by byte is answered once."""
    async with running() as (_, url), raw(url) as (reader, writer):
        request = PREFACE + SETTINGS + frame(1, 4, 1, b"\x82" * 5) + frame(0, 1, 1, b"body")
        for at in range(len(request)):
            writer.write(request[at : at + 1])
            await writer.drain()
        writer.write(frame(6, 0, 0, b"8 bytes!"))
        frames = [await read_frame(reader) for _ in range(5)]
        assert min(frames) == (1, 5, 1, b"\x88")
        assert sorted(frames)[3] == (6, 1, 0, b"8 bytes!")


async def test_the_clients_connection_window_is_kept() -> None:
    """Bodies beyond the client's window wait for its WINDOW_UPDATE."""
    async with running(body=b"z" * 16_000) as (_, url), raw(url) as (reader, writer):
        requests = b"".join(frame(1, 5, 2 * n + 1, b"\x82") for n in range(5))
        writer.write(PREFACE + SETTINGS + requests + frame(6, 0, 0, b"8 bytes!"))
        kinds = [(await read_frame(reader))[0] for _ in range(3 + 4 * 2 + 1)]
        assert kinds.count(0) == 4
        writer.write(frame(8, 0, 0, (16_000).to_bytes(4)))
        assert (await read_frame(reader))[2] == 9
        assert (await read_frame(reader))[:3] == (0, 1, 9)


async def test_a_reset_stream_gets_no_answer() -> None:
    """A stream that the client gave up before its answer was due is skipped."""
    async with running(latency_s=0.05) as (_, url), raw(url) as (reader, writer):
        requests = frame(1, 5, 1, b"\x82") + frame(1, 5, 3, b"\x82")
        writer.write(PREFACE + SETTINGS + requests + frame(3, 0, 1, b"\0\0\0\x08"))
        frames = [await read_frame(reader) for _ in range(4)]
        assert frames[3][:3] == (1, 5, 3)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 1),
        (PREFACE + frame(4, 0, 0, b"\0\x04\0\0\0\x01"), 3),
        (PREFACE + struct.pack(">IBI", 20_000 << 8, 0, 1), 6),
        (PREFACE + SETTINGS + b"".join(frame(1, 5, n, b"\x82") for n in (1, 3, 5)), 11),
    ],
)
async def test_refusals_say_goaway(sent: bytes, error: int) -> None:
    """HTTP/1, tiny stream windows, oversized frames and floods end with the fitting error."""
    async with (
        running(body=b"two", max_streams=2, latency_s=5.0) as (_, url),
        raw(url) as (reader, writer),
    ):
        writer.write(sent)
        kind, payload = -1, b""
        while kind != 7:
            kind, _, _, payload = await read_frame(reader)
        assert int.from_bytes(payload[4:8]) == error


async def test_a_body_over_one_frame_is_refused() -> None:
    """The answer's body must fit one DATA frame."""
    with pytest.raises(ValueError, match="16385"):
        FastServer(body=b"x" * 16_385)


def test_the_program_prints_its_port_and_ends_with_its_stdin() -> None:
    """`python -m sandbox.fast_server` serves until the pipe that is its stdin closes."""
    command = [sys.executable, "-m", "sandbox.fast_server", "--status", "201"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        url = f"http://127.0.0.1:{int(program.stdout.readline())}"
        with httpx.Client(http1=False, http2=True) as client:
            assert client.get(url).status_code == 201
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(timeout=10) == 0
