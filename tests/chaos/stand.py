"""A whole Clarion on a real Kafka and a real Redis, with every process in reach."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, Producer, TopicPartition

from flows.checkpoint import produce
from flows.compose_stores import clickhouse_of
from sandbox.processes import Child
from sandbox.stack import ALL, FlowSpec, Stack, is_ready, read_lag
from schemas.outcomes import TERMINAL
from schemas.pipeline import Platform
from schemas.settings import Settings
from schemas.stream import Record
from sinks.clickhouse import connect
from tests.chaos import people
from tests.servers.apache_kafka import ApacheKafka
from tests.servers.redis_server import RealRedis

POLL_S = 0.2
READY_TIMEOUT_S = 180.0
STALLED_S = 120.0
PRODUCE_AT_ONCE = 5_000
# On a busy machine a shorter session ends now and then, and with it all leaders.
BROKER = {"broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "1000"}
FLOWS = (
    FlowSpec("registry", None, ALL),
    FlowSpec("route", None, ALL),
    FlowSpec("timers", None, ALL),
    *(FlowSpec("deliver", platform, ALL) for platform in Platform),
    FlowSpec("outcomes", None, ALL),
)
TERMINAL_SQL = ", ".join(f"'{status}'" for status in sorted(TERMINAL))


@dataclass
class Process:
    """A supervised flow process. restarts: beyond the first start."""

    spec: FlowSpec
    label: str
    child: Child
    port: int
    restarts: int = 0


class Stand:
    """The stores, the simulators and supervised flows; see ``open_stand``."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.kafka = ApacheKafka(directory / "kafka", config=BROKER)
        self.redis = RealRedis(directory / "redis")
        self.stack = Stack(
            directory, people.tenant, options=options, kafka=self.kafka, redis=self.redis
        )
        self.processes: dict[str, Process] = {}
        self.settings: Settings
        self.producer: Producer
        self.clickhouse: Client

    def start(self, flows: Sequence[FlowSpec] = FLOWS) -> None:
        """Start everything and wait until all flows are ready."""
        self.settings = self.stack.start_stores()
        self.producer = Producer(
            {**self.settings.kafka.client_options(), "linger.ms": 5, "log_level": 0}
        )
        self.clickhouse = connect(clickhouse_of(self.settings))
        for spec in flows:
            self.add(spec)
        self.await_ready()

    def stop(self) -> None:
        """End everything."""
        if hasattr(self, "clickhouse"):
            self.clickhouse.close()
        self.stack.stop()

    # -- flow processes

    def add(self, spec: FlowSpec, label: str = "") -> Process:
        """Start one more process of a flow."""
        label = label or spec.label
        child = self.stack.start_flow(spec, label=label)
        made = Process(spec, label, child, self.stack.metrics_ports[label])
        self.processes[label] = made
        return made

    def remove(self, *labels: str) -> None:
        """Let processes drain and end, for good."""
        ending = [self.processes.pop(label) for label in labels]
        for one in ending:
            one.child.ask_to_stop()
        for one in ending:
            one.child.stop()

    def supervise(self) -> int:
        """Start again what has ended, as Kubernetes would; gives how many."""
        ended = [one for one in self.processes.values() if one.child.returncode() is not None]
        for one in ended:
            restarts = one.restarts + 1
            self.add(one.spec, one.label).restarts = restarts
        return len(ended)

    def await_ready(self, *labels: str) -> None:
        """Wait until these flow processes are ready; all without any."""
        wanted = labels or tuple(self.processes)
        self.until(
            lambda: all(is_ready(self.processes[label].port) for label in wanted),
            f"{', '.join(wanted)} ready",
            timeout_s=READY_TIMEOUT_S,
        )

    def lag(self) -> int:
        """Sum up what all flows have not read yet; 0 for those that do not answer."""
        total = 0
        for one in self.processes.values():
            try:
                total += read_lag(one.port)
            except OSError:
                continue
        return total

    # -- messages

    def put(self, records: Iterable[Record]) -> int:
        """Produce records; gives how many."""
        count = 0
        batch: list[Record] = []
        for record in records:
            batch.append(record)
            if len(batch) == PRODUCE_AT_ONCE:
                produce(self.producer, batch)
                count += len(batch)
                batch = []
        produce(self.producer, batch)
        count += len(batch)
        left = self.producer.flush(READY_TIMEOUT_S)
        if left:
            raise TimeoutError(f"{left} records were not taken")
        return count

    def register(self, count: int, *, start: int = 0) -> None:
        """Register devices and wait until profiles and rows are there."""
        self.put(people.registrations(count, self.webpush_origin, start=start))
        wanted = start + count
        self.until_all(lambda: self.one("SELECT uniqExact(user_id) FROM devices"), wanted)

    @property
    def webpush_origin(self) -> str:
        """Where Web Push endpoints lie."""
        return f"https://127.0.0.1:{self.stack.simulator_ports[Platform.WEBPUSH]}"

    def over(self) -> int:
        """Count the terminal outcomes of deliveries in ClickHouse."""
        # Cheap, as it is asked all the time; that none is there twice is for the audit to see.
        return self.one(
            "SELECT count() FROM outcomes"  # noqa: S608 - our own enum
            f" WHERE delivery_id != '' AND status IN ({TERMINAL_SQL})"
        )

    def one(self, query: str) -> int:
        """Ask ClickHouse for a number."""
        return int(self.clickhouse.query(query).result_rows[0][0])

    def read(self, topic: str) -> Iterator[tuple[int, int, bytes]]:
        """Give (partition, offset, value) of every committed record of a topic."""
        consumer = Consumer(
            {
                **self.settings.kafka.client_options(),
                "group.id": "chaos-reader",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "log_level": "0",
            }
        )
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended: set[int] = set()
        while len(ended) < len(partitions):
            messages = consumer.consume(5_000, 10)
            if not messages:
                raise TimeoutError(f"{topic} was not read to its end")
            for message in messages:
                if message.error() is None:
                    yield message.partition(), message.offset(), message.value() or b""
                else:
                    ended.add(message.partition())
        consumer.close()

    # -- waiting

    def until(
        self, holds: Callable[[], bool], what: str, *, timeout_s: float, supervised: bool = True
    ) -> float:
        """Wait until this holds, keeping flows alive; gives the seconds. Raises TimeoutError."""
        started = time.monotonic()
        while not holds():
            if supervised:
                self.supervise()
            if time.monotonic() - started > timeout_s:
                raise TimeoutError(f"not {what} after {timeout_s:.0f} s; {self.tails()}")
            time.sleep(POLL_S)
        return time.monotonic() - started

    def until_all(self, count: Callable[[], int], wanted: int) -> float:
        """Wait until so many are counted, as long as the count moves; gives the seconds."""
        started = moved = time.monotonic()
        before = -1
        while (now := count()) < wanted:
            self.supervise()
            if now != before:
                before, moved = now, time.monotonic()
            if time.monotonic() - moved > STALLED_S:
                raise TimeoutError(f"{now} of {wanted}, lag {self.lag()}; {self.tails()}")
            time.sleep(POLL_S)
        return time.monotonic() - started

    def tails(self) -> str:
        """Give the last words of every flow."""
        return "\n".join(f"--- {p.label}: {p.child.tail(5)}" for p in self.processes.values())


@contextmanager
def open_stand(
    directory: Path, *, flows: Sequence[FlowSpec] = FLOWS, **options: Any
) -> Iterator[Stand]:
    """Start a stand in an empty directory, and end it. options: groups of settings."""
    stand = Stand(directory, **options)
    try:
        stand.start(flows)
        yield stand
    finally:
        stand.stop()


def behave_all(stand: Stand, **behaviour: Any) -> Mapping[Platform, dict[str, Any]]:
    """Set all simulators' behaviour."""
    return {platform: stand.stack.behave(platform, **behaviour) for platform in Platform}
