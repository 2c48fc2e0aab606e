"""Runs the timers flow on a broker of any kind, kills the process, counts what fires."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from flows.compose import wheel_of
from flows.topics import create_topics
from sandbox.processes import Child, free_port
from schemas.settings import Settings, as_environment
from tests.bench.machine import cpu_s, peak_rss_mb
from tests.bench.result import BenchError
from tests.bench.timers_load import TARGET, Load, load_timers, now_ms, number_and_due_ms

PARTITIONS = 4
ANSWER_S = 60.0
COMMITTED_MS = 300  # what comes so soon after a kill was committed before it
SETTLED_MS = 5_000  # after a kill, lateness is that of the kill
TELLS_MS = 10_000
STOPS_AFTER_MS = 120_000  # without anything fired
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass
class Figures:
    """What was measured.

    late_ms: by percentile, from when a timer was due to when a reader of its topic, read
    committed, had it; without the 5 s after a kill. back_s: from each kill to the next timer that
    fired. early: by the broker's timestamp.
    """

    loaded_per_s: int = 0
    fired: int = 0
    fired_per_s: int = 0
    lost: int = 0
    twice: int = 0
    early: int = 0
    late_ms: dict[str, int] = field(default_factory=dict)
    rss_mb: float = 0.0
    cpu_us_per_timer: float = 0.0
    back_s: list[float] = field(default_factory=list)

    def is_exact(self) -> bool:
        """Tell whether each timer fired once, and none before its time."""
        return not (self.lost or self.twice or self.early)


def measure_wheel(
    settings: Settings,
    directory: Path,
    load: Load,
    *,
    say: Callable[[str], None] = lambda _line: None,
) -> Figures:
    """Load the wheel and let it turn; give the figures. Raises BenchError.

    settings: name a broker of any kind, which may hold timers of runs before. directory: for the
    process's log.
    """
    create_topics(
        dict(settings.kafka.client_options()),
        partitions=PARTITIONS,
        timer_slots=settings.timers.slots,
        replicas=1,
        timer_lap_ms=wheel_of(settings).lap_ms,
    )
    flow, found, reader = _Flow(settings, directory), Figures(), _reader(settings)
    try:
        if not load.is_cold:
            flow.start()
        started = time.monotonic()
        due_ms = load_timers(settings, load)
        found.loaded_per_s = int((load.pending + load.firing) / (time.monotonic() - started))
        say(f"loaded at {found.loaded_per_s:,}/s, due in {(due_ms - now_ms()) / 1_000:.0f} s")
        if load.is_cold:
            flow.start()
        _Watch(reader, flow, found, load=load, due_ms=due_ms, say=say).run()
        found.rss_mb = flow.peak_mb()
        found.cpu_us_per_timer = round(flow.cpu_s() / max(1, found.fired) * 1e6, 1)
    finally:
        reader.close()
        flow.stop()
    return found


class _Flow:
    """The timers process, over its restarts."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        observed = settings.observability.model_copy(update={"metrics_port": free_port()})
        environment = as_environment(settings.model_copy(update={"observability": observed}))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CLARION_")}
        self._child = Child(
            "timers",
            [sys.executable, "-m", "api", "flows", "run", "timers"],
            log=directory / "timers.log",
            env={**inherited, **environment},
        )
        self._peak_mb = self._cpu_s = 0.0

    def start(self) -> None:
        self._child.start()

    def kill(self) -> None:
        self._cpu_s = self.cpu_s()
        self.peak_mb()
        self._child.kill()

    def stop(self) -> None:
        self._child.stop()

    def peak_mb(self) -> float:
        self._peak_mb = max(self._peak_mb, peak_rss_mb(self._child.pid))
        return self._peak_mb

    def cpu_s(self) -> float:
        return self._cpu_s + cpu_s(self._child.pid)

    def check(self) -> None:
        code = self._child.returncode()
        if code is not None:
            raise BenchError(f"timers ended with code {code}: {self._child.tail()}")


class _Watch:
    """Reads what fires until all is there; kills the process now and then."""

    def __init__(
        self,
        reader: Consumer,
        flow: _Flow,
        found: Figures,
        *,
        load: Load,
        due_ms: int,
        say: Callable[[str], None],
    ) -> None:
        self._reader, self._flow, self._found, self._say = reader, flow, found, say
        self._total = load.firing
        self._seen = bytearray(load.firing)
        self._late_ms: list[int] = []
        apart_ms = load.seconds * 1_000 // (load.kills + 1)
        self._kills_ms = [due_ms + apart_ms * (n + 1) for n in range(load.kills)]
        self._killed_ms = self._settled_ms = 0
        self._first_ms = self._last_ms = 0
        self._told_ms = self._moved_ms = due_ms

    def run(self) -> None:
        """Fill the figures in."""
        found = self._found
        while found.fired < self._total:
            messages = self._reader.consume(5_000, 0.02)
            at_ms = now_ms()
            self._flow.check()
            self._kill_in_time(at_ms)
            if messages:
                self._note_back(at_ms)
                self._moved_ms = self._last_ms = at_ms
                self._first_ms = self._first_ms or at_ms
            elif at_ms > self._moved_ms + STOPS_AFTER_MS:
                break
            for message in messages:
                self._take(message.value(), message.timestamp()[1], at_ms)
            if at_ms >= self._told_ms + TELLS_MS:
                self._told_ms = at_ms
                late_ms = self._late_ms[-1] if self._late_ms else 0
                self._say(f"{found.fired:,} fired, {late_ms} ms late, {self._flow.peak_mb()} MB")
        found.lost = self._total - found.fired
        found.fired_per_s = int(found.fired / max(1, self._last_ms - self._first_ms) * 1_000)
        late = sorted(self._late_ms) or [-1]
        found.late_ms = {
            name: late[min(len(late) - 1, int(len(late) * share))] for name, share in SHARES.items()
        }

    def _kill_in_time(self, at_ms: int) -> None:
        if self._kills_ms and at_ms >= self._kills_ms[0]:
            self._kills_ms.pop(0)
            self._killed_ms = at_ms
            self._flow.kill()
            self._flow.start()

    def _note_back(self, at_ms: int) -> None:
        if self._killed_ms and at_ms > self._killed_ms + COMMITTED_MS:
            self._found.back_s.append(round((at_ms - self._killed_ms) / 1_000, 2))
            self._say(f"back {self._found.back_s[-1]} s after a kill")
            self._killed_ms, self._settled_ms = 0, at_ms + SETTLED_MS

    def _take(self, value: bytes, written_ms: int, at_ms: int) -> None:
        number, due_ms = number_and_due_ms(value)
        self._found.early += written_ms < due_ms
        if number >= self._total:
            return  # pending ones, maybe of a run before; those that are due fire as well
        if self._seen[number]:
            self._found.twice += 1
            return
        self._seen[number] = 1
        self._found.fired += 1
        if not self._killed_ms and at_ms > self._settled_ms:
            self._late_ms.append(at_ms - due_ms)


def _reader(settings: Settings) -> Consumer:
    """Read what comes to the topic from now on."""
    consumer = Consumer(
        {
            **settings.kafka.client_options(),
            "group.id": "bench-fired",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([_end(consumer, TopicPartition(TARGET, n)) for n in range(PARTITIONS)])
    return consumer


def _end(consumer: Consumer, part: TopicPartition) -> TopicPartition:
    """Give where a partition ends; one that was just made may not know at once."""
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            _low, end = consumer.get_watermark_offsets(part, ANSWER_S)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return TopicPartition(part.topic, part.partition, end)
