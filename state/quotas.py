"""Daily quotas: at most so many messages of a tenant in a day, all processes together."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

from state.keys import quota_key
from state.redis_client import Call, RedisClient, Script

REMEMBERED_MS = 3_600_000
"""A replay within this time finds what it took before."""
DAY_KEPT_MS = 3 * 86_400_000
"""How long a day's count is kept: no time zone's day is further away, and it serves to look at."""


class DailyQuotas(Protocol):
    """Counts of what tenants sent, by day."""

    def take_many(
        self, tenant: str, day: str, most: int, asked: Sequence[tuple[str, int]], now_ms: int
    ) -> list[int]:
        """Take from the day's quota for each (id, n), in order; how many of n may go.

        day: any name of it, such as 2026-01-05. An id that asks again within REMEMBERED_MS (at
        least; at most twice that) gets what it got, on whatever day, without being counted again;
        one that asks for more than it did gets no more. Later it counts anew: fewer are sent, never
        more. Exact: the sum of what was given on a day is never above `most`, and no less is given
        while it is below. O(asked); one round trip. Raises ValueError for most or n below 0,
        StateUnavailableError.
        """
        ...

    def used(self, tenant: str, day: str) -> int:
        """Give how much of the day's quota was taken. One round trip; changes nothing."""
        ...


_TAKE = Script(
    "daily quota",
    """
local call = redis.call
local day, current, before = KEYS[1], KEYS[2], KEYS[3]
local most, kept, remembered = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local used, taken, out = tonumber(call('GET', day) or 0), 0, {}
for i = 4, #ARGV, 2 do
  local id, n = ARGV[i], tonumber(ARGV[i + 1])
  local known = call('HGET', current, id) or call('HGET', before, id)
  local given
  if known then
    given = math.min(n, tonumber(known))
  else
    given = math.max(0, math.min(n, most - used - taken))
    taken = taken + given
    call('HSET', current, id, given)
  end
  out[#out + 1] = given
end
if taken > 0 then call('SET', day, used + taken, 'PX', kept) end
call('PEXPIRE', current, remembered)
return out
""",
)


class RedisDailyQuotas:
    """Quotas in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def take_many(
        self, tenant: str, day: str, most: int, asked: Sequence[tuple[str, int]], now_ms: int
    ) -> list[int]:
        """See DailyQuotas."""
        check_taking(most, asked)
        if not asked:
            return []
        hour = now_ms // REMEMBERED_MS
        where = [quota_key(tenant, part) for part in (day, f"ids:{hour}", f"ids:{hour - 1}")]
        told = [part for name, n in asked for part in (_hashed(name), n)]
        args = [most, DAY_KEPT_MS, 2 * REMEMBERED_MS, *told]
        given: list[int] = self._client.call([Call(_TAKE, where, args)])[0]
        return given

    def used(self, tenant: str, day: str) -> int:
        """See DailyQuotas."""
        return int(self._client.run("GET", quota_key(tenant, day)) or 0)


def check_taking(most: int, asked: Sequence[tuple[str, int]]) -> None:
    """Raise ValueError for what cannot be taken."""
    if most < 0 or any(n < 0 for _, n in asked):
        raise ValueError(f"quota {most} and what is asked of it must not be negative")


def _hashed(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=12).digest()
