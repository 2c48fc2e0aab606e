"""How many events a tenant, and each of its API keys, may send in a day: exact, over processes."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from state.keys import quota_key
from state.quotas import DAY_KEPT_MS
from state.redis_client import Call, RedisClient, Script


class Taken(NamedTuple):
    """What came of taking.

    left: of each counter, afterwards. short: the first counter that had not enough, None for none.
    """

    left: list[int]
    short: int | None


class EventQuotas(Protocol):
    """Counts of events by tenant, day and counter."""

    def take(self, tenant: str, day: str, counters: Sequence[tuple[str, int]], n: int) -> Taken:
        """Take n from each counter, (name, most), or from none of them.

        day: any name of it, such as 2026-01-05. O(counters); one round trip. A repeat after a lost
        answer takes twice: fewer are sent, never more. Raises ValueError for n or most below 0,
        StateUnavailableError.
        """
        ...


_TAKE = Script(
    "event quota",
    """
local n, kept, used, short = tonumber(ARGV[1]), ARGV[2], {}, -1
for i, key in ipairs(KEYS) do
  used[i] = tonumber(redis.call('GET', key) or 0)
  if short < 0 and used[i] + n > tonumber(ARGV[i + 2]) then short = i - 1 end
end
local out = {short}
for i, key in ipairs(KEYS) do
  if short < 0 and n > 0 then
    used[i] = redis.call('INCRBY', key, n)
    redis.call('PEXPIRE', key, kept)
  end
  out[i + 1] = math.max(0, tonumber(ARGV[i + 2]) - used[i])
end
return out
""",
)


class RedisEventQuotas:
    """Counters in Redis, all of a tenant in one slot; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def take(self, tenant: str, day: str, counters: Sequence[tuple[str, int]], n: int) -> Taken:
        """See EventQuotas."""
        check_taking(counters, n)
        where = [quota_key(tenant, f"events:{day}:{name}") for name, _ in counters]
        args = [n, DAY_KEPT_MS, *(most for _, most in counters)]
        short, *left = self._client.call([Call(_TAKE, where, args)])[0]
        return Taken(left, None if short < 0 else short)


def check_taking(counters: Sequence[tuple[str, int]], n: int) -> None:
    """Raise ValueError for what cannot be taken."""
    if n < 0 or any(most < 0 for _, most in counters):
        raise ValueError(f"{n} events and their quotas must not be negative")
