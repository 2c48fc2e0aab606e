"""What a flow waits for, in the log, the metrics and the probes; and who asks the stores."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from flows.readiness import ANSWER_S, SILENT_AFTER_S, KafkaPing, Readiness
from flows.waits import Waits


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def metric(name: str, flow: str, store: str = "redis") -> float | None:
    return REGISTRY.get_sample_value(name, {"flow": flow, "store": store})


def test_a_wait_shows_in_the_metrics() -> None:
    """1 while it lasts, 0 before and after; and the seconds add up."""
    clock = Clock()
    waits = Waits("waits", clock=clock)
    waits.needs("redis")
    seen = [metric("clarion_waiting_for", "waits")]
    waits.began("redis", "away")
    seen.append(metric("clarion_waiting_for", "waits"))
    for _ in range(3):
        clock.now_s += 0.5
        waits.goes_on("redis", "away")
    assert metric("clarion_waited_seconds_total", "waits") == 1.5
    clock.now_s += 0.25
    waits.ended("redis", answered=True)
    seen.append(metric("clarion_waiting_for", "waits"))
    assert seen == [0, 1, 0]
    assert metric("clarion_waited_seconds_total", "waits") == 1.75


def test_a_wait_is_logged_at_its_start_and_its_end() -> None:
    """With why, and how long; however many threads wait side by side."""
    clock = Clock()
    waits = Waits("logged", clock=clock)
    with capture_logs() as lines:
        waits.began("redis", "LOADING")
        waits.began("redis", "LOADING")
        clock.now_s += 2
        waits.goes_on("redis", "LOADING")
        waits.ended("redis", answered=True)
        waits.ended("redis", answered=True)
    assert lines == [
        {"event": "waiting", "store": "redis", "why": "LOADING", "log_level": "warning"},
        {"event": "goes on", "store": "redis", "waited_s": 2.0, "log_level": "info"},
    ]


def test_lines_of_any_thread_say_which_flow() -> None:
    """As all lines of the process do."""
    with (
        structlog.contextvars.bound_contextvars(flow="route"),
        capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines,
    ):
        waits = Waits("threads", clock=Clock())
        thread = threading.Thread(target=waits.began, args=("redis", "away"))
        thread.start()
        thread.join()
    assert lines[0]["flow"] == "route"


def test_a_store_given_up_is_an_error() -> None:
    """The process is about to end."""
    waits = Waits("given-up", clock=Clock())
    with capture_logs() as lines:
        waits.began("redis", "away")
        waits.ended("redis", answered=False)
    assert [line["log_level"] for line in lines] == ["warning", "error"]
    assert waits.lines() == {}


def test_every_failed_attempt_excuses_the_flow() -> None:
    """So that a wait is not taken for being stuck."""
    waits = Waits("excused", clock=Clock())
    excused: list[int] = []
    waits.excuses.append(lambda: excused.append(1))
    waits.began("redis", "away")
    waits.goes_on("redis", "away")
    assert len(excused) == 2


class Store:
    """A store that answers, fails or hangs."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = threading.Event()
        self.hangs.set()

    def ping(self) -> None:
        assert self.hangs.wait(30)
        if self.error is not None:
            raise self.error


class Asked:
    """Stores, and who asks them without pause."""

    def __init__(self) -> None:
        self.stores = {name: Store() for name in ("kafka", "redis")}
        self.waits = Waits("asked")
        self.clock = Clock()
        pings = {name: store.ping for name, store in self.stores.items()}
        self.readiness = Readiness(pings, self.waits, every_s=0.001, clock=self.clock)

    def until(self, met: Callable[[list[str]], Any]) -> list[str]:
        deadline = time.monotonic() + 10
        while not met(self.readiness.missing()):
            assert time.monotonic() < deadline, self.readiness.missing()
        return self.readiness.missing()


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    for store in made.stores.values():
        store.hangs.set()
    made.readiness.stop()


def test_nothing_is_ready_before_it_has_answered(asked: Asked) -> None:
    """A process that has just started."""
    assert asked.readiness.missing() == ["kafka: not asked yet", "redis: not asked yet"]
    asked.readiness.start()
    asked.until(lambda lines: not lines)


def test_a_store_that_fails_is_named_until_it_answers(asked: Asked) -> None:
    """With what it said, shortly; and counted as a wait of the flow."""
    asked.readiness.start()
    asked.until(lambda lines: not lines)
    asked.stores["redis"].error = ConnectionError("x" * 500)
    (line,) = asked.until(bool)
    assert line.startswith("redis: xxx")
    assert len(line) == 200
    assert metric("clarion_waiting_for", "asked") == 1
    asked.stores["redis"].error = None
    asked.until(lambda lines: not lines)
    assert metric("clarion_waiting_for", "asked") == 0


def test_a_store_that_hangs_is_named_at_once_and_holds_nobody_up(asked: Asked) -> None:
    """The other is still asked; the probe does not wait."""
    asked.readiness.start()
    asked.until(lambda lines: not lines)
    asked.stores["kafka"].hangs.clear()
    asked.stores["redis"].error = ConnectionError("gone")
    asked.until(lambda lines: lines == ["redis: gone"])

    def after_a_while(lines: list[str]) -> bool:
        asked.clock.now_s += SILENT_AFTER_S + 1  # each time, as the question may not be out yet
        return len(lines) == 2

    redis, kafka = asked.until(after_a_while)
    assert redis == "redis: gone"
    assert kafka.startswith("kafka: no answer for ")


def test_what_a_step_waits_for_makes_it_unready(asked: Asked) -> None:
    """Redis answers PING but takes no writes: the flow says why."""
    asked.readiness.start()
    asked.until(lambda lines: not lines)
    asked.waits.began("redis", "caps failed at 127.0.0.1:6379: READONLY: a replica")
    assert asked.readiness.missing() == [
        "redis: caps failed at 127.0.0.1:6379: READONLY: a replica"
    ]


def test_kafka_is_asked_within_bounds() -> None:
    """Nobody listens: it fails by itself."""
    ping = KafkaPing({"bootstrap.servers": "127.0.0.1:1", "socket.timeout.ms": 1_000})
    began_s = time.monotonic()
    with pytest.raises(Exception, match="_TRANSPORT"):
        ping.ask()
    ping.close()
    assert time.monotonic() - began_s < ANSWER_S + 28  # a hang, not a busy machine
