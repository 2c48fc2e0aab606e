"""The stand that flows are measured on: the embedded stack, its flow processes, its records."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # it is public, but not listed

from flows.checkpoint import produce
from sandbox.processes import Child
from sandbox.stack import FlowSpec, Stack, is_ready
from schemas.pipeline import Priority
from schemas.settings import Settings
from schemas.stream import Record
from tests.bench import people
from tests.bench.result import BenchError

ROUTE_BULK = FlowSpec("route", None, (Priority.NORMAL, Priority.LOW))
ROUTE_FAST = FlowSpec("route", None, (Priority.CRITICAL, Priority.HIGH))
PARTITIONS = 4
TIMEOUT_S = 30.0
LOAD_S = 60.0
PER_PRODUCE = 10_000


@contextmanager
def stand(*, shards: int = 16) -> Iterator[Stack]:
    """Start stores and simulators, in a directory of their own; end all that was started."""
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as directory:
        stack = Stack(Path(directory), partial(people.tenant, shards=shards), partitions=PARTITIONS)
        try:
            stack.start_stores()
            yield stack
        finally:
            stack.stop()


@contextmanager
def running(stack: Stack, *specs: FlowSpec) -> Iterator[list[Child]]:
    """Run flow processes of the product; give them when all are ready."""
    children = [stack.start_flow(spec) for spec in specs]
    try:
        for child in children:
            child.wait_until(partial(is_ready, stack.metrics_ports[child.name]))
        yield children
    finally:
        stack.stop_flows()


def settings_of(stack: Stack) -> Settings:
    """Give the settings of a started stack."""
    if stack.settings is None:
        raise BenchError("the stack has no settings yet")
    return stack.settings


def load(settings: Settings, records: Iterable[Record]) -> int:
    """Put records on their topics; give how many. Raises BenchError when the broker is too slow."""
    producer = Producer(
        {
            **settings.kafka.client_options(),
            "linger.ms": 20,
            "batch.size": 262_144,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    left, count = iter(records), 0
    while part := list(islice(left, PER_PRODUCE)):
        produce(producer, part)
        count += len(part)
    if producer.flush(LOAD_S):
        raise BenchError(f"the broker did not take {count} records within {LOAD_S:.0f} s")
    return count


def make_topics(settings: Settings, *names: str) -> None:
    """Make topics of the bench's own."""
    admin = AdminClient(dict(settings.kafka.client_options()))
    wanted = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in names]
    for future in admin.create_topics(wanted).values():
        future.result(TIMEOUT_S)
