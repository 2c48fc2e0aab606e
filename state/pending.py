"""What was said about users lately, for those who say the next thing before the registry is done.

A record is on Kafka a moment before the profile has it. Who changes a part of it starts from here,
so that changes that follow each other closely all count.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from state import keys
from state.redis_client import Call, RedisClient, Script, batches, spread

KEEP_MS = 60_000
"""The registry is far quicker; when it is behind for longer, a change starts from the profile."""


class Pending(NamedTuple):
    """The newest record of a user. at_ms: what it gives as its time. raw: b"" for a tombstone."""

    at_ms: int
    raw: bytes


Swap = tuple[Pending | None, Pending]
"""What is expected to be there, and what is to take its place."""


class PendingRecords(Protocol):
    """Newest records by user, for KEEP_MS each. kind: which of a user's records.

    Every method costs O(users) in one round trip and raises StateUnavailableError.
    """

    def get_many(
        self, tenant: str, shards: int, kind: str, user_ids: Sequence[str]
    ) -> list[Pending | None]:
        """Give each user's, in the order asked."""
        ...

    def swap_many(
        self, tenant: str, shards: int, kind: str, swaps: Mapping[str, Swap]
    ) -> list[bool]:
        """Put each in its place, unless it is not as expected any more; True where it was."""
        ...


_SWAP = Script(
    "pending compare-and-set",
    """
local out = {}
for i, key in ipairs(KEYS) do
  if (redis.call('GET', key) or '') == ARGV[2 * i] then
    redis.call('SET', key, ARGV[2 * i + 1], 'PX', ARGV[1])
    out[i] = 1
  else
    out[i] = 0
  end
end
return out
""",
)
_PER_CALL = 256
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, bytes]).decode


class RedisPending:
    """Newest records in Redis, beside the profiles; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def get_many(
        self, tenant: str, shards: int, kind: str, user_ids: Sequence[str]
    ) -> list[Pending | None]:
        """See PendingRecords."""
        tags = keys.shards_of(user_ids, shards)
        where = _keys(tenant, kind, user_ids, tags)
        blobs = self._client.get_all(where, tags)
        return [None if blob is None else Pending(*_decode(blob)) for blob in blobs]

    def swap_many(
        self, tenant: str, shards: int, kind: str, swaps: Mapping[str, Swap]
    ) -> list[bool]:
        """See PendingRecords."""
        users, wanted = list(swaps), list(swaps.values())
        tags = keys.shards_of(users, shards)
        where = _keys(tenant, kind, users, tags)
        groups = batches(tags, clustered=self._client.clustered, at_most=_PER_CALL)
        calls = [
            Call(
                _SWAP,
                [where[i] for i in group],
                [KEEP_MS, *(_packed(part) for i in group for part in wanted[i])],
            )
            for group in groups
        ]
        return [one == 1 for one in spread(groups, self._client.call(calls), len(users))]


class MemoryPending:
    """Newest records in a dict, which forgets none; see the port."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str, str], Pending] = {}

    def get_many(
        self, tenant: str, shards: int, kind: str, user_ids: Sequence[str]
    ) -> list[Pending | None]:
        """See PendingRecords."""
        del shards
        return [self._stored.get((tenant, kind, user)) for user in user_ids]

    def swap_many(
        self, tenant: str, shards: int, kind: str, swaps: Mapping[str, Swap]
    ) -> list[bool]:
        """See PendingRecords."""
        found = self.get_many(tenant, shards, kind, list(swaps))
        answers = []
        for (user, (old, new)), stored in zip(swaps.items(), found, strict=True):
            answers.append(stored == old)
            if stored == old:
                self._stored[tenant, kind, user] = new
        return answers


def _keys(tenant: str, kind: str, users: Sequence[str], tags: Sequence[int]) -> list[str]:
    return [
        keys.pending_key(keys.shard_tag(tenant, tag), kind, user)
        for user, tag in zip(users, tags, strict=True)
    ]


def _packed(one: Pending | None) -> bytes:
    return b"" if one is None else _encode(one)
