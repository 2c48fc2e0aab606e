"""The bare loop beside route: the same reads, Redis calls and writes, and nothing else."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition

from flows.checkpoint import PRODUCER_DEFAULTS, TRANSACTION_TIMEOUT_S, produce
from flows.lanes import CONSUMER_DEFAULTS
from schemas.settings import Settings
from schemas.stream import Record
from state.caps import CapCheck, CapLimit, RedisCaps
from state.keys import profile_keys
from state.redis_client import Call, RedisClient
from tests.bench import people
from tests.bench.result import BenchError
from tests.bench.stand import PARTITIONS, TIMEOUT_S, load, make_topics

EPOCH_S = 0.2
CHUNK_BYTES = 700
BATCH = 4
CHUNKS, DELIVERIES = "bench.chunks", "bench.deliveries"
LIMITS = (CapLimit("marketing", 10_000, people.DAY_MS),)


class Campaign(NamedTuple):
    """What route did with one campaign. value_bytes: of a delivery's record, on average."""

    per_s: float
    from_event_per_s: float
    cpu_us: float
    value_bytes: int


class BareRoute:
    """Reads a record per chunk; for each one MGET, the cap's script calls and its deliveries.

    All that is asked and written is made beforehand. A transaction every 200 ms takes the
    deliveries and the offsets, as in route.
    """

    def __init__(self, settings: Settings, redis: RedisClient, *, users: int, shards: int) -> None:
        self._settings = settings
        self._redis = redis
        self._shards = shards
        self._users = people.by_shard(users, shards)
        self._expected = people.devices_of(users)
        make_topics(settings, DELIVERIES)

    def run(self, message_id: str, campaign: Campaign) -> float:
        """Do the I/O of a campaign; give its deliveries per second. Raises BenchError."""
        topic = f"{CHUNKS}.{message_id}"
        make_topics(self._settings, topic)
        work = [self._chunk(numbers, message_id, campaign) for numbers in self._users]
        load(self._settings, [Record(topic, None, b"x" * CHUNK_BYTES)] * len(work))
        options = self._settings.kafka.client_options()
        producer = Producer(PRODUCER_DEFAULTS | options | {"transactional.id": "bench-bare"})
        producer.init_transactions(TRANSACTION_TIMEOUT_S)
        consumer = Consumer(CONSUMER_DEFAULTS | options | {"group.id": "bench-bare"})
        try:
            consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
            started = time.perf_counter()
            self._drain(consumer, producer, work)
            return self._expected / (time.perf_counter() - started)
        finally:
            consumer.close()

    def _drain(self, consumer: Consumer, producer: Producer, work: list["_Chunk"]) -> None:
        waiting = list(work)
        deadline = time.monotonic() + TIMEOUT_S
        producer.begin_transaction()
        ends_at = time.monotonic() + EPOCH_S
        while waiting:
            if time.monotonic() > deadline:
                raise BenchError("the bare loop did not end in time")
            for _message in consumer.consume(min(BATCH, len(waiting)), 0.01):
                chunk = waiting.pop()
                self._redis.get_all(chunk.profiles, chunk.profiles)
                self._redis.call(chunk.caps)
                produce(producer, chunk.records)
            if time.monotonic() >= ends_at or not waiting:
                producer.send_offsets_to_transaction(
                    consumer.position(consumer.assignment()),
                    consumer.consumer_group_metadata(),
                    TRANSACTION_TIMEOUT_S,
                )
                producer.commit_transaction(TRANSACTION_TIMEOUT_S)
                if waiting:
                    producer.begin_transaction()
                    ends_at = time.monotonic() + EPOCH_S

    def _chunk(self, numbers: Sequence[int], message_id: str, campaign: Campaign) -> "_Chunk":
        users = [people.user_id(number) for number in numbers]
        recorder = _Recorder()
        checks = [CapCheck(user, message_id, LIMITS) for user in users]
        now_ms = time.time_ns() // 1_000_000
        RedisCaps(recorder).admit_many(people.TENANT, self._shards, checks, now_ms)  # type: ignore[arg-type]  # it only records
        value = b"x" * campaign.value_bytes
        records = [
            Record(DELIVERIES, f"{people.TENANT}/{user}".encode(), value)
            for number, user in zip(numbers, users, strict=True)
            for _ in range(people.devices_of(number + 1) - people.devices_of(number))
        ]
        where = profile_keys(people.TENANT, self._shards, users)
        return _Chunk(where, recorder.calls, records)


class _Chunk(NamedTuple):
    profiles: list[str]
    caps: list[Call]
    records: list[Record]


class _Recorder:
    """Stands in for Redis to learn what would be asked."""

    clustered = False

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def call(self, calls: Sequence[Call]) -> list[Any]:
        """Note the calls; admit everyone."""
        self.calls += calls
        return [[-1] * len(call.keys) for call in calls]
