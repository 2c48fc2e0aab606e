"""What the HTTP API takes: events one by one and in batches, and registrations, all acknowledged.

Kafka, Redis, the API and the load generator share the machine's cores. The bare loop is a route of
the same server and framework that reads the body and answers.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

from sandbox.processes import Child, accepts, free_port
from sandbox.stack import FlowSpec, Stack
from schemas.pipeline import Priority
from schemas.topics import DEVICES, EVENTS
from tests.bench import people
from tests.bench.arrivals import Ends
from tests.bench.http_load import Job, Load, load, request
from tests.bench.machine import peak_rss_mb
from tests.bench.result import BenchError, Plan, Result, middle, ratio
from tests.bench.stand import running, settings_of, stand

PER_BATCH = 500
CONNECTIONS, BATCH_CONNECTIONS = 64, 64
REGISTRY = FlowSpec("registry", None, tuple(Priority))
EVENT = {
    "type": "order.shipped",
    "category": "transactional",
    "priority": "normal",
    "audience": {"users": ["u-123456"]},
    "content": {
        "title": "Your order is on its way",
        "body": "It arrives tomorrow between 9 and 12. Track it in the app.",
        "data": {
            "order": "4711-2026-11-30",
            "url": "https://shop.example.com/orders/4711",
            "image": "https://img.example.com/" + "x" * 120,
        },
    },
}


def measure(plan: Plan) -> list[Result]:
    """Load the API and the bare loop in turns, with one process each and with two."""
    seconds = plan.pick(8, 2)
    with stand() as stack:
        key = _key(stack)
        one = _Side(stack, key, 1, seconds)
        two = _Side(stack, key, 2, seconds)
        singles, halves, batches, registrations = [], [], [], []
        bare = []
        for _turn in range(plan.repeats):
            with one.api() as port:
                singles.append(one.events(port))
                halves.append(one.events(port, rate=singles[-1].per_s / 2))
                registrations.append(one.devices(port))
            with one.echo() as port:
                bare.append(one.events(port))
            with two.api() as port:
                batches.append(two.batches(port))
    per_s = [one.per_s for one in singles]
    return [
        Result(
            "api_events",
            middle(per_s),
            "requests/s",
            target=6_000,
            limit_ratio=ratio(per_s, [one.per_s for one in bare]),
            limit_target=0.5,
            rss_mb=one.rss_mb,
            runs=[round(value) for value in per_s],
            detail={"bare_per_s": middle([one.per_s for one in bare]), "event_bytes": len(_one())},
        ),
        Result(
            "api_events_p99_at_half_load",
            middle([one.p99_ms for one in halves], 1),
            "ms",
            target=50,
            at_most=True,
            runs=[one.p99_ms for one in halves],
            detail={"p50_ms": middle([one.p50_ms for one in halves], 1)},
        ),
        Result(
            "api_events_in_batches",
            middle([one.per_s * PER_BATCH for one in batches]),
            "events/s",
            target=80_000,
            rss_mb=two.rss_mb,
            runs=[round(one.per_s * PER_BATCH) for one in batches],
            detail={"per_request": PER_BATCH, "processes": 2},
        ),
        Result(
            "api_registrations",
            middle([one.per_s for one in registrations]),
            "requests/s",
            target=2_000,
            runs=[round(one.per_s) for one in registrations],
        ),
    ]


def _one() -> bytes:
    return json.dumps(EVENT).encode()


def _key(stack: Stack) -> str:
    """Make an API key, which the registry puts into Redis."""
    with running(stack, REGISTRY):
        said = stack.ask(
            *("keys", "create", "--tenant", people.TENANT, "--role", "admin"),
            *("--name", "bench", "--json"),
        )
    try:
        found: str = json.loads(said)["key"]
    except (ValueError, KeyError):
        raise BenchError(f"no API key was made: {said[-300:]}") from None
    return found


def _must_be_there(ends: Ends, acknowledged: int) -> None:
    """Raise BenchError unless Kafka has all that was acknowledged."""
    if (there := ends.added()) < acknowledged:
        raise BenchError(f"{acknowledged} records were acknowledged, {there} are on Kafka")


class _Side:
    """Requests to so many processes of the API, or of the bare loop."""

    def __init__(self, stack: Stack, key: str, workers: int, seconds: float) -> None:
        self._stack, self._workers, self._seconds = stack, workers, seconds
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.rss_mb = 0.0

    @contextmanager
    def api(self) -> Iterator[int]:
        url = self._stack.start_api(workers=self._workers)
        child = self._stack.child("api")
        try:
            yield urlsplit(url).port or 0
            self.rss_mb = max(self.rss_mb, peak_rss_mb(child.pid))
        finally:
            self._stack.stop_child("api")

    @contextmanager
    def echo(self) -> Iterator[int]:
        port = free_port()
        child = Child(
            "echo",
            [sys.executable, "-m", "tests.bench.echo_app", str(port), str(self._workers)],
            log=self._stack.directory / "logs" / "echo.log",
        )
        child.start()
        try:
            child.wait_until(partial(accepts, port))
            yield port
        finally:
            child.stop()

    def events(self, port: int, *, rate: float = 0.0) -> Load:
        body = request("POST", "/v1/events", _one(), self._headers)
        return self._load(Job(port, body, CONNECTIONS, self._seconds, rate=rate))

    def batches(self, port: int) -> Load:
        body = b"[" + b",".join([_one()] * PER_BATCH) + b"]"
        job = Job(
            port,
            request("POST", "/v1/events", body, self._headers),
            BATCH_CONNECTIONS,
            self._seconds,
        )
        ends = Ends(settings_of(self._stack), [EVENTS[Priority.NORMAL]])
        found = self._load(job)
        _must_be_there(ends, round(found.per_s * self._seconds) * PER_BATCH)
        return found

    def devices(self, port: int) -> Load:
        device = {"platform": "apns", "app": people.APP, "token": "ab" * 32}
        path = "/v1/users/u-1/devices/d-1"
        body = request("PUT", path, json.dumps(device).encode(), self._headers)
        ends = Ends(settings_of(self._stack), [DEVICES])
        found = self._load(Job(port, body, CONNECTIONS, self._seconds))
        _must_be_there(ends, round(found.per_s * self._seconds))
        return found

    def _load(self, job: Job) -> Load:
        found = load(job)
        if set(found.statuses) - {"200", "202"}:
            raise BenchError(f"answers: {found.statuses}")
        return found
