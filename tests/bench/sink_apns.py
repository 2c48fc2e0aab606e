"""APNs: our sends per second, beside bare pyreqwest, aioapns and httpx on the same TLS server.

`python -m tests.bench.sink_apns` prints one JSON object. The server accepts everything at once and
runs in a process of its own; the clients take turns in this one.
"""

import asyncio
import itertools
import json
import logging
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import uvloop
from aioapns import APNs, NotificationRequest
from aioapns.common import NotificationResult
from aioapns.connection import APNsTLSClientProtocol
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyreqwest.client import ClientBuilder

from sandbox.tls import CERTIFICATE_FILE, KEY_FILE, make_tls
from schemas.outcomes import Status
from schemas.pipeline import Content, Delivery, Platform, Priority
from sinks.apns import ApnsSink
from sinks.apns_payload import Payload, build_payload, own_headers, shared_headers
from sinks.credentials import ApnsCredential, Credentials

ROOT = Path(__file__).parents[2]
TOPIC = "com.example.shop"
CONNECTIONS = 4
IN_FLIGHT = 1000
SLOW_IN_FLIGHT = 100  # httpx and aioapns do no better with more
DELIVERIES = 5000
ROUNDS = 4
SLOW_SHARE = 0.5

Send = Callable[[Delivery], Awaitable[bool]]


def run(seconds: float) -> dict[str, Any]:
    """Measure each client for about so many seconds; rates are accepted sends per second.

    Ours and the bare loop take turns, so that a busy machine wrongs both alike; the better round
    of each counts.
    """
    deliveries = _deliveries()
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as directory:
        _, ca_pem = make_tls(Path(directory))
        with _server(Path(directory)) as port:
            best: dict[str, tuple[float, float]] = {}
            least_cpu_us: dict[str, float] = {}
            for _ in range(ROUNDS):
                for name, measure in (("ours", _ours), ("bare", _bare)):
                    found = uvloop.run(measure(port, ca_pem, deliveries, seconds / ROUNDS))
                    best[name] = max(best.get(name, found), found)
                    least_cpu_us[name] = min(least_cpu_us.get(name, found[1]), found[1])
            rss_mb = psutil.Process().memory_info().rss / 2**20
            for name, measure in (("aioapns", _aioapns), ("httpx", _httpx)):
                best[name] = uvloop.run(measure(port, ca_pem, deliveries, seconds * SLOW_SHARE))
    return {
        "sends_per_s": round(best["ours"][0]),
        "bare_pyreqwest_per_s": round(best["bare"][0]),
        "share_of_bare": round(best["ours"][0] / best["bare"][0], 2),
        "share_of_bare_by_cpu": round(least_cpu_us["bare"] / least_cpu_us["ours"], 2),
        "aioapns_per_s": round(best["aioapns"][0]),
        "httpx_per_s": round(best["httpx"][0]),
        "cpu_us_per_send": {name: round(cpu_us) for name, (_, cpu_us) in best.items()},
        "rss_mb": round(rss_mb),
    }


def _deliveries() -> list[Delivery]:
    """Make a campaign: one content, many tokens; each delivery decoded on its own as from Kafka."""
    content = msgspec.msgpack.encode(
        Content("Spring sale", "Everything 20% off", url="https://e.x")
    )
    encoded = [
        msgspec.msgpack.encode(
            Delivery(
                delivery_id=f"00000000-0000-5000-8000-{number:012x}",
                message_id="m",
                tenant="acme",
                app="shop",
                user_id=f"u-{number}",
                device_id="d",
                platform=Platform.APNS,
                priority=Priority.LOW,
                category="offers",
                type="sale",
                token=f"{number:064x}",
                content=content,
                accepted_at_ms=0,
                created_at_ms=0,
                registered_at_ms=0,
                expires_at_ms=4_000_000_000_000,
            )
        )
        for number in range(DELIVERIES)
    ]
    return [msgspec.msgpack.decode(one, type=Delivery) for one in encoded]


async def _rate(
    send: Send, deliveries: list[Delivery], seconds: float, in_flight: int
) -> tuple[float, float]:
    """Keep so many sends going; give how many were accepted per second, and the CPU µs of each."""
    endless = itertools.cycle(deliveries)
    for _ in range(CONNECTIONS):  # connects and signs
        if not await send(next(endless)):
            raise RuntimeError("the server did not accept")
    accepted = 0
    started, cpu_before_s = time.perf_counter(), time.process_time()

    async def worker() -> None:
        nonlocal accepted
        while time.perf_counter() - started < seconds:
            done = await send(next(endless))
            accepted += done  # not in one line: the sum would be read before the wait

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    cpu_us = (time.process_time() - cpu_before_s) * 1e6
    return accepted / (time.perf_counter() - started), cpu_us / accepted


async def _ours(
    port: int, ca_pem: bytes, deliveries: list[Delivery], seconds: float
) -> tuple[float, float]:
    credential = ApnsCredential("TEAM", "KEY", _private_pem(), TOPIC)
    sink = ApnsSink(
        credentials=Credentials({("acme", "shop"): credential}),
        now=time.time,
        production_url=f"https://localhost:{port}",
        ca_pem=ca_pem,
        connections=CONNECTIONS,
    )
    await sink.open()

    async def send(delivery: Delivery) -> bool:
        return (await sink.send(delivery)).status is Status.SENT

    try:
        return await _rate(send, deliveries, seconds, IN_FLIGHT)
    finally:
        await sink.close()


def _prebuilt(delivery: Delivery) -> tuple[bytes, dict[str, str]]:
    """Give the body and headers that our sink sends, built outside the measured loop."""
    payload = build_payload(delivery.content)
    if not isinstance(payload, Payload):
        raise TypeError(payload.detail)
    shared = shared_headers(payload, topic=TOPIC, priority=delivery.priority)
    token = "bearer " + "x" * 190  # as long as a provider token
    return payload.body, {**shared, **own_headers(delivery), "authorization": token}


async def _bare(
    port: int, ca_pem: bytes, deliveries: list[Delivery], seconds: float
) -> tuple[float, float]:
    builders = [ClientBuilder().http2(enable=True) for _ in range(CONNECTIONS)]
    clients = [
        one.no_proxy().add_root_certificate_pem(ca_pem).timeout(timedelta(seconds=10)).build()
        for one in builders
    ]
    turns = itertools.cycle(clients)
    body, headers = _prebuilt(deliveries[0])
    url = f"https://localhost:{port}/3/device/"

    async def send(delivery: Delivery) -> bool:
        request = next(turns).post(url + delivery.token).headers(headers).body_bytes(body).build()
        return (await request.send()).status == 200

    try:
        return await _rate(send, deliveries, seconds, IN_FLIGHT)
    finally:
        for client in clients:
            await client.close()


async def _aioapns(
    port: int, ca_pem: bytes, deliveries: list[Delivery], seconds: float
) -> tuple[float, float]:
    logging.getLogger("aioapns").setLevel(logging.CRITICAL)
    context = ssl.create_default_context(cadata=ca_pem.decode())
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=_private_pem(),
        key_id="KEY",
        team_id="TEAM",
        topic=TOPIC,
        ssl_context=context,
        max_connections=CONNECTIONS,
    )

    class Local(APNsTLSClientProtocol):
        APNS_SERVER = "localhost"
        APNS_PORT = port

        def on_response_received(self, headers: Mapping[bytes, bytes]) -> None:
            """Settle the oldest request: the fast server echoes no apns-id and keeps the order."""
            notification_id = next(iter(self.requests))
            status = headers[b":status"].decode()
            result = NotificationResult(notification_id, status)
            self.requests.pop(notification_id).set_result(result)

    client.pool.protocol_class = Local
    message = json.loads(_prebuilt(deliveries[0])[0])

    async def send(delivery: Delivery) -> bool:
        request = NotificationRequest(device_token=delivery.token, message=message)
        return (await client.send_notification(request)).is_successful

    try:
        return await _rate(send, deliveries, seconds, SLOW_IN_FLIGHT)
    finally:
        client.pool.close()
        await asyncio.sleep(0.1)  # lets its transports close before the loop does


async def _httpx(
    port: int, ca_pem: bytes, deliveries: list[Delivery], seconds: float
) -> tuple[float, float]:
    context = ssl.create_default_context(cadata=ca_pem.decode())
    body, headers = _prebuilt(deliveries[0])
    url = f"https://localhost:{port}/3/device/"
    async with httpx.AsyncClient(http2=True, verify=context, trust_env=False) as client:

        async def send(delivery: Delivery) -> bool:
            answer = await client.post(url + delivery.token, headers=headers, content=body)
            return answer.status_code == 200

        return await _rate(send, deliveries, seconds, SLOW_IN_FLIGHT)


def _private_pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.decode()


@contextmanager
def _server(directory: Path) -> Iterator[int]:
    """Run the accept-all server with the directory's certificate; give its port."""
    files = ["--cert", str(directory / CERTIFICATE_FILE), "--key", str(directory / KEY_FILE)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.fast_server", *files],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no stdout")
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    print(json.dumps(run(4.0), indent=2))  # noqa: T201 - the result
