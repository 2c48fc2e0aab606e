"""Which partitions of the wheel are read: those whose turn it is, and those that missed theirs."""

import heapq
from collections.abc import Callable, Collection, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from flows.timer_memory import Memory
from flows.timer_wheel import Wheel
from schemas.topics import TIMERS

MISSED_AT_ONCE = 64  # slots read beside the open ones
FILLED_AT_ONCE = 8  # of them, those with timers in them


class Turns:
    """Pauses and resumes the partitions of one process.

    consumer: gives the one that reads; it may be another after an outage.
    """

    def __init__(self, wheel: Wheel, memory: Memory, consumer: Callable[[], Any]) -> None:
        self._wheel, self._memory, self._consumer = wheel, memory, consumer
        self._mine: set[int] = set()
        self._reading: set[int] = set()  # the others of mine are paused
        self._open: frozenset[int] = frozenset()
        # To be read to their end before they may close.
        self._behind: set[int] = set()
        self._ended: set[int] = set()

    def assign(self, partitions: Collection[int], now_ms: int) -> None:
        """Take more partitions; they are read until the next turn."""
        for partition in partitions:
            self._memory.forget(partition)
            self._behind.discard(partition)
            if self._is_missed(partition, now_ms):
                self._behind.add(partition)
        self._mine.update(partitions)
        self._reading.update(partitions)
        self._open -= frozenset(partitions)

    def start_over(self, now_ms: int) -> None:
        """Begin again at what is committed, with the partitions that are mine now."""
        # Asked here only: with hundreds of partitions the answer takes as long as a batch.
        mine = {tp.partition for tp in self._consumer().assignment()}
        self._reading = (self._reading & mine) | (mine - self._mine)
        self._mine, self._open = mine, frozenset()
        self._ended.clear()
        self._memory.clear()
        self._behind = {p for p in mine if self._is_missed(p, now_ms)}

    def saw_end(self, _topic: str, partition: int) -> None:
        """Note that a partition was read to its end; told while reading."""
        self._ended.add(partition)

    def is_read(self, partition: int) -> bool:
        """Tell whether all that lies there now has been read."""
        return partition in self._reading and partition not in self._behind

    def turn(self, read: Collection[int], now_ms: int) -> set[int]:
        """Pause the slots whose turn is over and resume those whose turn it is.

        read: where messages came from, since the last call. Gives the slots that closed.
        """
        is_open = self._wheel.open_slots(now_ms) & self._mine
        # A slot is read to its end in its turn; an end is told before what came with it is taken.
        self._behind = (
            (self._behind | (is_open - self._open) | set(read)) & self._mine
        ) - self._ended
        for partition in self._ended & self._memory.slots.keys():
            self._memory.slots[partition].end()
        self._ended.clear()
        self._open = is_open
        stuck = {p for p in is_open if not self._is_at_its_turn(p, now_ms)}
        wanted = {p for p in is_open | self._missed(now_ms) if self._has_room(p, now_ms)} - stuck
        if wanted == self._reading:
            return set()
        closing, opening = self._reading - wanted, wanted - self._reading
        self._behind |= closing & is_open  # no room for now
        closed = closing - self._behind
        for partition in closed:
            self._memory.slot(partition).seen_ms = now_ms
        if closing:
            self._consumer().pause(_topic_partitions(sorted(closing)))
        if opening:
            self._consumer().resume(_topic_partitions(sorted(opening)))
        self._reading = wanted
        return closed

    def _is_missed(self, partition: int, now_ms: int) -> bool:
        """Tell whether this slot's turn ended while nobody read it."""
        return self._memory.read_ms(partition) < self._wheel.turn(partition, now_ms).closed_at_ms

    def _missed(self, now_ms: int) -> set[int]:
        """Give the closed slots to read to their end now: those whose turn was first.

        Most are empty, which takes one fetch to see; few that are not leave the open ones a share.
        """
        behind, turn = self._behind - self._open, self._wheel.turn
        first = heapq.nsmallest(MISSED_AT_ONCE, behind, lambda p: turn(p, now_ms).closed_at_ms)
        filled = [p for p in first if p in self._memory.slots]
        return set(first).difference(filled[FILLED_AT_ONCE:])

    def _has_room(self, partition: int, now_ms: int) -> bool:
        if self._wheel.is_far(partition):
            return True  # it is only passed on
        return self._memory.has_room(partition, is_ahead=self._wheel.is_ahead(partition, now_ms))

    def _is_at_its_turn(self, partition: int, now_ms: int) -> bool:
        """Go back to what was left for this turn, if anything was; False when that must wait."""
        slot = self._memory.slots.get(partition)
        if slot is None or not slot.must_go_back(self._wheel.turn(partition, now_ms).next_ms):
            return True
        at = slot.position()
        try:
            self._consumer().seek(TopicPartition(TIMERS, partition, at.offset))
        except KafkaException:
            return False
        self._memory.go_back(partition, at)
        self._behind.add(partition)
        return True


def _topic_partitions(partitions: Sequence[int]) -> list[TopicPartition]:
    return [TopicPartition(TIMERS, partition) for partition in partitions]
