"""How far each partition was handed to a provider, and by whom: what a crash leaves in doubt."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from state import keys
from state.errors import StateError
from state.redis_client import Call, RedisClient, Script


class NotOwnerError(StateError):
    """Another process has claimed the partition since: this one must send nothing more of it."""


class Ledger(Protocol):
    """High-water marks by consumer group, topic and partition. A mark never goes back."""

    def claim(
        self, group: str, topic: str, partitions: Sequence[int], owner: str
    ) -> dict[int, int]:
        """Take partitions over from whoever had them; give their marks, where there are any.

        owner: names this process's life, so a restarted one differs. From now on only it may mark.
        O(partitions); one round trip. May be repeated. Raises StateUnavailableError.
        """
        ...

    def mark(self, group: str, marks: Mapping[tuple[str, int], int], owner: str) -> None:
        """Raise the marks of (topic, partition) to these offsets, where they are lower.

        All or none. A partition that nobody claimed, as after Redis was emptied, becomes the
        owner's. O(marks); one round trip. May be repeated.
        Raises NotOwnerError when another has claimed one of them, StateUnavailableError.
        """
        ...


# A hash has two fields for each partition: its mark, and under the same name with "@" its owner.
_CLAIM = Script(
    "ledger claim",
    """
local marks = {}
for i = 2, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i] .. '@', ARGV[1])
  marks[i - 1] = redis.call('HGET', KEYS[1], ARGV[i])
end
return marks
""",
)
_MARK = Script(
    "ledger mark",
    """
for i = 2, #ARGV, 2 do
  local owner = redis.call('HGET', KEYS[1], ARGV[i] .. '@')
  if owner and owner ~= ARGV[1] then return ARGV[i] end
end
for i = 2, #ARGV, 2 do
  local stored = tonumber(redis.call('HGET', KEYS[1], ARGV[i]))
  if not stored or stored < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1], ARGV[i] .. '@', ARGV[1])
  end
end
return false
""",
)


class RedisLedger:
    """Marks in Redis, one hash a group; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def claim(
        self, group: str, topic: str, partitions: Sequence[int], owner: str
    ) -> dict[int, int]:
        """See Ledger."""
        if not partitions:
            return {}
        fields = [_field(topic, partition) for partition in partitions]
        found = self._client.call([Call(_CLAIM, [keys.ledger_key(group)], [owner, *fields])])[0]
        pairs = zip(partitions, found, strict=True)
        return {partition: int(mark) for partition, mark in pairs if mark is not None}

    def mark(self, group: str, marks: Mapping[tuple[str, int], int], owner: str) -> None:
        """See Ledger."""
        if not marks:
            return
        args = [part for (t, p), offset in marks.items() for part in (_field(t, p), offset)]
        taken = self._client.call([Call(_MARK, [keys.ledger_key(group)], [owner, *args])])[0]
        if taken is not None:
            raise NotOwnerError(f"{taken.decode()} of group {group} was claimed by another process")


def _field(topic: str, partition: int) -> str:
    return f"{topic}:{partition}"
