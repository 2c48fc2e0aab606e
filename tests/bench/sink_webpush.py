"""How fast the Web Push sink sends, encryption included, beside what it is built from.

All senders keep IN_FLIGHT messages under way from one process; the servers are other processes.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import aiohttp
import msgspec
import psutil
import pywebpush
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from py_vapid import Vapid
from pyreqwest.client import ClientBuilder

from sandbox.webpush_subscriptions import make_subscription
from schemas.outcomes import Status
from schemas.pipeline import Content, Delivery, Platform, Priority
from sinks.credentials import Credentials, WebPushCredential
from sinks.webpush import CONNECTIONS, WebPushSink
from sinks.webpush_crypto import FastPusher

IN_FLIGHT = 128
DEVICES = 2_000
BODY = "Your parcel is on its way and should arrive tomorrow between nine and eleven. " * 4
SUBJECT = "mailto:bench@example.com"

HTTP1 = "serve-http1"

Send = Callable[[int], Awaitable[None]]


def run(seconds: float) -> dict[str, float]:
    """Measure each sender for a quarter of the time. Returns rates per second, CPU and memory."""
    with (
        serving("-m", "sandbox.fast_server", "--status", "201") as url,
        serving(__file__, HTTP1) as http1_url,
    ):
        return uvloop.run(_run(seconds / 4, url, http1_url))


async def _run(seconds: float, url: str, http1_url: str) -> dict[str, float]:
    bare = await bare_rate(seconds, url)
    ours, cpu_us, loop_cpu_us = await sink_rate(seconds, url, FastPusher)
    rss_mb = psutil.Process().memory_info().rss / 1e6
    plain, *_ = await sink_rate(seconds, url, pywebpush.WebPusher)
    return {
        "sink_per_s": ours,
        "sink_cpu_us": cpu_us,
        "sink_loop_cpu_us": loop_cpu_us,
        "sink_with_pywebpush_encode_per_s": plain,
        "bare_pyreqwest_per_s": bare,
        "pywebpush_sender_per_s": await pywebpush_rate(seconds, http1_url),
        "rss_mb": round(rss_mb, 1),
    }


async def sink_rate(seconds: float, url: str, pusher_class: Any) -> tuple[float, float, float]:
    """Our sink: sends per second, and CPU µs a send: of all threads, and of the event loop's.

    The latter bounds the rate of one process on a core that nobody else uses.
    """
    credential = WebPushCredential(_pem(), SUBJECT, ("127.0.0.1",))
    sink = WebPushSink(
        credentials=Credentials({("acme", "web"): credential}),
        now=time.time,
        prior_knowledge=True,
        pusher_class=pusher_class,
    )
    deliveries = [_delivery(url, n) for n in range(DEVICES)]

    async def send(number: int) -> None:
        answer = await sink.send(deliveries[number % DEVICES])
        if answer.status is not Status.SENT:
            raise RuntimeError(f"not sent: {answer}")

    await sink.open()
    before = time.process_time(), time.thread_time()
    rate, sent = await measure(send, seconds)
    used = time.process_time() - before[0], time.thread_time() - before[1]
    await sink.close()
    return rate, round(used[0] / sent * 1e6, 1), round(used[1] / sent * 1e6, 1)


async def bare_rate(seconds: float, url: str) -> float:
    """Pyreqwest alone: the same headers and body size, nothing encrypted, nothing read."""
    clients = [ClientBuilder().http2_prior_knowledge().build() for _ in range(CONNECTIONS)]
    headers = {
        "ttl": "2419200",
        "urgency": "normal",
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
        "authorization": "vapid t=" + "x" * 250 + ", k=" + "x" * 87,
    }
    body = b"x" * (len(BODY) + 140)
    urls = [url + make_subscription(f"device-{n}").path for n in range(DEVICES)]

    async def send(number: int) -> None:
        client = clients[number % CONNECTIONS]
        request = client.post(urls[number % DEVICES]).headers(headers).body_bytes(body)
        if (await request.build().send()).status != 201:
            raise RuntimeError("not accepted")

    rate, _ = await measure(send, seconds)
    for client in clients:
        await client.close()
    return rate


async def pywebpush_rate(seconds: float, url: str) -> float:
    """Let pywebpush send by itself: its asynchronous sender, one aiohttp session, HTTP/1.1."""
    vapid = Vapid.from_pem(_pem().encode())
    made = [make_subscription(f"device-{n}") for n in range(DEVICES)]
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(number: int) -> None:
            subscription = made[number % DEVICES]
            keys: dict[str, str | bytes] = {
                "p256dh": subscription.p256dh,
                "auth": subscription.auth,
            }
            await pywebpush.webpush_async(
                {"endpoint": url + subscription.path, "keys": keys},
                json.dumps({"title": "Parcel", "body": BODY}),
                vapid_private_key=vapid,
                vapid_claims={"sub": SUBJECT},
                ttl=60,
                aiohttp_session=session,
                timeout=cast("float", aiohttp.ClientTimeout(total=10)),
            )

        rate, _ = await measure(send, seconds)
        return rate


async def measure(send: Send, seconds: float) -> tuple[float, int]:
    """Send with IN_FLIGHT under way for this long: sends per second and how many they were."""
    sent = 0
    await send(0)  # connects
    start = time.perf_counter()

    async def work(number: int) -> None:
        nonlocal sent
        while time.perf_counter() - start < seconds:
            await send(number)
            number += IN_FLIGHT
            sent += 1

    await asyncio.gather(*(work(n) for n in range(IN_FLIGHT)))
    return round(sent / (time.perf_counter() - start), 1), sent


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Run a server that prints its port and ends with its stdin; give its URL."""
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(program.stdout.readline())}"
        finally:
            program.stdin.close()


class _Http1(asyncio.Protocol):
    """Answers 201 for each request with a Content-Length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._data) < end + 4 + length:
                return
            self._data = self._data[end + 4 + length :]
            self._transport.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


async def _serve_http1() -> None:
    """Accept everything by HTTP/1.1, for clients without HTTP/2, until stdin closes."""
    server = await asyncio.get_running_loop().create_server(_Http1, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - read by serving()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def _delivery(url: str, number: int) -> Delivery:
    made = make_subscription(f"device-{number}")
    return Delivery(
        delivery_id=f"delivery-{number}",
        message_id="m1",
        tenant="acme",
        app="web",
        user_id=f"user-{number}",
        device_id=f"device-{number}",
        platform=Platform.WEBPUSH,
        priority=Priority.NORMAL,
        category="parcels",
        type="parcel_shipped",
        token=url + made.path,
        content=msgspec.msgpack.encode(Content(title="Parcel", body=BODY)),
        accepted_at_ms=0,
        created_at_ms=0,
        registered_at_ms=0,
        p256dh=made.p256dh,
        auth=made.auth,
    )


def _pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


if __name__ == "__main__":
    if sys.argv[1:] == [HTTP1]:
        uvloop.run(_serve_http1())
    else:
        print(json.dumps(run(float(sys.argv[1])), indent=2))  # noqa: T201 - a program's output
