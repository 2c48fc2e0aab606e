"""route's own steps in the order of its graph, run over batches without a broker."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import FixedPartitionedSink, Sink, StatefulSinkPartition
from bytewax.testing import TestingSource, run_main

from flows.route import RouteParts, build
from flows.route_steps import RoutePorts, at_once, route_steps, run_steps
from operators.encode import Encode
from operators.find_template import Shelf
from operators.hooks import NoHooks
from schemas.campaigns import control_of
from schemas.definitions import Kind
from schemas.pipeline import Timer
from schemas.stream import Batch, Record
from schemas.tenant import Tenant
from schemas.topics import DEAD_ROUTE, TIMERS
from state.best_hours import MemoryBestHours
from state.definitions import Watched
from state.progress import MemoryProgress
from state.rates import Leases
from tests.contract.state_stores import Stores

_pack = msgspec.msgpack.Encoder().encode


def on_the_wheel(timer: Timer) -> Record:
    """Put a timer on its topic; on which slot of it is flows/timer_wheel's affair."""
    return Record(TIMERS, timer.key, _pack(timer), 0)


def route_ports(stores: Stores, tenants: Collection[str] = ()) -> RoutePorts:
    """Make route's ports as flows/route_ports.py does."""
    return RoutePorts(
        dedup=stores.dedup,
        segments=stores.segments,
        profiles=stores.profiles,
        caps=stores.caps,
        quotas=stores.quotas,
        gatherings=stores.gatherings,
        hooks=NoHooks(),
        leases=Leases(stores.rates),
        controls=Watched(stores.definitions, Kind.CONTROL, tenants, control_of, refresh_s=0),
        progress=MemoryProgress(),
        best_hours=MemoryBestHours(),
        templates=Watched(stores.definitions, Kind.TEMPLATE, tenants, Shelf, refresh_s=0),
    )


def route_parts(
    stores: Stores,
    tenants: Mapping[str, Tenant],
    *,
    chunk_users: int = 1_000,
    source: Source[Batch] | None = None,
    sink: Sink[Any] | None = None,
) -> RouteParts:
    """Make the steps as flows/compose_route.py does, with all that a process keeps in memory."""
    ports = route_ports(stores, tenants)
    steps = route_steps(ports, tenants, submit=at_once, chunk_users=chunk_users)
    nothing: Any = None
    return RouteParts(
        source=source or nothing,
        **vars(steps),
        encode=Encode(dead_letters=DEAD_ROUTE, timer=on_the_wheel),
        sink=sink or nothing,
    )


def run_chain(parts: RouteParts, messages: Sequence[Any], now_ms: int) -> list[Record]:
    """Give the records that a batch becomes, as the graph does."""
    going, decided = run_steps(parts, messages, now_ms)
    return parts.encode([*going, *decided])


class _Kept(StatefulSinkPartition[Any, None]):
    def __init__(self, kept: list[Any]) -> None:
        self._kept = kept

    def write_batch(self, values: list[Any]) -> None:
        self._kept += [record for batch in values for record in batch.items]

    def snapshot(self) -> None:
        return None


class KeepingSink(FixedPartitionedSink[Any, None]):
    """Keeps all records in a list."""

    def __init__(self) -> None:
        self.kept: list[Record] = []

    def list_parts(self) -> list[str]:
        return ["process"]

    def part_fn(self, _key: str) -> int:
        return 0

    def build_part(self, _step: str, _part: str, _state: None) -> _Kept:
        return _Kept(self.kept)


def run_graph(
    stores: Stores, tenants: Mapping[str, Tenant], messages: Sequence[Any], now_ms: int
) -> list[Record]:
    """Run the real graph over one batch."""
    sink = KeepingSink()
    source = TestingSource([Batch(list(messages), now_ms)])
    flow: Dataflow = build(route_parts(stores, tenants, source=source, sink=sink))
    run_main(flow)
    return sink.kept


__all__ = ["KeepingSink", "route_parts", "run_chain", "run_graph"]
