"""Rates of tenants, platforms and regions: what is over them waits its turn."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from operators.ids import attempt_id, trace_id_of
from operators.seen import until
from operators.work import Decided
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Outcome, Priority, Timer
from schemas.tenant import Tenant
from schemas.topics import DELIVERIES

PLACES_KEPT = 50_000
"""More than an epoch holds back: what may have to be done again."""

_encode = msgspec.msgpack.Encoder().encode


class Leases(Protocol):
    """Leased shares of rates that all processes draw on."""

    def take(self, key: str, rate_per_s: float, n: int, now_ms: int) -> int:
        """Take up to n; how many were granted."""
        ...


class Pace:
    """Holds deliveries that are over a rate of their tenant, in timers spread at that rate.

    What is over a rate stands in line behind what was held before, a line for each priority, so
    that bulk delays nothing but bulk; while a line is not empty, its priority joins it. The timers
    put deliveries straight on their topic: a place in the line is the permission to go. Who would
    expire in the line ends at once. A critical message is counted but never held.

    The lines are this process's own: processes that hold at once drain side by side. An epoch that
    is done again finds the places that it took, and takes no others.
    """

    def __init__(self, tenants: Mapping[str, Tenant], leases: Leases) -> None:
        self._tenants = tenants
        self._leases = leases
        self._line_ends_ms: dict[tuple[str, Priority], float] = {}
        self._places: OrderedDict[str, tuple[int, Reason]] = OrderedDict()
        self._limited = {
            name
            for name, tenant in tenants.items()
            if tenant.rates.per_second is not None
            or any(rate is not None for rate in dict(tenant.rates.platforms).values())
            or tenant.rates.regions
        }

    def __call__(self, deliveries: list[Delivery], now_ms: int) -> Decided:
        """No call per message: each rate is asked once per batch, from a local lease."""
        if not self._limited:
            return deliveries, []
        going = [d for d in deliveries if d.tenant not in self._limited]
        outs: list[object] = []
        groups: dict[tuple[str, str, str], list[Delivery]] = {}
        for delivery in deliveries:
            if delivery.tenant not in self._limited:
                continue
            if place := self._places.get(delivery.delivery_id):
                due_at_ms, reason = place
                if due_at_ms > now_ms:
                    outs += held_delivery(delivery, due_at_ms, now_ms, reason)
                else:  # its turn has come meanwhile
                    going.append(delivery)
            else:
                where = (delivery.tenant, delivery.platform, delivery.region)
                groups.setdefault(where, []).append(delivery)
        for (tenant, platform, region), group in groups.items():
            rates = self._tenants[tenant].rates
            of_region = rates.regions.get(region)
            kept = group
            for limit in (
                _Limit(f"{tenant}/all", rates.per_second, Reason.TENANT_RATE),
                _Limit(
                    platform_rate_key(tenant, platform),
                    rates.of(group[0].platform),
                    Reason.PLATFORM_RATE,
                ),
                _Limit(
                    f"{tenant}/region/{region}",
                    of_region.per_second if of_region is not None else None,
                    Reason.REGION_RATE,
                ),
            ):
                kept, held = self._within(limit, kept, now_ms)
                outs += held
            going += kept
        return going, outs

    def _within(
        self, limit: "_Limit", group: list[Delivery], now_ms: int
    ) -> tuple[list[Delivery], list[object]]:
        rate_per_s = limit.rate_per_s
        if rate_per_s is None or not group:
            return group, []
        in_line = {p for p in Priority if self._line_ends_ms.get((limit.key, p), 0) > now_ms}
        asking = [d for d in group if d.priority not in in_line]
        asking.sort(key=_urgency)
        urgent = sum(d.priority is Priority.CRITICAL for d in asking)
        granted = urgent
        if asking:
            granted = max(urgent, self._leases.take(limit.key, rate_per_s, len(asking), now_ms))
        joining = [d for d in group if d.priority in in_line] if in_line else []
        held: list[object] = []
        for delivery in (*asking[granted:], *joining):
            held += self._hold(delivery, limit, rate_per_s, now_ms)
        return asking[:granted], held

    def _hold(
        self, delivery: Delivery, limit: "_Limit", rate_per_s: float, now_ms: int
    ) -> list[object]:
        line = (limit.key, delivery.priority)
        place_ms = max(now_ms, self._line_ends_ms.get(line, 0)) + 1_000 / rate_per_s
        due_at_ms = int(place_ms) + 1
        if delivery.expires_at_ms and delivery.expires_at_ms <= due_at_ms:
            return [decided(delivery, now_ms, Status.EXPIRED, Reason.TTL_EXPIRED)]
        self._line_ends_ms[line] = place_ms
        self._places[delivery.delivery_id] = (due_at_ms, limit.reason)
        if len(self._places) > PLACES_KEPT:
            self._places.popitem(last=False)
        return held_delivery(delivery, due_at_ms, now_ms, limit.reason)


_URGENCY = {priority: place for place, priority in enumerate(Priority)}


def _urgency(delivery: Delivery) -> int:
    return _URGENCY[delivery.priority]


class _Limit(NamedTuple):
    key: str
    rate_per_s: float | None
    reason: Reason


def held_delivery(delivery: Delivery, due_at_ms: int, now_ms: int, reason: Reason) -> list[object]:
    """Give the timer and the outcome of a delivery that waits for its rate."""
    outcome = decided(delivery, now_ms, Status.DEFERRED, reason, detail=until(due_at_ms))
    later = msgspec.structs.replace(delivery, held=True)
    topic = DELIVERIES[delivery.platform, delivery.priority]
    key = delivery_key(delivery)
    return [Timer(outcome.outcome_id, due_at_ms, topic, key, _encode(later)), outcome]


def decided(
    delivery: Delivery, now_ms: int, status: Status, reason: Reason, *, detail: str = ""
) -> Outcome:
    """Make the outcome of a decision about a delivery before it was sent."""
    return Outcome(
        outcome_id=attempt_id(delivery.delivery_id, delivery.attempt, reason),
        occurred_at_ms=now_ms,
        tenant=delivery.tenant,
        message_id=delivery.message_id,
        status=status,
        reason=reason,
        priority=delivery.priority,
        user_id=delivery.user_id,
        device_id=delivery.device_id,
        delivery_id=delivery.delivery_id,
        platform=delivery.platform,
        category=delivery.category,
        type=delivery.type,
        campaign_id=delivery.campaign_id,
        detail=detail,
        trace_id=trace_id_of(delivery.traceparent),
        sandbox=delivery.sandbox,
        created_at_ms=delivery.created_at_ms,
        variant=delivery.variant,
    )


def platform_rate_key(tenant: str, platform: str) -> str:
    """Name a tenant's rate to a platform, which route leases from and deliver slows down."""
    return f"{tenant}/{platform}"


def delivery_key(delivery: Delivery) -> bytes:
    """Give the record key: a user's deliveries stay in order."""
    return f"{delivery.tenant}/{delivery.user_id}".encode()
