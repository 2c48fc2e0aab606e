"""route's steps from what they ask: the flow, the dry run and the backtest run these same ones."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from flows.route import RouteSteps
from operators.admit import admit
from operators.audience import ExpandAudience
from operators.cap import ApplyCaps, Submit
from operators.cap_channels import ApplyChannelCaps
from operators.decode import Decode
from operators.dedup import DropDuplicates
from operators.digest import CloseDigests
from operators.fan_out import deliveries_of, fan_out
from operators.find_template import FindTemplate, Shelves
from operators.gather import Gather
from operators.hooks import BeforeRouting, HookCaller
from operators.join import JoinProfiles
from operators.local_time import AtLocalTime
from operators.pace import Leases, Pace
from operators.quota import SpendQuota
from operators.recall import Controls, Recall
from operators.schedule import schedule
from operators.work import CHUNK_USERS
from schemas.pipeline import Delivery
from schemas.tenant import Tenant
from sinks.sizes import size_of
from state.best_hours import BestHours
from state.caps import Caps
from state.dedup import Dedup
from state.gatherings import Gatherings
from state.profiles import Profiles
from state.progress import Progress
from state.quotas import DailyQuotas
from state.segments import Segments

CHAIN = tuple(field.name for field in fields(RouteSteps))
"""The steps by name, in the order of the graph."""


@dataclass(frozen=True, kw_only=True)
class RoutePorts:
    """What route's steps ask and write. flows/rehearsal.py has those that write nothing.

    templates: a tenant's published templates by name.
    """

    dedup: Dedup
    segments: Segments
    profiles: Profiles
    caps: Caps
    quotas: DailyQuotas
    gatherings: Gatherings
    leases: Leases
    controls: Controls
    progress: Progress
    best_hours: BestHours
    templates: Shelves
    hooks: HookCaller


def route_steps(
    ports: RoutePorts,
    tenants: Mapping[str, Tenant],
    *,
    submit: Submit,
    chunk_users: int = CHUNK_USERS,
    business_ms: Callable[[int], int] | None = None,
) -> RouteSteps:
    """Make the steps. submit: see ApplyCaps. business_ms: see Decode."""
    caps = ApplyCaps(ports.caps, submit)
    templates = FindTemplate(ports.templates)
    return RouteSteps(
        decode=Decode(tenants, business_ms=business_ms, templates=templates),
        dedup=DropDuplicates(ports.dedup),
        hooks=BeforeRouting(ports.hooks),
        digests=CloseDigests(ports.gatherings, templates),
        schedule=schedule,
        recall=Recall(ports.controls),
        audience=ExpandAudience(ports.segments, ports.progress, chunk_users=chunk_users),
        profiles=JoinProfiles(ports.profiles),
        local_time=AtLocalTime(ports.best_hours),
        admit=admit,
        gather=Gather(ports.gatherings),
        # Redis counts while messages are rendered and addressed.
        ask_caps=caps.ask,
        fan_out=partial(fan_out, size_of=size_of),
        caps=caps.settle,
        channel_caps=ApplyChannelCaps(ports.caps),
        quota=SpendQuota(ports.quotas),
        deliveries=deliveries_of,
        pace=Pace(tenants, ports.leases),
    )


def run_steps(
    steps: RouteSteps, messages: Sequence[Any], now_ms: int
) -> tuple[list[Delivery], list[Any]]:
    """Run a batch through all steps, as the graph does; give deliveries, and what was decided."""
    items: list[Any] = list(messages)
    decided: list[Any] = []
    for name in CHAIN:
        step = getattr(steps, name)
        if name == "deliveries":
            items = step(items)
        else:
            items, outs = step(items, now_ms)
            decided += outs
    return items, decided


def at_once(call: Callable[[], Any]) -> "Future[Any]":
    """Make a call here and now, where nothing else is to be done meanwhile."""
    future: Future[Any] = Future()
    future.set_result(call())
    return future
