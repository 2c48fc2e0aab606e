"""A partition: its batches in order, its open and aborted transactions, and who waits for more."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

from sandbox.kafka_broker import batches
from sandbox.kafka_broker.batches import Header
from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.memory import Memory
from sandbox.kafka_broker.producers import Producers

Waiter = Callable[[], None]


class Aborted(NamedTuple):
    """A transaction that was aborted here, from its first offset to its marker."""

    producer_id: int
    first_offset: int
    marker_offset: int


class Slice(NamedTuple):
    """Batches read in one go. end: the offset after the last of them."""

    parts: list[bytearray]
    size_bytes: int
    end: int


class Partition:
    """One partition. Offsets have no gaps, so the index is the batches' base offsets.

    start, end: first offset kept and next offset to be given.
    """

    def __init__(self, topic: str, index: int, memory: Memory, *, expires: bool) -> None:
        self.topic = topic
        self.index = index
        self.expires = expires
        self.start = 0
        self.end = 0
        self.deleted = False
        self.waiters: set[Waiter] = set()
        self._memory = memory
        self._bases: list[int] = []
        self._batches: list[bytearray] = []
        self._producers = Producers()
        # By producer id; those that began first come first, so the first holds the stable offset.
        self._open: dict[int, int] = {}
        self._aborted: list[Aborted] = []
        self._gone = 0  # batches dropped whose tokens the memory still has

    @property
    def stable_end(self) -> int:
        """The offset that readers of committed data may read to."""
        return next(iter(self._open.values())) if self._open else self.end

    def append(self, header: Header, batch: bytearray) -> int:
        """Append a produced batch. Returns its base offset, or that of the one it repeats.

        Raises KafkaError when its sequence or epoch is wrong, or when there is no memory left.
        """
        if header.producer_id >= 0:
            repeated = self._producers.check(header)
            if repeated is not None:
                return repeated
        if not self._memory.make_room(len(batch)):
            raise KafkaError(Code.KAFKA_STORAGE_ERROR, "the broker's memory is full")
        base = self._add(batch, header.records)
        if header.producer_id >= 0:
            self._producers.note(header, base)
            if header.transactional:
                self._open.setdefault(header.producer_id, base)
        self.wake()
        return base

    def end_transaction(self, producer_id: int, epoch: int, *, commit: bool, now_ms: int) -> None:
        """Append the marker that ends a producer's transaction; fences its older epochs."""
        if self.deleted:
            return
        at = self._add(batches.marker(producer_id, epoch, commit=commit, now_ms=now_ms), 1)
        self._producers.fence(producer_id, epoch)
        first = self._open.pop(producer_id, None)
        if first is not None and not commit:
            self._aborted.append(Aborted(producer_id, first, at))
        self.wake()

    def read(self, offset: int, *, until: int, max_bytes: int, at_least_one: bool) -> Slice:
        """Read whole batches from the one that holds offset, below until, up to max_bytes.

        at_least_one: give the first batch also when it alone is larger.
        """
        if offset >= until:
            return Slice([], 0, offset)
        bases, kept = self._bases, self._batches
        at = bisect_right(bases, offset) - 1
        parts: list[bytearray] = []
        size = 0
        while at < len(bases) and bases[at] < until:
            batch = kept[at]
            if size + len(batch) > max_bytes and (parts or not at_least_one):
                break
            parts.append(batch)
            size += len(batch)
            at += 1
        return Slice(parts, size, bases[at] if at < len(bases) else self.end)

    def aborted_between(self, offset: int, end: int) -> list[Aborted]:
        """Give the aborted transactions that touch this range of offsets."""
        if not self._aborted:
            return []
        at = bisect_left(self._aborted, offset, key=lambda found: found.marker_offset)
        return [found for found in self._aborted[at:] if found.first_offset < end]

    def first_at_or_after(self, timestamp_ms: int) -> bytearray | None:
        """Give the first batch that holds a record at least as new."""
        for batch in self._batches:
            if batches.max_timestamp(batch) >= timestamp_ms:
                return batch
        return None

    def newest(self) -> bytearray | None:
        """Give the batch that holds the newest record."""
        return max(self._batches, key=batches.max_timestamp, default=None)

    def spent(self) -> bool:
        """Take back one token of a batch that has gone: see Memory."""
        if self.deleted:
            return True
        if self._gone == 0:
            return False
        self._gone -= 1
        return True

    def drop_oldest(self) -> bool:
        """Drop the oldest batch; False when an open transaction still holds it."""
        end = self._bases[1] if len(self._bases) > 1 else self.end
        if end > self.stable_end:
            return False
        self.start = max(self.start, end)
        self._cut(1)
        return True

    def drop_before(self, offset: int) -> bool:
        """Make offset the first one kept; False when it is not there or in an open transaction."""
        if offset > self.stable_end:
            return False
        self.start = max(self.start, offset)
        # A batch goes when the next one begins at or before the start.
        emptied = self.start >= self.end
        count = len(self._bases) if emptied else bisect_right(self._bases, self.start) - 1
        if count > 0:
            self._gone += count
            self._cut(count)
        return True

    def delete(self) -> None:
        """Forget everything: the topic is deleted."""
        self.deleted = True
        self._memory.removed(sum(map(len, self._batches)), len(self._batches))
        self._bases, self._batches, self._aborted = [], [], []
        self._open = {}
        self.wake()

    def wake(self) -> None:
        """Tell those who wait that there is something new."""
        for waiter in self.waiters:
            waiter()

    def _cut(self, count: int) -> None:
        self._memory.removed(sum(map(len, self._batches[:count])), count)
        del self._bases[:count], self._batches[:count]
        over = bisect_left(self._aborted, self.start, key=lambda found: found.marker_offset)
        del self._aborted[:over]

    def _add(self, batch: bytearray, count: int) -> int:
        base = self.end
        batches.place(batch, base)
        self._bases.append(base)
        self._batches.append(batch)
        self.end = base + count
        self._memory.added(self, len(batch))
        return base
