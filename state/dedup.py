"""Idempotency keys: who came first."""

from collections.abc import Sequence
from typing import Protocol

from state import keys
from state.redis_client import Call, RedisClient, Script, batches, spread


class Dedup(Protocol):
    """First sights of idempotency keys, for a while."""

    def seen_many(
        self,
        idempotency_keys: Sequence[tuple[str, str]],
        coordinates: Sequence[str],
        ttl_s: int,
    ) -> list[str | None]:
        """Record each (tenant, key) under its coordinates, unless it is recorded.

        Returns None for a first sight and for an event that finds its own coordinates (a replay
        recognises itself), else the coordinates of the first. A key is forgotten ttl_s after its
        first sight. Keys that repeat within the batch count in order.
        O(keys); one round trip, at most 512 keys a script call (clustered: one of 64 slots of a
        tenant). Raises ValueError for ttl_s below 1 or sequences that differ in length,
        StateUnavailableError.
        """
        ...

    def first_many(self, idempotency_keys: Sequence[tuple[str, str]]) -> list[str | None]:
        """Give the coordinates under which each (tenant, key) is recorded, None for none.

        Records nothing. O(keys); one round trip. Raises StateUnavailableError.
        """
        ...


_SEEN = Script(
    "dedup",
    """
local out = {}
local ttl = ARGV[1]
for i, key in ipairs(KEYS) do
  local own = ARGV[i + 1]
  local first = redis.call('SET', key, own, 'NX', 'GET', 'EX', ttl)
  out[i] = first ~= own and first
end
return out
""",
)
_PER_CALL = 512


class RedisDedup:
    """Idempotency keys in Redis; see the port. Stores a hash of each key."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def seen_many(
        self,
        idempotency_keys: Sequence[tuple[str, str]],
        coordinates: Sequence[str],
        ttl_s: int,
    ) -> list[str | None]:
        """See Dedup."""
        check_seen(idempotency_keys, coordinates, ttl_s)
        where = [keys.hashed_key(tenant, "d", key) for tenant, key in idempotency_keys]
        groups = batches(
            [key[: -keys.DIGEST_BYTES] for key in where],
            clustered=self._client.clustered,
            at_most=_PER_CALL,
        )
        calls = [
            Call(_SEEN, [where[i] for i in group], [ttl_s, *(coordinates[i] for i in group)])
            for group in groups
        ]
        found = spread(groups, self._client.call(calls), len(where))
        return [None if first is None else first.decode() for first in found]

    def first_many(self, idempotency_keys: Sequence[tuple[str, str]]) -> list[str | None]:
        """See Dedup."""
        where = [keys.hashed_key(tenant, "d", key) for tenant, key in idempotency_keys]
        found = self._client.get_all(where, [key[: -keys.DIGEST_BYTES] for key in where])
        return [None if first is None else first.decode() for first in found]


def check_seen(
    idempotency_keys: Sequence[tuple[str, str]], coordinates: Sequence[str], ttl_s: int
) -> None:
    """Raise ValueError for arguments that seen_many cannot take."""
    if len(idempotency_keys) != len(coordinates):
        raise ValueError(f"{len(idempotency_keys)} keys with {len(coordinates)} coordinates")
    if ttl_s < 1:
        raise ValueError(f"ttl_s must be at least 1, not {ttl_s}")
