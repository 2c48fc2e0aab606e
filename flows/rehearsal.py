"""An event rehearsed: route's own steps on live state, with nothing sent and nothing changed."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from flows.route_steps import RoutePorts, at_once, route_steps, run_steps
from operators.hooks import NoHooks
from operators.work import CHUNK_USERS, Outbound
from schemas.content import DevicesAudience
from schemas.events import Event
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Outcome, Timer
from schemas.stream import Source
from schemas.tenant import Tenant
from schemas.topics import CHUNKS, EVENTS
from state.read_only import (
    NoGatherings,
    NoProgress,
    ReadOnlyCaps,
    ReadOnlyDedup,
    ReadOnlyQuotas,
    UnboundedLeases,
)

MAX_EXAMPLES = 5
_CHUNK_TOPICS = frozenset(CHUNKS.values())
_encode = msgspec.msgpack.Encoder().encode


class Rehearsed(msgspec.Struct, frozen=True):
    """A record that never was on Kafka, as a Kafka client would hand it out."""

    at: Source
    raw: bytes
    at_ms: int

    def topic(self) -> str:
        """See Message."""
        return self.at.topic

    def partition(self) -> int:
        """See Message."""
        return self.at.partition

    def offset(self) -> int:
        """See Message."""
        return self.at.offset

    def key(self) -> bytes | None:
        """See Message."""
        return None

    def value(self) -> bytes | None:
        """See Message."""
        return self.raw

    def timestamp(self) -> tuple[int, int]:
        """See Message."""
        return 1, self.at_ms


class Tally(msgspec.Struct):
    """How often something was decided. example: a user, with what was seen."""

    status: Status
    reason: Reason
    decisions: int = 0
    example_user: str = ""
    example_detail: str = ""


class Reach(msgspec.Struct):
    """What an event would do. at_ms: the time for which it is asked.

    users: looked at. reached: of these, who would get it at once. devices: by platform.
    decided: what else was decided, by status and reason. held: users held until later, by the
    reason, with the first and last time (epoch ms). faults: what went wrong with texts, a few.
    is_whole: all of the audience was looked at. parts: of the audience, done and known of.
    slowest_s: how long the tenant's rates make it take at least.
    """

    message_id: str
    tenant: str
    category: str
    priority: str
    at_ms: int
    users: int = 0
    reached: int = 0
    devices: dict[str, int] = {}
    decided: list[Tally] = []
    held_ms: tuple[int, int] = (0, 0)
    faults: list[str] = []
    is_whole: bool = False
    parts_done: int = 0
    parts_known: int = 0
    slowest_s: float = 0.0


READ = frozenset({"segments", "profiles", "controls", "best_hours", "templates"})
"""Ports whose steps only read them."""
WRITTEN = frozenset({"dedup", "caps", "quotas", "gatherings", "hooks", "leases", "progress"})
"""Ports that read_only() replaces. A new port of route is in one of these two, says a test."""


def read_only(ports: RoutePorts) -> RoutePorts:
    """Give ports that read what these have and write nothing."""
    return replace(
        ports,
        dedup=ReadOnlyDedup(ports.dedup),
        caps=ReadOnlyCaps(ports.caps),
        quotas=ReadOnlyQuotas(ports.quotas),
        gatherings=NoGatherings(),
        hooks=NoHooks(),
        leases=UnboundedLeases(),
        progress=NoProgress(),
    )


class Rehearsal:
    """Runs one event and all that becomes of it through route's steps, part by part.

    ports: read_only() ones. Memory: one part of the audience at a time, and the ids of a shard's
    members; what is left to do are coordinates. An event whose send_at lies ahead is asked about
    for that time, with state as it is now.
    """

    def __init__(
        self, ports: RoutePorts, tenants: Mapping[str, Tenant], *, chunk_users: int = CHUNK_USERS
    ) -> None:
        self._tenants = tenants
        self._steps = route_steps(ports, tenants, submit=at_once, chunk_users=chunk_users)

    def run(self, event: Event, now_ms: int, *, users_limit: int = 0) -> Iterator[Reach]:
        """Give the reach after each part, the whole last. users_limit: stop after so many, 0 never.

        Raises StateError.
        """
        at_ms = max(now_ms, event.send_at_ms)
        reach = Reach(event.id, event.tenant, event.category, event.priority.value, at_ms)
        # Named devices of one user may be in several parts; other audiences name a user once.
        sums = _Sums(reach, keep=isinstance(event.audience, DevicesAudience))
        waiting: list[tuple[str, Any]] = [(EVENTS[event.priority], event.to_json())]
        while waiting and not (users_limit and reach.users >= users_limit):
            topic, value = waiting.pop()
            raw = value if isinstance(value, bytes) else _encode(value)
            record = Rehearsed(Source(topic, -1, reach.parts_done), raw, at_ms)
            deliveries, outs = run_steps(self._steps, [record], at_ms)
            parts = [
                (out.topic, out.value)
                for out in outs
                if type(out) is Outbound and out.topic in _CHUNK_TOPICS
            ]
            waiting += reversed(parts)
            sums.add(deliveries, outs)
            reach.parts_done += 1
            reach.parts_known = reach.parts_done + len(waiting)
            reach.is_whole = not waiting
            reach.slowest_s = self._slowest_s(reach)
            yield reach

    def _slowest_s(self, reach: Reach) -> float:
        tenant = self._tenants.get(reach.tenant)
        if tenant is None:
            return 0.0
        rates = tenant.rates
        asked = [(rates.per_second, sum(reach.devices.values()))]
        asked += [
            (getattr(rates.platforms, platform, None), count)
            for platform, count in reach.devices.items()
        ]
        return round(max((count / rate for rate, count in asked if rate), default=0.0), 1)


class _Sums:
    """Adds up what steps decide. keep: users may be in several parts, so all are remembered."""

    def __init__(self, reach: Reach, *, keep: bool) -> None:
        self._reach = reach
        self._keep = keep
        self._tallies: dict[tuple[Status, Reason], Tally] = {}
        self._seen: set[str] = set()
        self._reached: set[str] = set()

    def add(self, deliveries: list[Delivery], outs: list[Any]) -> None:
        reach, devices = self._reach, self._reach.devices
        reached = {one.user_id for one in deliveries}
        seen = set(reached)
        for one in deliveries:
            devices[one.platform.value] = devices.get(one.platform.value, 0) + 1
        for out in outs:
            if type(out) is Outcome:
                if out.user_id:
                    seen.add(out.user_id)
                self._count(out)
            elif type(out) is Timer:
                first, last = reach.held_ms
                due_ms = out.due_at_ms
                reach.held_ms = (min(first or due_ms, due_ms), max(last, due_ms))
        reach.users += len(seen - self._seen)
        reach.reached += len(reached - self._reached)
        if self._keep:
            self._seen |= seen
            self._reached |= reached

    def _count(self, out: Outcome) -> None:
        tally = self._tallies.get((out.status, out.reason))
        if tally is None:
            tally = Tally(out.status, out.reason, 0, out.user_id, out.detail)
            self._tallies[out.status, out.reason] = tally
            self._reach.decided.append(tally)
        tally.decisions += 1
        if out.reason is Reason.RENDER_ERROR and len(self._reach.faults) < MAX_EXAMPLES:
            fault = f"{out.user_id}: {out.detail}"
            if out.detail not in {one.partition(": ")[2] for one in self._reach.faults}:
                self._reach.faults.append(fault)
