"""Tenant and platform rates: what is over them waits its turn."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from operators.ids import attempt_id, trace_id_of
from operators.work import Decided
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Outcome, Priority, Timer
from schemas.tenant import Tenant
from schemas.topics import DELIVERIES

_encode = msgspec.msgpack.Encoder().encode


class Leases(Protocol):
    """Leased shares of rates that all processes draw on."""

    def take(self, key: str, rate_per_s: float, n: int, now_ms: int) -> int:
        """Take up to n; how many were granted."""
        ...


class Pace:
    """Holds deliveries that are over a rate of their tenant, in timers spread at that rate.

    A critical message is counted but never held. A delivery held once passes the next time, as
    its timer already gave it a place in the line.
    """

    def __init__(self, tenants: Mapping[str, Tenant], leases: Leases) -> None:
        self._tenants = tenants
        self._leases = leases
        self._limited = {
            name
            for name, tenant in tenants.items()
            if tenant.rates.per_second is not None
            or any(rate is not None for rate in dict(tenant.rates.platforms).values())
        }

    def __call__(self, deliveries: list[Delivery], now_ms: int) -> Decided:
        """No call per message: each rate is asked once per batch, from a local lease."""
        if not self._limited:
            return deliveries, []
        going = [d for d in deliveries if d.tenant not in self._limited]
        outs: list[object] = []
        groups: dict[tuple[str, str], list[Delivery]] = {}
        for delivery in deliveries:
            if delivery.tenant in self._limited:
                groups.setdefault((delivery.tenant, delivery.platform), []).append(delivery)
        for (tenant, platform), group in groups.items():
            rates = self._tenants[tenant].rates
            kept = group
            for limit in (
                _Limit(f"{tenant}/all", rates.per_second, Reason.TENANT_RATE),
                _Limit(f"{tenant}/{platform}", rates.of(group[0].platform), Reason.PLATFORM_RATE),
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
        group.sort(key=lambda d: d.priority is not Priority.CRITICAL)
        urgent = sum(d.priority is Priority.CRITICAL for d in group)
        granted = max(urgent, self._leases.take(limit.key, rate_per_s, len(group), now_ms))
        held: list[object] = []
        for place, delivery in enumerate(group[granted:], start=1):
            due_at_ms = now_ms + int(place * 1_000 / rate_per_s) + 1
            held += held_delivery(delivery, due_at_ms, now_ms, limit.reason)
        return group[:granted], held


class _Limit(NamedTuple):
    key: str
    rate_per_s: float | None
    reason: Reason


def held_delivery(delivery: Delivery, due_at_ms: int, now_ms: int, reason: Reason) -> list[object]:
    """Give the timer and the outcome of a delivery that waits for its rate."""
    topic = DELIVERIES[delivery.platform, delivery.priority]
    later = msgspec.structs.replace(delivery, held=True)
    timer_id = attempt_id(delivery.delivery_id, delivery.attempt, reason)
    outcome = Outcome(
        outcome_id=timer_id,
        occurred_at_ms=now_ms,
        tenant=delivery.tenant,
        message_id=delivery.message_id,
        status=Status.DEFERRED,
        reason=reason,
        priority=delivery.priority,
        user_id=delivery.user_id,
        device_id=delivery.device_id,
        delivery_id=delivery.delivery_id,
        platform=delivery.platform,
        category=delivery.category,
        type=delivery.type,
        campaign_id=delivery.campaign_id,
        trace_id=trace_id_of(delivery.traceparent),
        sandbox=delivery.sandbox,
        created_at_ms=delivery.created_at_ms,
    )
    key = delivery_key(delivery)
    return [Timer(timer_id, due_at_ms, topic, key, _encode(later)), outcome]


def delivery_key(delivery: Delivery) -> bytes:
    """Give the record key: a user's deliveries stay in order."""
    return f"{delivery.tenant}/{delivery.user_id}".encode()
