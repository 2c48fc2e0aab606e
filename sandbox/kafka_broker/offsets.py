"""The offsets that a group has committed, and those that wait for their transaction."""

from typing import NamedTuple

MAX_METADATA_BYTES = 4_096  # Kafka's offset.metadata.max.bytes

Place = tuple[str, int]
"""A topic and a partition."""


class Committed(NamedTuple):
    """A committed offset with the client's note beside it."""

    offset: int
    leader_epoch: int
    metadata: str | None


class Offsets:
    """One group's offsets."""

    def __init__(self) -> None:
        self.committed: dict[Place, Committed] = {}
        self._pending: dict[int, dict[Place, Committed]] = {}

    def hold(self, producer_id: int, offsets: dict[Place, Committed]) -> None:
        """Keep offsets until the producer's transaction ends."""
        self._pending.setdefault(producer_id, {}).update(offsets)

    def end_transaction(self, producer_id: int, *, commit: bool) -> None:
        """Make what a producer's transaction holds visible, or drop it."""
        held = self._pending.pop(producer_id, {})
        if commit:
            self.committed.update(held)

    def unstable(self, place: Place) -> bool:
        """Tell whether an open transaction may still change this offset."""
        return any(place in held for held in self._pending.values())

    def forget_topic(self, topic: str) -> None:
        """Drop the offsets of a deleted topic."""
        for offsets in (self.committed, *self._pending.values()):
            for place in [place for place in offsets if place[0] == topic]:
                del offsets[place]
