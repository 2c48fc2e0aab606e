"""The shape of the timer wheel on Kafka: which partition a timer waits in, and when it is read.

Most partitions are near slots: a timer due at t lies in slot t / slot_ms, and they go round in a
lap. The others are far slots, each as long as a quarter of that lap: what is due beyond the lap
waits there and moves to its near slot shortly before its time; what is due beyond the far slots too
waits in the farthest of them and moves on from there. So a timer is written again once in hours,
however far ahead it is due, and no slot is read before its turn
(docs/decisions/0005-timers.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec

from schemas.pipeline import DeadLetter, Timer
from schemas.stream import Record
from schemas.topics import TIMERS

SPARE_SLOTS = 3  # of near slots unused, for clocks that differ a little

_encode = msgspec.msgpack.Encoder().encode


class Turn(NamedTuple):
    """Where a partition stands. is_open: it is its turn now, so it is read.

    next_ms: when its next turn's due times begin. closed_at_ms: when its last turn ended: it had to
    be read to its end by then, or later.
    """

    is_open: bool
    next_ms: int
    closed_at_ms: int


@dataclass(frozen=True)
class Wheel:
    """The wheel's shape.

    slots: partitions of the topic, at least 16. slot_ms: how long a near slot is. grace: how many
    near slots stay open behind now, which must cover the longest time between making a timer and
    committing it; at most a quarter of the near ones.
    """

    slots: int
    slot_ms: int
    grace: int

    @cached_property
    def far(self) -> int:
        """How many far slots there are; they are the last partitions."""
        return self.slots // 4

    @cached_property
    def near(self) -> int:
        """How many near slots there are; they are the first partitions."""
        return self.slots - self.far

    @cached_property
    def reach(self) -> int:
        """How many slots ahead a timer may be due to wait in a near one: short of a lap."""
        return self.near - self.grace - SPARE_SLOTS

    @cached_property
    def far_ms(self) -> int:
        """How long a far slot is."""
        return self.near // 4 * self.slot_ms

    @cached_property
    def lead_ms(self) -> int:
        """How long before its first due time a far slot opens: all it holds is in reach by then."""
        return min(self.far_ms, (self.reach - 1) * self.slot_ms - self.far_ms)

    @cached_property
    def lap_ms(self) -> int:
        """How long a record may wait for its slot's turn: a lap of the far slots."""
        return self.far * self.far_ms

    def is_far(self, partition: int) -> bool:
        """Tell whether this is a far slot."""
        return partition >= self.near

    def place(self, due_at_ms: int, now_ms: int) -> int:
        """Give the partition for a timer: never an open one, unless it is due there and then.

        What is overdue goes to the slot of now.
        """
        at = now_ms // self.slot_ms
        index = max(at, due_at_ms // self.slot_ms)
        if index - at <= self.reach:
            return index % self.near
        # Two short of a lap: the far slots of now and next are open.
        farthest = now_ms // self.far_ms + self.far - 2
        return self.near + min(due_at_ms // self.far_ms, farthest) % self.far

    def record(self, timer: Timer, now_ms: int) -> Record:
        """Put a timer on its slot."""
        partition = self.place(timer.due_at_ms, now_ms)
        return Record(TIMERS, timer.key, _encode(timer), partition)

    def open_slots(self, now_ms: int) -> frozenset[int]:
        """Give the partitions to read: near, those of the grace, of now, and the next one."""
        at = now_ms // self.slot_ms
        near = {(at + d) % self.near for d in range(-self.grace, 2)}
        first, last = now_ms // self.far_ms, (now_ms + self.lead_ms) // self.far_ms
        return frozenset(near | {self.near + i % self.far for i in range(first, last + 1)})

    def is_ahead(self, partition: int, now_ms: int) -> bool:
        """Tell whether this is the near slot after that of now."""
        return partition == (now_ms // self.slot_ms + 1) % self.near

    def turn(self, partition: int, now_ms: int) -> Turn:
        """Tell where a partition stands."""
        if self.is_far(partition):
            count, length_ms, number = self.far, self.far_ms, partition - self.near
            first, last = now_ms // length_ms, (now_ms + self.lead_ms) // length_ms
            stays_ms = 0
        else:
            count, length_ms, number = self.near, self.slot_ms, partition
            at = now_ms // length_ms
            first, last = at - self.grace, at + 1
            stays_ms = self.grace * length_ms
        index = last - (last - number) % count  # of its latest turn
        ended = index - count if index >= first else index
        return Turn(index >= first, (index + count) * length_ms, (ended + 1) * length_ms + stays_ms)


def release(
    timers: Sequence[Timer | DeadLetter], now_ms: int, wheel: Wheel
) -> list[Record | DeadLetter]:
    """Give the record of each timer that is due, and put the others back on the wheel."""
    return [
        item
        if isinstance(item, DeadLetter)
        else Record(item.topic, item.key, item.value)
        if item.due_at_ms <= now_ms
        else wheel.record(item, now_ms)
        for item in timers
    ]
