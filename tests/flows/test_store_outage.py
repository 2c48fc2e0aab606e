"""Flows while a store is down: they wait, tell why, lose nothing and decide nothing twice."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import flow_harness
import pytest
import redis
from bytewax.errors import BytewaxRuntimeError
from flow_harness import Runner, Stores
from redis.backoff import NoBackoff
from redis.retry import Retry

from flows.compose import Process
from sandbox.valkey import EmbeddedValkey
from schemas.outcomes import Reason
from schemas.pipeline import Delivery, Outcome, Platform
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import DELIVERIES, EVENTS, OUTCOMES
from state.errors import StateUnavailableError
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient

pytestmark = pytest.mark.embedded_only  # the real one is not of the test's own

USERS = 20
EVENTS_EACH = 10
DEADLINE_S = 60.0


def _profile(number: int, _old: Profile | None) -> Profile:
    device = Device("d", Platform.APNS, "ios", f"{number:064x}", 1)
    return Profile(f"u{number}", 0, devices=(device,))


def _event(number: int, priority: str = "low") -> Record:
    event = {
        "id": f"{priority}-{number}",
        "tenant": "acme",
        "type": "t",
        "category": "marketing" if priority == "low" else "transactional",
        "priority": priority,
        "audience": {"users": [f"u{number % USERS}"]},
        "content": {"title": "Hello"},
    }
    return Record(EVENTS[priority], str(number).encode(), json.dumps(event).encode())


class Outage:
    """Shuts Valkey down in the middle of a run, and on command brings it back with its data."""

    def __init__(self, stores: Stores, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._port = int(stores.redis_url.rpartition(":")[2].partition("/")[0])
        self._valkey = EmbeddedValkey(directory / "redis", port=self._port)
        self._read = 0
        self.process: Process | None = None
        self.has_begun = False
        self.is_to_stop = threading.Event()
        build = flow_harness.build_process

        def built(settings: Settings, stopped: Callable[[], bool], *what: Any) -> Process:
            self.process = process = build(
                settings, lambda: stopped() or self.is_to_stop.is_set(), *what
            )
            process.health_beats.append(self._beat)
            return process

        monkeypatch.setattr(flow_harness, "build_process", built)

    def _beat(self, count: int) -> None:
        self._read += count
        if self._read >= USERS and not self.has_begun:
            self.has_begun = True
            never = Retry(NoBackoff(), 0)
            with redis.Redis(port=self._port, protocol=2, retry=never) as client:
                client.shutdown(save=True)

    def is_felt(self) -> bool:
        return self.process is not None and bool(self.process.waits.lines())

    @contextmanager
    def when_felt(self, then: Callable[[], None]) -> Iterator[None]:
        """Do something as soon as the flow waits. The thread stays: Valkey would die with it."""
        over = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                deadline = time.monotonic() + DEADLINE_S
                while not self.is_felt():
                    assert time.monotonic() < deadline, "the flow does not wait"
                    over.wait(0.01)
                then()
            except BaseException as error:  # noqa: BLE001 - raised by the test's own thread
                failed.append(error)
            over.wait(DEADLINE_S)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            over.set()
            thread.join()
        assert not failed, failed

    def end(self) -> None:
        self._valkey.start()

    def stop(self) -> None:
        self._valkey.stop()


@pytest.fixture
def outage(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outage:
    """Give an outage that begins after twenty events."""
    client = RedisClient(stores.redis_url)
    profiles = RedisProfiles(client)
    profiles.update_many("acme", 4, {f"u{n}": partial(_profile, n) for n in range(USERS)})
    client.close()
    stores.put([_event(number) for number in range(USERS * EVENTS_EACH)])
    return Outage(stores, tmp_path, monkeypatch)


def _delivered(stores: Stores, priority: str) -> list[Delivery]:
    return stores.decoded(DELIVERIES["apns", priority], Delivery)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _check_bulk(stores: Stores) -> None:
    delivered = Counter(d.user_id for d in _delivered(stores, "low"))
    assert delivered == Counter({f"u{n}": 2 for n in range(USERS)})
    reasons = Counter(o.reason for o in stores.decoded(OUTCOMES, Outcome))
    assert reasons == {Reason.FREQUENCY_CAP: USERS * (EVENTS_EACH - 2)}


def test_an_outage_of_redis_is_waited_out_inside_the_call(stores: Stores, outage: Outage) -> None:
    """The same process goes on; every cap is counted once, and nothing is lost."""
    excused = threading.Semaphore(0)
    seen: dict[str, str] = {}

    def look_and_mend() -> None:
        assert outage.process is not None
        outage.process.waits.excuses.append(excused.release)
        stores.put([_event(number, "critical") for number in range(USERS)])
        for _ in range(3):  # attempts that tell the health check that the flow is not stuck
            assert excused.acquire(timeout=DEADLINE_S)
        seen.update(outage.process.waits.lines())
        outage.end()

    with outage.when_felt(look_and_mend):
        Runner(stores.settings(), "route").run(until=lambda: outage.has_begun)
        _check_bulk(stores)
        assert len(_delivered(stores, "critical")) == USERS
    assert list(seen) == ["redis"]
    assert "ConnectionError" in seen["redis"]


def test_a_flow_that_is_to_stop_ends_its_wait_uncommitted(stores: Stores, outage: Outage) -> None:
    """It raises what Redis raised; the next process does the rest, and nothing twice."""
    with outage.when_felt(outage.is_to_stop.set), pytest.raises(BytewaxRuntimeError) as raised:
        Runner(stores.settings(), "route").run()
    assert StateUnavailableError in {type(cause) for cause in _causes(raised.value)}
    outage.is_to_stop.clear()
    outage.end()
    try:
        Runner(stores.settings(), "route").run()
        _check_bulk(stores)
    finally:
        outage.stop()
