"""What arrives on topics and in tables: how many, how fast, and the records themselves."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it is public, but not listed

from schemas.settings import Settings
from tests.bench.result import BenchError
from tests.bench.stand import PARTITIONS, TIMEOUT_S

POLL_S = 0.05
STEADY_S = 0.6


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
        self._admin = AdminClient(dict(settings.kafka.client_options()))
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no types
        self._asked = {
            TopicPartition(topic, number): latest
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
