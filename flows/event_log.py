"""Events of a stretch of time in the order in which Kafka took them, beside the live flows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # public, but not listed

from flows.registry_log import Part, RegistryLog
from schemas.stream import Message


class EventLog(RegistryLog):
    """Records of some topics from one time to another, by Kafka's time (epoch ms)."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings, group="clarion-backtest")

    def between(
        self, topics: Sequence[str], from_ms: int, to_ms: int, *, batch: int
    ) -> Iterator[list[Message]]:
        """Read them, `batch` at a time. Raises as open() and read()."""
        self.open(topics)
        latest = self.ends()
        ends = self._from(to_ms, latest)
        self.at = self._from(from_ms, latest)
        for messages in self.read(topics, ends, batch=batch):
            # A broker may answer with the start of a batch that began earlier.
            yield [one for one in messages if from_ms <= one.timestamp()[1] < to_ms]

    def _from(self, at_ms: int, latest: Mapping[Part, int]) -> dict[Part, int]:
        """Give the first offsets at or after a time; the ends where there is none yet."""
        found = self._offsets(OffsetSpec.for_timestamp(at_ms))
        return {
            part: min(offset, latest[part]) if offset >= 0 else latest[part]
            for part, offset in found.items()
        }
