"""What moves along a dataflow's pipe: batches, with the positions they were read from."""

from typing import Any, NamedTuple, Protocol

import msgspec


class Position(NamedTuple):
    """Where reading goes on: the next offset, and a note stored beside it (timers use it)."""

    offset: int
    note: str = ""


Positions = dict[tuple[int, str, int], Position]
"""Next position by (lane, topic, partition)."""


class Source(NamedTuple):
    """The coordinates of one Kafka record; str() of it is stable and unique."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Message(Protocol):
    """A record as a Kafka client hands it out, errors set aside."""

    def topic(self) -> str:
        """Give the topic."""
        ...

    def partition(self) -> int:
        """Give the partition."""
        ...

    def offset(self) -> int:
        """Give the offset."""
        ...

    def key(self) -> bytes | None:
        """Give the key."""
        ...

    def value(self) -> bytes | None:
        """Give the value; None is a tombstone."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Give (type, epoch ms)."""
        ...


class Record(NamedTuple):
    """A Kafka record to produce. A value of None is a tombstone; -1 lets the key choose."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1


class Batch(msgspec.Struct):
    """The unit of work: items read or made together.

    now_ms: the time at which the batch was read, so that policy needs no clock.
    positions: ride along the main line only; what reaches the sink is what gets committed.
    generation: of the assignment; a batch of an older one is dropped at the sink and read again.
    beside: what was decided about other items of it, and leaves with its positions, not before.
    """

    items: list[Any]
    now_ms: int
    generation: int = 0
    positions: Positions = {}
    beside: list[Any] = []

    def main(self, items: list[Any]) -> "Batch":
        """Give the same batch with other items, all else kept."""
        return Batch(items, self.now_ms, self.generation, self.positions, self.beside)

    def alone(self) -> "Batch":
        """Give the same batch with nothing beside it."""
        return Batch(self.items, self.now_ms, self.generation, self.positions)

    def side(self, items: list[Any]) -> "Batch":
        """Give a batch beside this one: same time and generation, no positions."""
        return Batch(items, self.now_ms, self.generation)
