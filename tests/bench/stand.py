"""The stand that flows are measured on: the embedded stack, records put there, what comes out."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

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
POLL_S = 0.05
STEADY_S = 0.6
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
    admin = AdminClient(settings.kafka.client_options())
    wanted = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in names]
    for future in admin.create_topics(wanted).values():
        future.result(TIMEOUT_S)


class Growth(NamedTuple):
    """What was counted first and last, and when, in seconds of one clock."""

    first: int
    first_at: float
    last: int
    last_at: float

    def rate(self, *, until: int | None = None) -> float:
        """Give how many came per second, between the first look and the last change."""
        took = self.last_at - self.first_at
        if took <= 0:
            raise BenchError("everything was there at the first look: measure more")
        return ((self.last if until is None else until) - self.first) / took


def watch(
    count: Callable[[], int],
    *,
    expected: int,
    timeout_s: float = TIMEOUT_S,
    alive: Callable[[], str] = lambda: "",
) -> Growth:
    """Watch a count until it has reached ``expected`` and stands still.

    alive: says what has ended meanwhile, if anything has. Raises BenchError then, or in time.
    """
    deadline = time.monotonic() + timeout_s
    first = first_at = last = last_at = 0.0
    while time.monotonic() < deadline:
        now, found = time.monotonic(), count()
        if found and not first:
            first, first_at = found, now
        if found != last:
            last, last_at = found, now
        if last >= expected and now - last_at > STEADY_S:
            return Growth(int(first), first_at, int(last), last_at)
        if failure := alive():
            raise BenchError(failure)
        time.sleep(POLL_S)
    raise BenchError(f"{int(last)} of {expected} came within {timeout_s:.0f} s")


class Ends:
    """How many records were added to some topics since this was made.

    The markers that end transactions count as well: one per transaction and partition.
    """

    def __init__(self, settings: Settings, topics: Iterable[str]) -> None:
        self._admin = AdminClient(settings.kafka.client_options())
        self._asked = {
            TopicPartition(topic, number): OffsetSpec.latest()
            for topic in topics
            for number in range(PARTITIONS)
        }
        self.start = self._ends()
        self._sum = sum(self.start.values())

    def added(self) -> int:
        """Count them."""
        return sum(self._ends().values()) - self._sum

    def _ends(self) -> dict[tuple[str, int], int]:
        answers = self._admin.list_offsets(self._asked, request_timeout=TIMEOUT_S)
        return {
            (tp.topic, tp.partition): future.result(TIMEOUT_S).offset
            for tp, future in answers.items()
        }


class Read(NamedTuple):
    """What a topic's reader found."""

    records: int
    key_bytes: int
    value_bytes: int


def read_since(settings: Settings, ends: Ends) -> Read:
    """Read what was added and committed since ``ends`` was made. Raises BenchError."""
    count = keys = values = 0
    for message in messages_since(settings, ends):
        count += 1
        keys += len(message.key() or b"")
        values += len(message.value() or b"")
    return Read(count, keys, values)


def messages_since(settings: Settings, ends: Ends) -> Iterator[Any]:
    """Give the messages themselves, as read_since counts them."""
    consumer = Consumer(
        {
            **settings.kafka.client_options(),
            "group.id": "bench-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
        }
    )
    try:
        consumer.assign([TopicPartition(*where, at) for where, at in ends.start.items()])
        left = set(ends.start)
        deadline = time.monotonic() + TIMEOUT_S
        while left:
            if time.monotonic() > deadline:
                raise BenchError(f"could not read to the end of {sorted(left)}")
            for message in consumer.consume(10_000, 0.1):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((message.topic(), message.partition()))
                else:
                    raise BenchError(str(error))
    finally:
        consumer.close()
