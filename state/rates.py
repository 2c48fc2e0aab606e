"""Shared rates: a token bucket in Redis, leased in slices, so that no message costs a call."""

from collections.abc import Sequence
from math import ceil
from typing import Any, Protocol

import msgspec

from state.keys import rate_key
from state.redis_client import Call, RedisClient, Script

MAX_SKEW_MS = 5_000
"""A clock further ahead than this is not believed for longer than one call."""
SLOWEST = 1 / 64
"""What providers' refusals can shrink a rate to, as a share of it."""
RECOVERY_MS = 60_000
"""How long a rate takes to grow back from nothing to full."""
SHRINK_EVERY_MS = 1_000
"""Refusals within this time count as one: they were all in flight at once."""
LONGEST_HOLD_MS = 3_600_000
"""A provider's wish to wait is followed up to this long."""


class Rates(Protocol):
    """Rates that all processes share. A key names what is limited, such as acme/apns/app."""

    def lease(self, key: str, rate_per_s: float, want: int, lease_ms: int, now_ms: int) -> int:
        """Take up to `want` messages from the key's bucket; how many may be sent.

        The bucket fills at rate_per_s and holds two slices (a slice is rate_per_s * lease_ms),
        at least one message; it starts full. One grant is at most half of what it holds, rounded
        up: so a single process gets the full rate, and several that ask in turn share it. Over
        any time, grants are at most rate * time + two slices.

        Processes' clocks may differ: time never runs backwards here.
        O(1); one round trip. A repeat after a lost answer takes twice: fewer are sent, never
        more. Raises ValueError for rate_per_s or lease_ms not above 0, StateUnavailableError.
        """
        ...

    def shares(self, keys: Sequence[str], now_ms: int) -> list[float]:
        """Give what share of its rate each key has now: 1 unless it was slowed down.

        O(keys); one round trip; changes nothing. Raises StateUnavailableError.
        """
        ...

    def slow_down(self, key: str, retry_after_ms: int, now_ms: int) -> None:
        """Halve the rate and grant nothing for retry_after_ms: a provider answered "too fast".

        The wait is followed for at most LONGEST_HOLD_MS. Refusals within SHRINK_EVERY_MS halve
        once; never below SLOWEST of the rate, which grows back to full in RECOVERY_MS at most.
        O(1); one round trip; may be repeated. Raises StateUnavailableError.
        """
        ...


# A bucket is {tokens or -1 before the first lease, filled to (ms), share of the rate, share as of
# (ms), held until (ms)}. It lives until a new one, full and unheld, would be just the same.
_OPEN = (
    f"local MAX_SKEW, RECOVERY = {MAX_SKEW_MS}, {RECOVERY_MS}\n"
    f"local SLOWEST, SHRINK_EVERY = {SLOWEST}, {SHRINK_EVERY_MS}\n"
    """
local stored = redis.call('GET', KEYS[1])
local now = tonumber(ARGV[1])
local bucket = stored and cmsgpack.unpack(stored) or {-1, now, 1, now, 0}
if bucket[2] > now and bucket[2] - now <= MAX_SKEW then now = bucket[2] end
local share = math.min(1, bucket[3] + math.max(0, now - bucket[4]) / RECOVERY)
local function keep(ms)
  local left = math.max(ms, RECOVERY, bucket[5] - now, redis.call('PTTL', KEYS[1]))
  redis.call('SET', KEYS[1], cmsgpack.pack(bucket), 'PX', math.ceil(left))
end
"""
)
_LEASE = Script(
    "rate lease",
    _OPEN
    + """
local rate_per_ms, want, lease = ARGV[2] / 1000 * share, tonumber(ARGV[3]), tonumber(ARGV[4])
local most = math.max(1, 2 * rate_per_ms * lease)
if bucket[1] < 0 then bucket[1] = most end
local tokens = math.min(most, bucket[1] + math.max(0, now - bucket[2]) * rate_per_ms)
local granted = 0
if now >= bucket[5] then
  granted = math.max(0, math.min(want, math.floor(tokens), math.ceil(tokens / 2)))
end
bucket[1], bucket[2] = tokens - granted, now
keep(most / rate_per_ms)
return granted
""",
)
_SLOW_DOWN = Script(
    "rate slow-down",
    _OPEN
    + """
if bucket[3] >= 1 or now - bucket[4] >= SHRINK_EVERY then
  bucket[3], bucket[4] = math.max(SLOWEST, share / 2), now
end
bucket[5] = math.max(bucket[5], now + tonumber(ARGV[2]))
keep(0)
return 1
""",
)


class RedisRates:
    """Token buckets in Redis, one key each; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def lease(self, key: str, rate_per_s: float, want: int, lease_ms: int, now_ms: int) -> int:
        """See Rates."""
        check_lease(rate_per_s, lease_ms)
        args = (now_ms, float(rate_per_s), want, lease_ms)
        granted: int = self._client.call([Call(_LEASE, [rate_key(key)], args)])[0]
        return granted

    def shares(self, keys: Sequence[str], now_ms: int) -> list[float]:
        """See Rates."""
        where = [rate_key(key) for key in keys]
        found = self._client.get_all(where, where)
        return [1.0 if blob is None else _share_of(_read(blob), now_ms) for blob in found]

    def slow_down(self, key: str, retry_after_ms: int, now_ms: int) -> None:
        """See Rates."""
        hold_ms = min(max(0, retry_after_ms), LONGEST_HOLD_MS)
        self._client.call([Call(_SLOW_DOWN, [rate_key(key)], (now_ms, hold_ms))])


_read = msgspec.msgpack.Decoder(tuple[float, float, float, float, float]).decode


def _share_of(bucket: tuple[float, float, float, float, float], now_ms: int) -> float:
    """As the scripts do: {tokens, filled to, share, share as of, held until}."""
    return min(1.0, bucket[2] + max(0.0, now_ms - bucket[3]) / RECOVERY_MS)


def check_lease(rate_per_s: float, lease_ms: int) -> None:
    """Raise ValueError for a rate or lease that is not above 0."""
    if not rate_per_s > 0 or not lease_ms > 0:
        raise ValueError(f"rate_per_s {rate_per_s} and lease_ms {lease_ms} must be above 0")


class _Slice:
    """What this process holds of one rate. demand: asked for since it began."""

    __slots__ = ("began_ms", "demand", "is_dry", "left")

    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self.left = 0
        self.demand = 0
        self.is_dry = False


class Leases:
    """Slices of shared rates, held locally: a call to Redis about once per lease_ms and key.

    A slice is as large as what was asked for in the one before, at most rate * lease_ms, unless
    one take asks for more. What is left of it when it ends is lost, so an idle process keeps
    nothing. Once the bucket gave less than asked, it is not asked again until the slice ends.
    max_keys bounds the memory: the rate unused longest is forgotten. For one thread.
    """

    def __init__(self, rates: Rates, *, lease_ms: int = 100, max_keys: int = 10_000) -> None:
        self._rates = rates
        self._lease_ms = lease_ms
        self._max_keys = max_keys
        self._slices: dict[str, _Slice] = {}
        self._slowed: dict[str, tuple[int, int]] = {}

    def take(self, key: str, rate_per_s: float, n: int, now_ms: int) -> int:
        """Give how many of n messages may be sent now. O(1); seldom a round trip.

        Raises ValueError as Rates.lease, StateUnavailableError.
        """
        held = self._slices.get(key)
        if held is None or not 0 <= now_ms - held.began_ms < self._lease_ms:
            before = 0 if held is None else held.demand
            held = self._begin(key, now_ms)
            self._fill(held, key, rate_per_s, max(n, before), now_ms)
            held.demand = n
        else:
            held.demand += n
            if held.left < n:
                self._fill(held, key, rate_per_s, max(n, held.demand), now_ms)
        granted = min(n, held.left)
        held.left -= granted
        return granted

    def slow_down(self, key: str, retry_after_ms: int, now_ms: int) -> None:
        """As Rates.slow_down; gives up the slice. Answers in flight together make one call."""
        held = self._begin(key, now_ms)
        held.is_dry = True
        at_ms, until_ms = self._slowed.get(key, (-SHRINK_EVERY_MS, 0))
        if now_ms - at_ms < SHRINK_EVERY_MS and now_ms + retry_after_ms <= until_ms:
            return
        self._rates.slow_down(key, retry_after_ms, now_ms)
        self._slowed.pop(key, None)
        self._slowed[key] = (now_ms, now_ms + max(retry_after_ms, SHRINK_EVERY_MS))
        _bound(self._slowed, self._max_keys)

    def _begin(self, key: str, now_ms: int) -> _Slice:
        self._slices.pop(key, None)
        held = self._slices[key] = _Slice(now_ms)
        _bound(self._slices, self._max_keys)
        return held

    def _fill(self, held: _Slice, key: str, rate_per_s: float, demand: int, now_ms: int) -> None:
        """Lease what the demand needs beyond what is left, if there may be any."""
        if held.is_dry:
            return
        whole = ceil(rate_per_s * self._lease_ms / 1000)
        want = min(demand, whole) - held.left
        if want <= 0:
            held.is_dry = True
            return
        granted = self._rates.lease(key, rate_per_s, want, self._lease_ms, now_ms)
        held.left += granted
        held.is_dry = granted < want


def _bound(kept: dict[str, Any], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
