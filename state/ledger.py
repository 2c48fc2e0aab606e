"""How far each partition was handed to a provider: read once, after an assignment."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from state import keys
from state.redis_client import Call, RedisClient, Script


class Ledger(Protocol):
    """High-water marks by consumer group, topic and partition. A mark never goes back."""

    def mark_many(self, group: str, marks: Mapping[tuple[str, int], int]) -> None:
        """Raise the marks of (topic, partition) to these offsets, where they are lower.

        O(marks); one round trip. May be repeated. Raises StateUnavailableError.
        """
        ...

    def mark(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Raise one mark; as mark_many."""
        ...

    def marks(self, group: str, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Give the marks of these partitions; one without a mark is left out.

        O(partitions); one round trip. Raises StateUnavailableError.
        """
        ...

    def forget(self, group: str, marks: Iterable[tuple[str, int]]) -> None:
        """Drop the marks of (topic, partition), as when a topic was made anew. O(marks)."""
        ...


_MARK = Script(
    "ledger mark",
    """
for i = 1, #ARGV, 2 do
  local stored = tonumber(redis.call('HGET', KEYS[1], ARGV[i]))
  if not stored or stored < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
""",
)


class RedisLedger:
    """Marks in Redis, one hash a group, one field a partition; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def mark_many(self, group: str, marks: Mapping[tuple[str, int], int]) -> None:
        """See Ledger."""
        if not marks:
            return
        args = [part for (t, p), offset in marks.items() for part in (_field(t, p), offset)]
        self._client.call([Call(_MARK, [keys.ledger_key(group)], args)])

    def mark(self, group: str, topic: str, partition: int, offset: int) -> None:
        """See Ledger."""
        self.mark_many(group, {(topic, partition): offset})

    def marks(self, group: str, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """See Ledger."""
        if not partitions:
            return {}
        fields = [_field(topic, partition) for partition in partitions]
        found = self._client.run("HMGET", keys.ledger_key(group), *fields)
        pairs = zip(partitions, found, strict=True)
        return {partition: int(mark) for partition, mark in pairs if mark is not None}

    def forget(self, group: str, marks: Iterable[tuple[str, int]]) -> None:
        """See Ledger."""
        fields = [_field(topic, partition) for topic, partition in marks]
        if fields:
            self._client.run("HDEL", keys.ledger_key(group), *fields)


def _field(topic: str, partition: int) -> str:
    return f"{topic}:{partition}"
