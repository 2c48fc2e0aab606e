"""The bound on what the broker keeps: the oldest batches go when it is reached."""

from collections import deque
from typing import Protocol

BATCH_OVERHEAD_BYTES = 200  # of Python's objects and of the index


class Shrinkable(Protocol):
    """What holds batches: a partition."""

    @property
    def expires(self) -> bool:
        """Whether old batches may be dropped: not for compacted topics."""
        ...

    def drop_batch(self, base_offset: int) -> bool:
        """Drop the batches up to this one; False when an open transaction still holds it."""
        ...


class Memory:
    """Counts the bytes of all batches and makes room for more.

    limit_bytes: of all topics together. dropped: batches given up so far.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.dropped = 0
        self._arrivals: deque[tuple[Shrinkable, int]] = deque()

    def added(self, holder: Shrinkable, base_offset: int, size_bytes: int) -> None:
        """Count a batch."""
        self.used_bytes += size_bytes + BATCH_OVERHEAD_BYTES
        if holder.expires:
            self._arrivals.append((holder, base_offset))

    def removed(self, size_bytes: int, batches: int) -> None:
        """Discount batches."""
        self.used_bytes -= size_bytes + batches * BATCH_OVERHEAD_BYTES

    def make_room(self, size_bytes: int) -> bool:
        """Drop the oldest batches until this much more fits; False when it cannot be."""
        target = self.limit_bytes - size_bytes - BATCH_OVERHEAD_BYTES
        tries = len(self._arrivals)
        while self.used_bytes > target and tries > 0:
            tries -= 1
            holder, base_offset = self._arrivals.popleft()
            if holder.drop_batch(base_offset):
                self.dropped += 1
            else:
                self._arrivals.append((holder, base_offset))
        return self.used_bytes <= target
