"""Limits of requests and events: the same in memory and in Redis."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from api.auth.leased_limits import LeasedLimits
from api.auth.limits import Verdict
from schemas.access import Principal
from schemas.tenant import Tenant
from state.errors import StateUnavailableError
from state.event_quotas import EventQuotas, RedisEventQuotas, Taken
from state.memory_limits import MemoryEventQuotas, MemoryRates
from state.rates import Rates
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

NOW_MS = 1_796_000_000_000  # 2026-11-30T00:53:20Z
KEY = Principal("acme", "key", "k1", frozenset())
OTHER_KEY = Principal("acme", "key", "k2", frozenset())
DEVICE = Principal("acme", "device", "d1", frozenset(), user_id="u1", device_id="d1")
RIVAL = Principal("rival", "key", "k1", frozenset())


class Stand:
    """Limits with a clock to move."""

    def __init__(self, rates: Rates, quotas: EventQuotas, **limits: Any) -> None:
        self.now_ms = NOW_MS
        self.rates, self.quotas = rates, quotas
        zone = limits.pop("time_zone", "UTC")
        fields = {"categories": {"news": {}}, "access": {"limits": limits}, "time_zone": zone}
        self.tenants = {
            name: Tenant.model_validate({"name": name, **fields}) for name in ("acme", "rival")
        }
        self.limits = self.process()

    def process(self) -> LeasedLimits:
        """Give one process's view of the same Redis."""

        def now_ms() -> int:
            return self.now_ms

        return LeasedLimits(self.tenants, self.rates, self.quotas, now_ms=now_ms, day_ms=now_ms)

    async def call(self, who: Principal = KEY, limits: LeasedLimits | None = None) -> Verdict:
        used = limits or self.limits
        return used.take(who, 1) or await used.lease(who, 1)

    async def let_in(self, n: int, who: Principal = KEY) -> int:
        """Call n times at once; give how many were let in."""
        verdicts = await asyncio.gather(*(self.call(who) for _ in range(n)))
        return sum(not one.retry_after_s for one in verdicts)


MakeStand = Callable[..., Stand]


@pytest.fixture
def make(stores: Stores) -> MakeStand:
    """Give what makes limits on this store."""
    quotas: EventQuotas = (
        MemoryEventQuotas() if stores.client is None else RedisEventQuotas(stores.client)
    )

    def made(**limits: Any) -> Stand:
        return Stand(stores.rates, quotas, **limits)

    return made


async def test_a_key_has_two_seconds_worth_at_once(make: MakeStand) -> None:
    """And then its rate; a refusal says when to come back."""
    stand = make(key_requests_per_s=5.0)
    assert await stand.let_in(30) == 10
    refused = await stand.call()
    assert refused.retry_after_s == 1
    assert refused.headers["RateLimit-Policy"] == '"key";q=5;w=1, "tenant";q=10000;w=1'
    assert refused.headers["RateLimit"] == '"key";r=0;t=1'
    stand.now_ms += 1_000
    assert await stand.let_in(30) == 5


async def test_a_key_may_have_a_rate_of_its_own(make: MakeStand) -> None:
    """Which says more than the tenant's."""
    stand = make(key_requests_per_s=5.0)
    own = Principal("acme", "key", "own", frozenset(), requests_per_s=1.0)
    assert await stand.let_in(9, own) == 2


async def test_the_tenants_rate_holds_for_all_its_keys_together(make: MakeStand) -> None:
    """Another tenant does not notice."""
    stand = make(requests_per_s=4.0)
    assert await stand.let_in(5) + await stand.let_in(9, OTHER_KEY) == 8
    assert "tenant" in (await stand.call()).why
    assert await stand.let_in(5, RIVAL) == 5


async def test_processes_share_a_rate(make: MakeStand) -> None:
    """Two of them let in what one would."""
    stand = make(key_requests_per_s=5.0)
    other = stand.process()
    verdicts = [await stand.call(limits=one) for _ in range(20) for one in (stand.limits, other)]
    assert sum(not one.retry_after_s for one in verdicts) == 10


async def test_a_slow_rate_says_how_long_to_wait(make: MakeStand) -> None:
    """One request in 100 seconds, told in whole numbers."""
    stand = make(key_requests_per_s=0.01)
    assert await stand.let_in(3) == 1
    stand.now_ms += 40_000
    refused = await stand.call()
    assert (await stand.call()).headers["RateLimit-Policy"].startswith('"key";q=1;w=100, ')
    assert refused.retry_after_s == 60
    stand.now_ms += 60_000
    assert await stand.let_in(3) == 1


async def test_what_is_left_is_told(make: MakeStand) -> None:
    """Of the burst, as far as this process knows."""
    stand = make(key_requests_per_s=5.0)
    assert (await stand.call()).headers["RateLimit"] == '"key";r=9;t=1'
    assert (await stand.call()).headers["RateLimit"] == '"key";r=8;t=1'


async def test_a_device_has_a_rate_in_each_process(make: MakeStand) -> None:
    """Another device has its own."""
    stand = make(device_requests_per_s=3.0)
    assert await stand.let_in(20, DEVICE) == 6
    refused = await stand.call(DEVICE)
    assert refused.headers["RateLimit"] == '"device";r=0;t=1'
    other = Principal("acme", "device", "d2", frozenset(), user_id="u2", device_id="d2")
    assert await stand.let_in(2, other) == 2


async def test_a_lease_spares_redis_the_next_requests(make: MakeStand) -> None:
    """A thousand requests one after the other take a few leases."""
    stand, asked = make(), list[int]()
    lease = stand.rates.lease

    class Counted(MemoryRates):
        def lease(self, key: str, rate_per_s: float, want: int, lease_ms: int, now_ms: int) -> int:
            asked.append(want)
            return lease(key, rate_per_s, want, lease_ms, now_ms)

    stand.rates = Counted()
    limits = stand.process()
    for _ in range(1_000):
        assert not (await stand.call(limits=limits)).retry_after_s
    assert len(asked) < 40


class Away:
    """Stores that do not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def lease(self, *_args: object) -> int:
        self.asked += 1
        raise StateUnavailableError("asking", "redis", TimeoutError())

    def take(self, _t: str, _d: str, _c: Sequence[tuple[str, int]], _n: int) -> Taken:
        self.asked += 1
        raise StateUnavailableError("asking", "redis", TimeoutError())


async def test_everybody_may_while_redis_is_away() -> None:
    """It is asked once a second, and nothing is owed afterwards."""
    away: Any = Away()
    stand = Stand(away, away, key_requests_per_s=5.0, events_per_day=1)
    assert await stand.let_in(50) == 50
    assert not (await stand.limits.take_events(KEY, 5)).retry_after_s
    assert away.asked == 1
    stand.now_ms += 1_000
    assert await stand.let_in(1) == 1
    assert away.asked == 2
    away.lease = MemoryRates().lease
    stand.now_ms += 1_000
    assert await stand.let_in(30) == 10


async def test_events_of_a_batch_are_counted_whole(make: MakeStand) -> None:
    """All or none, by the tenant's quota and the key's."""
    limits = make(events_per_day=100, key_events_per_day=60).limits
    first = await limits.take_events(KEY, 50)
    policy = '"tenant-day";q=100;w=86400, "key-day";q=60;w=86400'
    assert first.headers["RateLimit-Policy"] == policy
    assert first.headers["RateLimit"] == '"key-day";r=10;t=83200'
    refused = await limits.take_events(KEY, 11)
    assert refused.retry_after_s == 83_200
    assert refused.why == "the key's quota of the day: 10 of 60 events are left today"
    assert not (await limits.take_events(OTHER_KEY, 50)).retry_after_s
    assert "tenant's quota" in (await limits.take_events(OTHER_KEY, 1)).why
    assert not (await limits.take_events(RIVAL, 60)).retry_after_s


async def test_a_key_may_have_a_quota_of_its_own(make: MakeStand) -> None:
    """It holds also where the tenant says nothing."""
    own = Principal("acme", "key", "own", frozenset(), events_per_day=3)
    limits = make().limits
    assert not (await limits.take_events(own, 3)).retry_after_s
    assert (await limits.take_events(own, 1)).retry_after_s


async def test_a_day_is_one_of_the_tenants_time_zone(make: MakeStand) -> None:
    """Midnight in New York, not in Greenwich."""
    stand = make(events_per_day=5, time_zone="America/New_York")
    assert not (await stand.limits.take_events(KEY, 5)).retry_after_s
    wait_s = (await stand.limits.take_events(KEY, 1)).retry_after_s
    assert wait_s == (5 * 3_600 - 3_200)
    stand.now_ms += wait_s * 1_000
    assert not (await stand.limits.take_events(KEY, 5)).retry_after_s


async def test_no_quota_costs_nothing() -> None:
    """Redis is not asked, and no header is sent."""
    away: Any = Away()
    assert await Stand(away, away).limits.take_events(KEY, 10_000) == Verdict({})
    assert away.asked == 0
