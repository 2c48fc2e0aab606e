"""Timers to measure with: many that stay on disk, and some that come due at a steady rate."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from confluent_kafka import Producer

from flows.checkpoint import produce
from flows.compose import wheel_of
from schemas.pipeline import Priority, Timer
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import CHUNKS
from tests.bench.result import BenchError

TARGET = CHUNKS[Priority.LOW]
HOUR_MS = 3_600_000
SETTLES_S = 10.0  # between the last timer's loading and the first's due time
LOADED_PER_S = 25_000
PER_PRODUCE = 10_000
FLUSH_S = 60.0
MIXER = 1_000_003  # a prime: its multiples visit all numbers, far from each other
HEADER_BYTES = 16  # of a value: number and due time


@dataclass(frozen=True)
class Load:
    """What is put on the wheel.

    pending: due in 1 to 48 hours, so they lie on disk. per_s, seconds: how many come due each
    second and for how long. value_bytes: of what a timer holds. kills: how often the process is
    killed (SIGKILL) meanwhile. is_cold: the flow first starts when all is loaded. ahead_s: how long
    before they are due those are loaded that fire; beyond 11 minutes they wait in far slots.
    """

    pending: int
    per_s: int
    seconds: int
    value_bytes: int = 700
    kills: int = 0
    is_cold: bool = False
    ahead_s: int = 0

    @property
    def firing(self) -> int:
        """How many come due."""
        return self.per_s * self.seconds


def now_ms() -> int:
    """Give the machine's time."""
    return time.time_ns() // 1_000_000


def load_timers(settings: Settings, load: Load) -> int:
    """Put all on the wheel; give when the first that fires is due. Raises BenchError."""
    from_ms = now_ms() + HOUR_MS
    step_ms = 47 * HOUR_MS / max(1, load.pending)
    _produce(
        settings,
        _records(
            settings,
            (
                (load.firing + n, from_ms + int(step_ms * (n * MIXER % load.pending)))
                for n in range(load.pending)
            ),
            load.value_bytes,
        ),
    )
    wait_s = max(float(load.ahead_s), SETTLES_S + load.firing / LOADED_PER_S)
    due_ms = now_ms() + int(wait_s * 1_000)
    numbers = (n * MIXER % load.firing for n in range(load.firing))
    coming = ((number, due_ms + number * 1_000 // load.per_s) for number in numbers)
    _produce(settings, _records(settings, coming, load.value_bytes))
    return due_ms


def number_and_due_ms(value: bytes) -> tuple[int, int]:
    """Read what a fired timer says of itself."""
    return int.from_bytes(value[:8], "big"), int.from_bytes(value[8:HEADER_BYTES], "big")


def _records(
    settings: Settings, due: Iterable[tuple[int, int]], value_bytes: int
) -> Iterator[Record]:
    """Give a timer's record for each number and due time."""
    wheel, filling = wheel_of(settings), b"x" * (value_bytes - HEADER_BYTES)
    for number, due_ms in due:
        header = number.to_bytes(8, "big") + due_ms.to_bytes(8, "big")
        timer = Timer(f"timer-{number:030d}", due_ms, TARGET, header[:8], header + filling)
        yield wheel.record(timer, now_ms())


def _produce(settings: Settings, records: Iterator[Record]) -> None:
    """Produce in large batches, though each record goes to another partition than the last."""
    producer = Producer(
        {
            **settings.kafka.client_options(),
            "linger.ms": 500,
            "batch.size": 524_288,
            "queue.buffering.max.messages": 200_000,
        }
    )
    while part := list(islice(records, PER_PRODUCE)):
        produce(producer, part)
    if producer.flush(FLUSH_S):
        raise BenchError(f"the broker did not take all records within {FLUSH_S:.0f} s")
