"""What a partition knows of each producer: enough to refuse gaps and to see repeats.

Source: KIP-98, https://cwiki.apache.org/confluence/x/oA0AB (idempotent producer)
"""

from collections import deque
from typing import NamedTuple

from sandbox.kafka_broker.batches import Header
from sandbox.kafka_broker.errors import Code, KafkaError

REMEMBERED_BATCHES = 5  # as many as a client may have under way
MAX_PRODUCERS = 5_000  # a partition; the one silent for longest is forgotten
_SEQUENCES = 1 << 31


class Appended(NamedTuple):
    """A batch that a producer appended: its sequence numbers and where it lies."""

    first: int
    last: int
    base_offset: int


class _Producer:
    __slots__ = ("epoch", "recent")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.recent: deque[Appended] = deque(maxlen=REMEMBERED_BATCHES)


class Producers:
    """The producers of one partition, by producer id, the one silent for longest first."""

    def __init__(self) -> None:
        self._known: dict[int, _Producer] = {}

    def check(self, header: Header) -> int | None:
        """Check a batch's epoch and sequence. Returns the offset of the batch it repeats, or None.

        Raises KafkaError for an epoch that is over and for a gap.
        """
        known = self._known.get(header.producer_id)
        if known is None:
            return None  # forgotten or new: there is nothing to compare with, as in Kafka
        if header.producer_epoch < known.epoch:
            raise KafkaError(Code.INVALID_PRODUCER_EPOCH, f"epoch {known.epoch} is in use")
        first = header.base_sequence
        if header.producer_epoch > known.epoch:
            if first != 0:
                raise KafkaError(
                    Code.OUT_OF_ORDER_SEQUENCE_NUMBER, f"a new epoch begins at {first}"
                )
            return None
        last = (first + header.last_offset_delta) % _SEQUENCES
        for batch in known.recent:
            if batch.first == first and batch.last == last:
                return batch.base_offset
        if known.recent and first != (known.recent[-1].last + 1) % _SEQUENCES:
            raise KafkaError(
                Code.OUT_OF_ORDER_SEQUENCE_NUMBER, f"{first} after {known.recent[-1].last}"
            )
        return None

    def note(self, header: Header, base_offset: int) -> None:
        """Remember a batch that was appended."""
        known = self._at_epoch(header.producer_id, header.producer_epoch)
        first = header.base_sequence
        last = (first + header.last_offset_delta) % _SEQUENCES
        known.recent.append(Appended(first, last, base_offset))

    def fence(self, producer_id: int, epoch: int) -> None:
        """Remember the epoch of a marker: what is older is refused."""
        self._at_epoch(producer_id, epoch)

    def _at_epoch(self, producer_id: int, epoch: int) -> _Producer:
        known = self._known.pop(producer_id, None)
        if known is None or known.epoch != epoch:
            known = _Producer(epoch)
        self._known[producer_id] = known
        if len(self._known) > MAX_PRODUCERS:
            del self._known[next(iter(self._known))]
        return known
