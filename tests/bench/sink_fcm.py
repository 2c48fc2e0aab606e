"""FCM: our sends per second, beside a bare pyreqwest loop and firebase-admin, in one process each.

`python -m tests.bench.sink_fcm` prints one JSON object. The HTTP/2 server accepts everything at
once; firebase-admin speaks HTTP/1.1 only and gets a server of its own.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import firebase_admin  # type: ignore[import-untyped]  # it ships no types
import google.auth.credentials
import msgspec
import psutil
import uvloop
from firebase_admin import credentials, messaging
from pyreqwest.client import ClientBuilder

from sandbox.fcm import Account, live_token, make_service_account
from sandbox.fcm_answers import answer
from sandbox.fcm_oauth import TokenEndpoint
from sandbox.http_server import HttpServer, Request, Response
from schemas.outcomes import Status
from schemas.pipeline import Answer, Content, Delivery, Platform, Priority
from sinks.credentials import Credentials, FcmCredential
from sinks.fcm import FcmSink
from sinks.fcm_message import FcmMessages

ROOT = Path(__file__).parents[2]
PROJECT = "bench"
NAME = json.dumps({"name": f"projects/{PROJECT}/messages/0:1"})
IN_FLIGHT = 1000
DELIVERIES = 5000
SEND_EACH = 100
BOUNDARY = google.auth.credentials.CredentialsWithRegionalAccessBoundary


def run(seconds: float) -> dict[str, Any]:
    """Measure each client for so many seconds; rates are completed sends per second."""
    with (
        tempfile.TemporaryDirectory(prefix="clarion-bench-") as kept,
        _server("sandbox.fast_server", "--body", NAME) as fast,
        _server("tests.bench.sink_fcm", "http1-server", kept) as plain,
    ):
        account, _ = make_service_account(PROJECT, f"{plain}/token", Path(kept))
        deliveries = _deliveries()
        built_per_s = _build_rate(deliveries, min(seconds, 1.0))
        url = f"{fast}/v1/projects/{PROJECT}/messages:send"
        bare_per_s, bare_cpu_us = uvloop.run(_bare(url, seconds))
        (ours_per_s, cpu_us), failures = uvloop.run(_ours(fast, account, deliveries, seconds))
        rss_mb = psutil.Process().memory_info().rss / 2**20
        admin_per_s = _firebase_admin(plain, account, seconds)
    return {
        "sends_per_s": round(ours_per_s),
        "failures": failures,
        "bare_pyreqwest_per_s": round(bare_per_s),
        "share_of_bare": round(ours_per_s / bare_per_s, 2),
        "firebase_admin_send_each_per_s": round(admin_per_s),
        "times_firebase_admin": round(ours_per_s / admin_per_s, 1),
        "cpu_us_per_send": round(cpu_us),
        "bare_pyreqwest_cpu_us": round(bare_cpu_us),
        "bodies_built_per_s": round(built_per_s),
        "rss_mb": round(rss_mb),
    }


def _deliveries() -> list[Delivery]:
    """Make a campaign: one content, many tokens; each delivery decoded on its own as from Kafka."""
    content = Content("Spring sale", "Everything 20% off", "https://e.x/i.png", "https://e.x/s")
    packed = msgspec.msgpack.encode(content)
    encoded = [
        msgspec.msgpack.encode(
            Delivery(
                delivery_id=f"00000000-0000-5000-8000-{number:012}",
                message_id="m",
                tenant="acme",
                app="shop",
                user_id=f"u-{number}",
                device_id="d",
                platform=Platform.FCM,
                priority=Priority.LOW,
                category="offers",
                type="sale",
                token=live_token(number),
                content=packed,
                accepted_at_ms=0,
                created_at_ms=0,
                registered_at_ms=0,
                expires_at_ms=4_000_000_000_000,
            )
        )
        for number in range(DELIVERIES)
    ]
    return [msgspec.msgpack.decode(one, type=Delivery) for one in encoded]


def _build_rate(deliveries: list[Delivery], seconds: float) -> float:
    messages = FcmMessages()
    started = time.perf_counter()
    count = 0
    while time.perf_counter() - started < seconds:
        for one in deliveries:
            messages.build(one, now_ms=1)
        count += len(deliveries)
    return count / (time.perf_counter() - started)


async def _rate(send: Callable[[], Awaitable[object]], seconds: float) -> tuple[float, float]:
    """Keep IN_FLIGHT sends going; give how many ended per second, and the CPU µs of each."""
    await send()  # connects and mints
    done = 0
    started, cpu_before_s = time.perf_counter(), time.process_time()

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() - started < seconds:
            await send()
            done += 1

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    cpu_us = (time.process_time() - cpu_before_s) * 1e6
    return done / (time.perf_counter() - started), cpu_us / done


async def _bare(url: str, seconds: float) -> tuple[float, float]:
    body = FcmMessages().build(_deliveries()[0], now_ms=1)
    if isinstance(body, Answer):
        raise TypeError(body.provider_reason)
    headers = {"authorization": "Bearer x", "content-type": "application/json"}
    builder = ClientBuilder().http2_prior_knowledge().no_proxy().timeout(timedelta(seconds=10))
    async with builder.build() as client:

        async def send() -> None:
            request = client.post(url).headers(headers).body_bytes(body).build()
            response = await request.send()
            await response.bytes()

        return await _rate(send, seconds)


async def _ours(
    base_url: str, account: dict[str, Any], deliveries: list[Delivery], seconds: float
) -> tuple[tuple[float, float], int]:
    credential = FcmCredential(project_id=PROJECT, service_account=account)
    sink = FcmSink(
        credentials=Credentials({("acme", "shop"): credential}), now=time.time, base_url=base_url
    )
    await sink.open()
    endless = itertools.cycle(deliveries)
    failures = 0

    async def send() -> None:
        nonlocal failures
        result: Answer = await sink.send(next(endless))
        failures += result.status is not Status.SENT

    try:
        return await _rate(send, seconds), failures
    finally:
        await sink.close()


def _firebase_admin(base_url: str, account: dict[str, Any], seconds: float) -> float:
    """Rate of send_each, 100 messages a call, on the threads it makes for itself."""
    kept_url = messaging._MessagingService.FCM_URL
    kept_lookup = BOUNDARY._is_regional_access_boundary_lookup_required
    messaging._MessagingService.FCM_URL = f"{base_url}/v1/projects/{{0}}/messages:send"
    # google-auth would ask Google in the background where the account may be used from.
    BOUNDARY._is_regional_access_boundary_lookup_required = lambda _: False  # type: ignore[method-assign]  # as above
    app = firebase_admin.initialize_app(credentials.Certificate(account), name="bench")
    try:
        notification = messaging.Notification("Spring sale", "Everything 20% off")
        messages = [
            messaging.Message(fid=live_token(n), notification=notification)
            for n in range(SEND_EACH)
        ]
        messaging.send_each(messages, app=app)
        done = 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += messaging.send_each(messages, app=app).success_count
        return done / (time.perf_counter() - started)
    finally:
        firebase_admin.delete_app(app)
        messaging._MessagingService.FCM_URL = kept_url
        BOUNDARY._is_regional_access_boundary_lookup_required = kept_lookup  # type: ignore[method-assign]  # as above


@contextmanager
def _server(*module: str) -> Iterator[str]:
    """Run a server module that prints its port and ends when its stdin closes; give its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no stdout")
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(10)


async def _serve_http1(kept: Path) -> None:
    """Serve the token endpoint strictly and accept every message unread, until stdin closes."""
    account, public_key_pem = make_service_account(PROJECT, "", kept)
    oauth = TokenEndpoint([Account.of(account, public_key_pem)], now=time.time)
    accepted = answer(json.loads(NAME))

    def handle(request: Request) -> Response:
        return oauth.handle(request) if request.path == "/token" else accepted

    server = HttpServer(handle)
    print(await server.start(), flush=True)  # noqa: T201 - how the bench learns the port
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["http1-server"]:
        uvloop.run(_serve_http1(Path(sys.argv[2])))
    else:
        print(json.dumps(run(3.0), indent=2))  # noqa: T201 - the result
