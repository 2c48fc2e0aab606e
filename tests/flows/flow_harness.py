"""Runs real flows in this process on the stores, and makes them crash where asked."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import msgspec
import pytest
import redis
import yaml
from bytewax.errors import BytewaxRuntimeError
from bytewax.testing import run_main
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from flows.checkpoint import Committer, produce
from flows.compose import build_process
from flows.topics import create_topics
from sandbox.broker import EmbeddedBroker
from sandbox.valkey import EmbeddedValkey
from schemas.pipeline import Platform
from schemas.settings import Settings, load_settings
from schemas.stream import Record

PARTITIONS = 4
ASK_TIMEOUT_S = 30.0
QUIET_TURNS = 40
QUIET_LOGS = {"log_level": 0}  # a crashed flow leaves clients behind that miss the broker
TENANT = {
    "name": "acme",
    "shards": 4,
    "categories": {
        "transactional": {"quiet_hours": "ignore"},
        "marketing": {"quiet_hours": "ignore", "caps": [{"limit": 2, "window_s": "1d"}]},
    },
}


class CrashError(Exception):
    """The injected crash."""


class Crashing:
    """A committer that dies at its nth real commit, just before or just after it."""

    def __init__(self, inner: Committer, *, at: int, after: bool) -> None:
        self._inner, self._left, self._after = inner, at, after

    def open(self) -> None:
        self._inner.open()

    def write(self, items: Sequence[Any]) -> None:
        self._inner.write(items)

    def commit(self, positions: Any) -> None:
        if not positions:
            self._inner.commit(positions)
            return
        self._left -= 1
        if not self._left and not self._after:
            raise CrashError
        self._inner.commit(positions)
        if not self._left:
            raise CrashError

    def abort(self) -> None:
        self._inner.abort()


class RealServers(NamedTuple):
    """Addresses of servers that outlive a test."""

    bootstrap: str
    redis_url: str

    def clear(self) -> None:
        """Remove all topics and keys, and wait until they are gone."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()
        admin = AdminClient({"bootstrap.servers": self.bootstrap, **QUIET_LOGS})

        def topics() -> list[str]:
            there = admin.list_topics(timeout=ASK_TIMEOUT_S).topics
            return [name for name in there if not name.startswith("__")]

        if left := topics():
            for future in admin.delete_topics(left).values():
                future.result(ASK_TIMEOUT_S)
        deadline, poll = time.monotonic() + ASK_TIMEOUT_S, Event()
        while left := topics():
            assert time.monotonic() < deadline, left
            poll.wait(0.02)


class Stores:
    """A broker and a Valkey of one test's own, or real servers that it finds empty.

    real: addresses of a Kafka and a Redis that several tests use in turn.
    """

    def __init__(self, directory: Path, *, real: RealServers | None = None) -> None:
        self._real = real
        self._tenants = directory / "tenants"
        self._tenants.mkdir()
        (self._tenants / "acme.yaml").write_text(yaml.safe_dump(TENANT))
        self._names: dict[str, str] = {}
        if real is None:
            self._broker = EmbeddedBroker(directory / "kafka")
            self._valkey = EmbeddedValkey(directory / "redis")
            self.bootstrap, self.redis_url = self._broker.start(), self._valkey.start()
        else:
            self.bootstrap, self.redis_url = real
            # Groups and transactions of earlier tests stay behind, topics and keys do not.
            prefix = f"clarion-{uuid.uuid4().hex[:12]}"
            self._names = {"group_prefix": prefix, "transactional_id_prefix": prefix}
            real.clear()
        create_topics(self.kafka, partitions=PARTITIONS, timer_slots=16, replicas=1)
        self.producer = Producer(self.kafka)

    @property
    def kafka(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.bootstrap, **QUIET_LOGS}

    def settings(self, **more: Any) -> Settings:
        return load_settings(
            kafka={
                "bootstrap": self.bootstrap,
                "options": {key: str(v) for key, v in QUIET_LOGS.items()},
                **self._names,
            },
            redis={"url": self.redis_url},
            tenants_dir=self._tenants,
            # Small steps, so that every run has several epochs to crash in.
            flow={"epoch_ms": 5, "batch_size": 10, "in_flight": 10},
            timers={"slots": 16, "slot_s": 0.5},
            **more,
        )

    def put(self, records: Sequence[Record]) -> None:
        produce(self.producer, records)
        assert self.producer.flush(10) == 0

    def read(self, topic: str) -> list[bytes]:
        """Give every committed value of a topic."""
        consumer = Consumer(
            {
                **self.kafka,
                "group.id": "reader",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        parts = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in parts])
        values, ended = [], set()
        while len(ended) < len(parts):
            message = consumer.poll(10)
            assert message is not None, f"{topic} was not read to its end"
            if message.error() is None:
                values.append(message.value())
            else:
                ended.add(message.partition())
        consumer.close()
        return values

    def decoded(self, topic: str, kind: type[Any]) -> list[Any]:
        decode = msgspec.msgpack.Decoder(kind).decode
        return [decode(value) for value in self.read(topic)]

    def stop(self) -> None:
        if self._real is None:
            self._valkey.stop()
            self._broker.stop()


@pytest.fixture
def stores(
    tmp_path: Path, request: pytest.FixtureRequest, *, real_servers: bool
) -> Iterator[Stores]:
    """Give fresh stores with all topics."""
    real = None
    if real_servers:
        addresses = (request.getfixturevalue(name) for name in ("bootstrap", "redis_url"))
        real = RealServers(*addresses)
    made = Stores(tmp_path, real=real)
    yield made
    made.stop()


class Runner:
    """Builds and runs a flow until it has caught up, or crashes."""

    def __init__(self, settings: Settings, name: str, platform: Platform | None = None) -> None:
        self._settings, self._name, self._platform = settings, name, platform
        self._quiet = 0

    def run(
        self,
        *,
        crash_at: int = 0,
        after: bool = False,
        until: Callable[[], bool] | None = None,
        between: bool = False,
    ) -> None:
        """Run once. crash_at: die at that commit. until: what else must hold before stopping.

        between: die after the insert into the store, before the commit to Kafka.
        """
        self._quiet = 0
        process = build_process(
            self._settings,
            lambda: self._quiet > QUIET_TURNS and (until is None or until()),
            self._name,
            self._platform,
        )
        lanes = process.checkpoint.lanes

        def beat(count: int) -> None:
            assigned = all(lane.consumer.assignment() for lane in lanes.lanes)
            self._quiet = 0 if count or not assigned else self._quiet + 1

        process.health_beats.append(beat)
        committer: Any = process.checkpoint.committer
        if between:
            committer._then = Crashing(committer._then, at=crash_at, after=False)
        elif crash_at:
            process.checkpoint.committer = Crashing(committer, at=crash_at, after=after)
        for start in process.start:
            start()
        try:
            if not crash_at:
                run_main(process.flow, epoch_interval=process.epoch)
                return
            with pytest.raises(BytewaxRuntimeError) as caught:
                run_main(process.flow, epoch_interval=process.epoch)
            assert isinstance(caught.value.__cause__, CrashError), caught.value.__cause__
        finally:
            # Nothing is committed here: transactions stay open and static members do not leave, as
            # when a process dies. But its threads would live on in this one.
            for close in process.close:
                close()


def run_through_crashes(runner: Runner, **more: Any) -> None:
    """Crash before a commit, crash after one, then run to the end."""
    runner.run(crash_at=2, after=False, **more)
    runner.run(crash_at=2, after=True, **more)
    runner.run(**more)
