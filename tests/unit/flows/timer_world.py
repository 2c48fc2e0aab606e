"""A timers topic, its clock, and a process on it that can die."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from flows.timer_source import TimerSource
from flows.timer_wheel import Wheel, release
from schemas.pipeline import DeadLetter, Priority, Timer
from schemas.stream import Batch, Position, Positions
from schemas.topics import CHUNKS, TIMERS

T0 = 1_770_000_000_000
WHEEL = Wheel(slots=16, slot_ms=1_000, grace=2)
TURN_MS = 250
READ_AT_ONCE = 3
FAR_AHEAD_MS = 60_000
TARGET = CHUNKS[Priority.LOW]
Log = dict[int, list[bytes]]
Committed = dict[tuple[str, int], Position]


def timer(due_at_ms: int, name: str = "t") -> Timer:
    return Timer(name, due_at_ms, "chunks.low", b"k", name.encode())


class FakeMessage(NamedTuple):
    of: int
    at: int
    raw: bytes

    def partition(self) -> int:
        return self.of

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self.raw


class FakeConsumer:
    """A consumer of all slots, as far as the wheel needs one.

    As with librdkafka, an end is told again after a partition was resumed or sought.
    """

    def __init__(self, log: Log, committed: Committed) -> None:
        self.log = log
        self.at = {p: committed.get((TIMERS, p), Position(0)).offset for p in range(WHEEL.slots)}
        self.paused: set[int] = set()
        self.told_end: set[int] = set()
        self.refuses_seeks = False

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TIMERS, p) for p in self.at]

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused |= {tp.partition for tp in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        resumed = {tp.partition for tp in partitions}
        self.paused -= resumed
        self.told_end -= resumed

    def seek(self, where: TopicPartition) -> None:
        if self.refuses_seeks:
            raise KafkaException("not yet")
        self.at[where.partition] = where.offset
        self.told_end.discard(where.partition)


class FakeLanes:
    """The one lane of the timers topic; as in flows/lanes.py, much is told within read.

    First the assignment, before anything is read; then ends.
    """

    def __init__(self, log: Log, committed: Committed) -> None:
        self.consumer = FakeConsumer(log, committed)
        self.committed = committed
        self.lanes = [self]
        self.on_end: Any = None
        self.on_assign: Any = None
        self.reads: Counter[int] = Counter()

    def read(self, *, idle_s: float) -> tuple[Any, list[FakeMessage]] | None:
        assert idle_s == 0
        if self.on_assign is not None:
            self.on_assign(self, self.consumer.assignment())
            self.on_assign = None
            return None
        consumer, found = self.consumer, []
        for partition, at in consumer.at.items():
            if partition in consumer.paused:
                continue
            new = consumer.log[partition][at:][:READ_AT_ONCE]
            found += [FakeMessage(partition, at + n, raw) for n, raw in enumerate(new)]
            self.reads[partition] += len(new)
            consumer.at[partition] += len(new)
            if new:
                consumer.told_end.discard(partition)
            if consumer.at[partition] == len(consumer.log[partition]):
                if partition not in consumer.told_end:
                    self.on_end(TIMERS, partition)
                consumer.told_end.add(partition)
        return (self, found) if found else None

    def rewind(self) -> None:
        for p in self.consumer.at:
            self.consumer.at[p] = self.committed.get((TIMERS, p), Position(0)).offset
        self.consumer.told_end.clear()


class FakeCheckpoint:
    """Assigns all slots."""

    def __init__(self, lanes: FakeLanes) -> None:
        self.lanes = lanes
        self.generation = 0
        self.after_assign: Any = None

    def open(self) -> None:
        self.lanes.on_assign = self.after_assign


class World:
    """A topic, a clock, and a process that can die; what it wrote counts once committed."""

    def __init__(self) -> None:
        self.now_ms = T0
        self.log: Log = defaultdict(list)
        self.committed: Committed = {}
        self.fired: list[tuple[str, int]] = []
        self.moved: Counter[str] = Counter()
        self.letters: list[DeadLetter] = []
        self.start()

    def start(self) -> None:
        """Begin a process at what is committed; another's uncommitted work is gone."""
        self.records: list[Any] = []
        self.positions: Positions = {}
        self.lanes = FakeLanes(self.log, dict(self.committed))
        self.checkpoint = FakeCheckpoint(self.lanes)
        source = TimerSource(
            self.checkpoint,  # type: ignore[arg-type]
            WHEEL,
            now_ms=lambda: self.now_ms,
            stopped=lambda: False,
        )
        self.part = source.build_part("", "", None)

    def restart_epoch(self) -> None:
        """Give the epoch up, as after an aborted transaction or before a rebalance."""
        self.records, self.positions = [], {}
        self.checkpoint.generation += 1
        self.lanes.rewind()

    def arrive(self, one: Timer) -> None:
        record = WHEEL.record(one, self.now_ms)
        self.log[record.partition].append(record.value or b"")

    def turn(self) -> None:
        for batch in self.part.next_batch():
            assert isinstance(batch, Batch)
            self.records += release(batch.items, batch.now_ms, WHEEL)
            self.positions.update(batch.positions)

    def commit(self) -> None:
        for record in self.records:
            if isinstance(record, DeadLetter):
                self.letters.append(record)
            elif record.topic == TIMERS:
                self.log[record.partition].append(record.value or b"")
                self.moved[msgspec.msgpack.decode(record.value or b"", type=Timer).timer_id] += 1
            else:
                self.fired.append(((record.value or b"").decode(), self.now_ms))
        for (_, topic, partition), position in self.positions.items():
            self.committed[topic, partition] = position
            self.lanes.committed[topic, partition] = position
        self.records, self.positions = [], {}

    def run_until(self, end_ms: int) -> None:
        while self.now_ms < end_ms:
            self.turn()
            self.commit()
            self.now_ms += TURN_MS

    def names(self) -> list[str]:
        return [name for name, _ in self.fired]
