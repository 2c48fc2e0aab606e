"""Limits of requests and events: rates leased from Redis in slices, quotas counted there."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import blake2b
from math import ceil
from typing import Any, NamedTuple, TypeVar

from api.auth.limit_headers import day_policy, headers, rate_policy
from api.auth.limits import Verdict
from api.auth.local_rates import LocalRate
from operators.quiet_hours import zone_of
from schemas import metrics
from schemas.access import Principal
from schemas.tenant import Tenant
from schemas.tenant_access import AccessLimits
from state.errors import StateError
from state.event_quotas import EventQuotas, Taken
from state.rates import Rates

SLICE_MS = 1_000
"""A lease counts for so long; the bucket in Redis holds two of them."""
SHARE = 0.25
"""Of a second's requests: the most that one lease asks for."""
PAUSE_MS = 50
"""After a lease that gave less than it asked for: Redis is not asked by each refused request."""
OPEN_MS = 1_000
"""How long everybody may after Redis did not answer."""
ANSWER_S = 0.25
"""How long a request waits for Redis."""
LEASES_AT_ONCE = 8
MAX_WAITING = 1_000
"""Questions to Redis that wait or are answered; beyond them requests go in without."""
MAX_KEYS = 20_000
"""Rates kept in memory, by kind; the ones unused longest are forgotten."""
MAX_ROUNDS = 20
_SHARED_KINDS = frozenset({"key", "jwt"})
_FREE = Verdict({})
T = TypeVar("T")


class _Slice:
    """What this process holds of one shared rate.

    name: of its policy. left: may be taken now, below 0 after a large cost. asked: since it began,
    and a share of what was asked of the one before.
    paused_ms: until then Redis is not asked. waiting: the costs of those who wait for the lease.
    """

    __slots__ = (
        "asked",
        "began_ms",
        "key",
        "left",
        "name",
        "paused_ms",
        "rate_per_s",
        "seen",
        "under_way",
        "waiting",
    )

    def __init__(self, key: str, name: str, rate_per_s: float, now_ms: int) -> None:
        self.key = key
        self.name = name
        self.rate_per_s = rate_per_s
        self.left = self.asked = self.waiting = 0
        self.began_ms = now_ms
        self.paused_ms = 0
        self.under_way: asyncio.Future[None] | None = None
        # What the bucket would hold if this process were alone with it: a hint for the headers.
        self.seen = LocalRate(rate_per_s, now_ms / 1_000)


class _Rates(NamedTuple):
    """The shared rates that one caller is held to. policies: as headers say them."""

    slices: tuple[_Slice, ...]
    policies: tuple[str, ...]


class LeasedLimits:
    """Rates and quotas of `access.limits`; see RequestLimits.

    A key, a service's subject and the tenant have rates that all processes share. Devices, users
    with tokens of their own and links have one in each process, and count for their tenant's. For
    one event loop. now_ms: the machine's clock, for rates; day_ms: the clock that days go by.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        rates: Rates,
        quotas: EventQuotas,
        *,
        now_ms: Callable[[], int],
        day_ms: Callable[[], int],
    ) -> None:
        self._tenants = tenants
        self._rates = rates
        self._quotas = quotas
        self._now_ms = now_ms
        self._day_ms = day_ms
        self._slices: OrderedDict[str, _Slice] = OrderedDict()
        self._callers: OrderedDict[tuple[str, str, str, float], _Rates] = OrderedDict()
        self._local: OrderedDict[tuple[str, str, str], LocalRate] = OrderedDict()
        self._open_until_ms = 0
        self._waiting = 0
        # Threads of its own: a Redis that hangs holds up nothing else.
        self._threads = ThreadPoolExecutor(LEASES_AT_ONCE, "limits")

    def take(self, principal: Principal, cost: int) -> Verdict | None:
        """See RequestLimits."""
        now_ms = self._now_ms()
        if principal.kind not in _SHARED_KINDS:
            refused = self._refused_here(principal, now_ms)
            if refused is not None:
                return refused
        found = self._rates_of(principal, now_ms)
        if now_ms >= self._open_until_ms:
            for one in found.slices:
                _renew(one, now_ms)
                if one.left <= 0:
                    return self._too_often(one, found) if now_ms < one.paused_ms else None
            for one in found.slices:
                one.left -= cost
                one.asked += cost
        return self._taken(principal, found, cost, now_ms)

    async def lease(self, principal: Principal, cost: int) -> Verdict:
        """See RequestLimits."""
        found = self._rates_of(principal, self._now_ms())
        for _ in range(MAX_ROUNDS):
            verdict = self.take(principal, cost)
            if verdict is not None:
                return verdict
            for one in found.slices:
                if one.left <= 0:
                    await self._leased(one, cost)
        return self._too_often(found.slices[0], found)

    async def take_events(self, principal: Principal, count: int) -> Verdict:
        """See RequestLimits."""
        tenant = self._tenants[principal.tenant]
        limits = tenant.access.limits
        by_key = principal.events_per_day or limits.key_events_per_day
        named = (
            ("tenant-day", "tenant", limits.events_per_day),
            ("key-day", f"{principal.kind} {_short(principal.id)}", by_key),
        )
        counted = [(policy, name, most) for policy, name, most in named if most is not None]
        if not counted or count <= 0:
            return _FREE
        now = datetime.fromtimestamp(self._day_ms() / 1_000, zone_of(tenant.time_zone))
        counters = [(name, most) for _, name, most in counted]
        day = now.date().isoformat()
        taken = await self._asked(
            "quota", lambda: self._quotas.take(tenant.name, day, counters, count)
        )
        return _FREE if taken is None else _quota_verdict(taken, counted, _until_midnight_s(now))

    def _refused_here(self, principal: Principal, now_ms: int) -> Verdict | None:
        """Hold a caller to the rate that this process keeps for it."""
        rate = self._limits(principal).device_requests_per_s
        where = (principal.tenant, principal.kind, principal.id)
        now_s = now_ms / 1_000
        bucket = self._local.get(where)
        if bucket is None:
            bucket = self._local[where] = LocalRate(rate, now_s)
            _bound(self._local)
        else:
            self._local.move_to_end(where)
        if bucket.left(rate, now_s) >= 1:
            return None
        wait_s = bucket.wait_s()
        told = headers([rate_policy("device", rate)], "device", 0, wait_s)
        return Verdict(told, wait_s, "too many requests of this device or user, wait")

    def _taken(self, principal: Principal, found: _Rates, cost: int, now_ms: int) -> Verdict:
        now_s = now_ms / 1_000
        for one in found.slices:
            one.seen.spend(cost)
        if principal.kind not in _SHARED_KINDS:
            where = (principal.tenant, principal.kind, principal.id)
            bucket, rate = self._local[where], self._limits(principal).device_requests_per_s
            bucket.spend(cost)
            name, left = "device", bucket.left(rate, now_s)
        else:
            one = found.slices[0]
            name, left = one.name, one.seen.left(one.rate_per_s, now_s)
        return Verdict(headers(found.policies, name, left, 1))

    def _too_often(self, one: _Slice, found: _Rates) -> Verdict:
        one.seen.left(one.rate_per_s, self._now_ms() / 1_000)
        wait_s = one.seen.wait_s()
        why = f"too many requests of this {one.name}, wait"
        return Verdict(headers(found.policies, one.name, 0, wait_s), wait_s, why)

    def _limits(self, principal: Principal) -> AccessLimits:
        return self._tenants[principal.tenant].access.limits

    def _rates_of(self, principal: Principal, now_ms: int) -> _Rates:
        """Give the rates of a caller, the narrower first."""
        is_shared = principal.kind in _SHARED_KINDS
        who = (principal.kind, principal.id) if is_shared else ("device", "")
        where = (principal.tenant, *who, principal.requests_per_s)
        found = self._callers.get(where)
        if found is None:
            found = self._callers[where] = self._made(principal, now_ms, is_shared=is_shared)
            _bound(self._callers)
        else:
            self._callers.move_to_end(where)
        return found

    def _made(self, principal: Principal, now_ms: int, *, is_shared: bool) -> _Rates:
        limits, tenant = self._limits(principal), principal.tenant
        slices = [self._slice(f"api:{tenant}", "tenant", limits.requests_per_s, now_ms)]
        policies = [rate_policy("tenant", limits.requests_per_s)]
        if is_shared:
            rate = principal.requests_per_s or limits.key_requests_per_s
            key = f"api:{tenant}:{principal.kind}:{_short(principal.id)}"
            slices.insert(0, self._slice(key, "key", rate, now_ms))
            policies.insert(0, rate_policy("key", rate))
        else:
            policies.insert(0, rate_policy("device", limits.device_requests_per_s))
        return _Rates(tuple(slices), tuple(policies))

    def _slice(self, key: str, name: str, rate_per_s: float, now_ms: int) -> _Slice:
        found = self._slices.get(key)
        if found is None:
            found = self._slices[key] = _Slice(key, name, rate_per_s, now_ms)
            _bound(self._slices)
        found.rate_per_s = rate_per_s
        return found

    async def _leased(self, one: _Slice, cost: int) -> None:
        """Wait until this slice was leased anew: one lease at a time, however many wait."""
        one.waiting += cost
        try:
            if one.under_way is None:
                one.under_way = asyncio.ensure_future(self._lease(one))
            await asyncio.shield(one.under_way)
        finally:
            one.waiting -= cost

    async def _lease(self, one: _Slice) -> None:
        try:
            await asyncio.sleep(0)  # those who come in the same round of the loop count, too
            now_ms, rate = self._now_ms(), one.rate_per_s
            most = max(1, ceil(rate * SHARE))
            want = min(max(one.waiting, one.asked), most) - min(0, one.left)
            granted = await self._asked(
                "rate", lambda: self._rates.lease(one.key, rate, want, SLICE_MS, now_ms)
            )
            if granted is None:
                return
            one.left += granted
            if 2 * granted < want:
                one.paused_ms = self._now_ms() + PAUSE_MS
            if not granted:
                one.seen.empty()
        finally:
            one.under_way = None

    async def _asked(self, limit: str, question: Callable[[], T]) -> T | None:
        """Ask Redis in a thread; None when it does not answer, and then everybody may for a while.

        A question that was given up is still asked: what it takes is lost.
        """
        if self._now_ms() < self._open_until_ms:
            return None
        if self._waiting >= MAX_WAITING:
            self._open(limit)
            return None
        self._waiting += 1
        asked = asyncio.get_running_loop().run_in_executor(self._threads, question)
        asked.add_done_callback(self._answered)
        try:
            return await asyncio.wait_for(asyncio.shield(asked), ANSWER_S)
        except (StateError, TimeoutError):
            self._open(limit)
            return None

    def _answered(self, asked: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not asked.cancelled():
            asked.exception()  # tells asyncio that it was seen, should nobody wait any more

    def _open(self, limit: str) -> None:
        metrics.API_LIMITS_OPEN.labels(limit).inc()
        self._open_until_ms = self._now_ms() + OPEN_MS


def _renew(one: _Slice, now_ms: int) -> None:
    """Begin a new slice when this one is over: what is left of it is lost, what is owed is not."""
    if not 0 <= now_ms - one.began_ms < SLICE_MS:
        one.began_ms, one.asked, one.left = now_ms, int(one.asked * SHARE), min(0, one.left)


def _quota_verdict(taken: Taken, counted: list[tuple[str, str, int]], reset_s: int) -> Verdict:
    policies = [day_policy(policy, most) for policy, _, most in counted]
    short = taken.short
    told = taken.left.index(min(taken.left)) if short is None else short
    policy, _, most = counted[told]
    found = headers(policies, policy, taken.left[told], reset_s)
    if short is None:
        return Verdict(found)
    left = f"{taken.left[short]} of {most} events are left today"
    return Verdict(found, reset_s, f"the {policy.partition('-')[0]}'s quota of the day: {left}")


def _until_midnight_s(now: datetime) -> int:
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    # By timestamps: of a day with a change of clocks, the subtraction of local times is wrong.
    return max(1, ceil(midnight.timestamp() - now.timestamp()))


def _short(text: str) -> str:
    """Stand for an id of any characters in a key of Redis."""
    return blake2b(text.encode(), digest_size=12).hexdigest()


def _bound(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > MAX_KEYS:
        kept.popitem(last=False)
