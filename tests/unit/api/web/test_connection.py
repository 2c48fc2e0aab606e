"""Connections that would wait for ever, against a real server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from api.web.connection import MAX_HEAD_BYTES, BoundedHttp
from api.web.serve import SERVER

READ_TIMEOUT_S = 20.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Hasty(BoundedHttp):
    head_timeout_s = 0.2


async def _app(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _serve(protocol: type[BoundedHttp]) -> AsyncIterator[int]:
    # uvloop is for processes of their own: this loop is pytest's.
    options = {**SERVER, "http": protocol, "loop": "none", "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(_app, host="127.0.0.1", port=0, **options))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells no other way
        await asyncio.sleep(0)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


@pytest.fixture
async def hasty() -> AsyncIterator[int]:
    async for port in _serve(_Hasty):
        yield port


@pytest.fixture
async def patient() -> AsyncIterator[int]:
    async for port in _serve(BoundedHttp):
        yield port


async def _answer(streams: Streams) -> bytes:
    """Read until the server closes."""
    reader, writer = streams
    async with asyncio.timeout(READ_TIMEOUT_S):
        found = await reader.read()
    writer.close()
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET /" + b"a" * 99])
async def test_a_head_that_does_not_end_is_408(hasty: int, sent: bytes) -> None:
    """Whether nothing, half a line or half the fields came."""
    streams = await asyncio.open_connection("127.0.0.1", hasty)
    streams[1].write(sent)
    assert (await _answer(streams)).startswith(b"HTTP/1.1 408 ")


async def test_the_head_of_a_later_request_is_bounded_too(hasty: int) -> None:
    """After an answer the time begins anew with the next first byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(READ_TIMEOUT_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
    writer.write(b"G")
    assert (await _answer((reader, writer))).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * MAX_HEAD_BYTES,
        b"GET /" + b"a" * (MAX_HEAD_BYTES + 1),
    ],
)
async def test_a_head_that_is_too_long_is_431(patient: int, sent: bytes) -> None:
    """It is not kept in memory until it ends."""
    streams = await asyncio.open_connection("127.0.0.1", patient)
    streams[1].write(sent)
    assert (await _answer(streams)).startswith(b"HTTP/1.1 431 ")


async def test_a_long_body_is_none_of_its_business(patient: int) -> None:
    """Only the head counts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", patient)
    body = b"x" * (2 * MAX_HEAD_BYTES)
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(READ_TIMEOUT_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
    writer.close()
