"""Resident memory of a flow that faces a million waiting records."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from uuid import UUID

import msgspec

from sandbox.stack import FlowSpec, Stack
from sandbox.tls import CERTIFICATE_FILE, KEY_FILE
from schemas.pipeline import Content, Delivery, Platform, Priority
from schemas.stream import Record
from schemas.topics import DELIVERIES, EVENTS, OUTCOMES
from state.redis_client import RedisClient
from tests.bench import people
from tests.bench.arrivals import Ends
from tests.bench.machine import peak_rss_mb
from tests.bench.result import BenchError, Plan, Result, middle
from tests.bench.stand import ROUTE_BULK, load, running, settings_of, stand

USERS = 20_000
RECORD_BYTES = 500
LOW = Priority.LOW
DELIVER_BULK = FlowSpec("deliver", Platform.APNS, (Priority.NORMAL, LOW))


def measure(plan: Plan) -> list[Result]:
    """Load the backlog; let the flow work on it for some seconds; read its peak."""
    records = plan.pick(1_000_000, 100_000)
    seconds = plan.pick(8, 4)
    with stand() as stack:
        redis = RedisClient(settings_of(stack).redis.url)
        people.register(redis, users=USERS, shards=16)
        redis.close()
        load(settings_of(stack), islice(_events(), records))
        routed = [DELIVERIES[platform, LOW] for platform in Platform]
        route = _peaks(stack, ROUTE_BULK, routed, plan.repeats, seconds)
    with stand() as stack, _accepting(stack):
        load(settings_of(stack), islice(_deliveries(), records))
        deliver = _peaks(stack, DELIVER_BULK, [OUTCOMES], plan.repeats, seconds)
    return [
        Result(
            f"backlog_rss_{name}",
            middle(peaks, 1),
            "MB",
            target=400,
            at_most=True,
            rss_mb=max(peaks),
            runs=peaks,
            detail={"records_waiting": records, "record_bytes": RECORD_BYTES, "seconds": seconds},
        )
        for name, peaks in (("route", route), ("deliver", deliver))
    ]


def _peaks(
    stack: Stack, spec: FlowSpec, topics: list[str], repeats: int, seconds: int
) -> list[float]:
    """Run the flow from the start of the backlog, each time in a new consumer group."""
    before = settings_of(stack)
    peaks = []
    for turn in range(repeats):
        own = before.kafka.model_copy(update={"group_prefix": f"bench-{turn}"})
        stack.settings = before.model_copy(update={"kafka": own})
        ends = Ends(before, topics)
        with running(stack, spec) as (child,):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if failure := stack.failed():
                    raise BenchError(failure)
                time.sleep(0.1)
            peaks.append(peak_rss_mb(child.pid))
        if not ends.added():
            raise BenchError(f"{spec.label} did nothing in {seconds} s")
    stack.settings = before
    return peaks


def _events() -> Iterator[Record]:
    """Give events of 500 bytes without end."""
    name = EVENTS[LOW]
    for turn in cycle(range(1_000_000)):
        for event in people.singles(
            f"b{turn:06d}", range(USERS), category="marketing", priority="low"
        ):
            yield Record(name, None, event)


def _deliveries() -> Iterator[Record]:
    """Give deliveries to APNs of about 500 bytes without end."""
    name = DELIVERIES[Platform.APNS, LOW]
    content = msgspec.msgpack.encode(Content("Spring sale", "x" * 170))
    for number in cycle(range(10_000_000)):
        user = people.user_id(number)
        delivery = Delivery(
            str(UUID(int=number)), f"message-{number:012d}", people.TENANT, people.APP, user,
            f"{user}-phone", Platform.APNS, LOW, "marketing", "sale", f"{number:064x}", content,
            people.REGISTERED_MS, people.REGISTERED_MS, people.REGISTERED_MS,
        )  # fmt: skip
        yield Record(name, user.encode(), msgspec.msgpack.encode(delivery))


@contextmanager
def _accepting(stack: Stack) -> Iterator[None]:
    """Let a server that accepts everything at once stand in for APNs."""
    settings = settings_of(stack)
    if stack.keys is None:
        raise BenchError("the stack has no keys yet")
    keys = stack.keys.directory
    command = [sys.executable, "-m", "sandbox.fast_server"]
    files = ["--cert", str(keys / CERTIFICATE_FILE), "--key", str(keys / KEY_FILE)]
    with subprocess.Popen(
        [*command, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            if server.stdout is None:
                raise BenchError("the server has no stdout")
            url = f"https://127.0.0.1:{int(server.stdout.readline())}"
            providers = settings.providers.model_copy(update={"apns_production_url": url})
            stack.settings = settings.model_copy(update={"providers": providers})
            yield
        finally:
            server.terminate()
