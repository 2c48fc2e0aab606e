"""The bound on what the broker keeps: the oldest batches go when it is reached."""

import logging
from collections import deque
from typing import Protocol

BATCH_OVERHEAD_BYTES = 200  # of Python's objects and of the index
_SPARE_TOKENS = 10_000

logger = logging.getLogger(__name__)


class Shrinkable(Protocol):
    """What holds batches in order: a partition."""

    @property
    def expires(self) -> bool:
        """Whether old batches may be dropped: not those of compacted topics."""
        ...

    def spent(self) -> bool:
        """Take back one token whose batch has gone otherwise; False when there is none."""
        ...

    def drop_oldest(self) -> bool:
        """Drop the oldest batch; False when an open transaction still holds it."""
        ...


class Memory:
    """Counts the bytes of all batches and makes room for more.

    limit_bytes: of all topics together. dropped: batches given up so far.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.dropped = 0
        self._batches = 0
        # A token for each batch that may be dropped, in order of arrival. A partition drops from
        # its front, so a token need not say which batch it stands for.
        self._tokens: deque[Shrinkable] = deque()

    def added(self, holder: Shrinkable, size_bytes: int) -> None:
        """Count a batch."""
        self.used_bytes += size_bytes + BATCH_OVERHEAD_BYTES
        self._batches += 1
        if holder.expires:
            self._tokens.append(holder)
            if len(self._tokens) > 2 * self._batches + _SPARE_TOKENS:
                self._tokens = deque(each for each in self._tokens if not each.spent())

    def removed(self, size_bytes: int, batches: int) -> None:
        """Discount batches."""
        self.used_bytes -= size_bytes + batches * BATCH_OVERHEAD_BYTES
        self._batches -= batches

    def make_room(self, size_bytes: int) -> bool:
        """Drop the oldest batches until this much more fits; False when it cannot be."""
        target = self.limit_bytes - size_bytes - BATCH_OVERHEAD_BYTES
        if self.used_bytes <= target:
            return True
        for _ in range(len(self._tokens)):
            holder = self._tokens.popleft()
            if holder.spent():
                continue
            if holder.drop_oldest():
                self._note_dropped()
            else:
                self._tokens.append(holder)
            if self.used_bytes <= target:
                return True
        return False

    def _note_dropped(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            logger.warning(
                "memory is full (%d MiB): from now on the oldest records are dropped",
                self.limit_bytes >> 20,
            )
