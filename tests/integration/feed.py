"""A stream of numbers onto a topic, and a reader of what is committed on another."""

import time
from collections import Counter
from threading import Event, Thread
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

PER_TURN = 20
TURN_S = 0.01
AHEAD = 4_000
PATIENCE_S = 120.0
ASK_S = 5.0
QUIET = {"log_level": 0}


class Feed:
    """Produces numbers at up to 2,000 a second, in a thread, until it is ended.

    limit: how many it may have produced by now, so that a slow machine has no more to do.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.delivered: list[bytes] = []
        self.limit = AHEAD
        self._topic = topic
        self._ended = Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": int(PATIENCE_S * 1_000),
                "queue.buffering.max.messages": 1_000_000,
                **QUIET,
            }
        )
        self._thread = Thread(target=self._produce, daemon=True)
        self._thread.start()

    def end(self) -> Counter[bytes]:
        """End it when all that was produced is acknowledged; give what that is."""
        self._ended.set()
        self._thread.join()
        assert self._producer.flush(PATIENCE_S) == 0
        return Counter(self.delivered)

    def _produce(self) -> None:
        number = 0
        while not self._ended.wait(TURN_S):
            for _ in range(min(PER_TURN, self.limit - number)):
                value = b"%d" % number
                self._producer.produce(self._topic, value, on_delivery=self._note)
                number += 1
            self._producer.poll(0)

    def _note(self, error: Any, message: Any) -> None:
        # An idempotent producer loses nothing within its timeout: an error fails the test.
        assert error is None, error
        self.delivered.append(message.value())


class Committed:
    """Follows what is committed on a topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.found: Counter[bytes] = Counter()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "followers",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                **QUIET,
            }
        )
        told = self._consumer.list_topics(topic, timeout=PATIENCE_S).topics[topic]
        self._places = [TopicPartition(topic, index, 0) for index in told.partitions]
        self._read_to = dict.fromkeys(told.partitions, 0)
        self._consumer.assign(self._places)

    def read(self) -> int:
        """Read what is there now; give how many records were found so far."""
        for message in self._consumer.consume(10_000, 0.1):
            if message.error() is None:
                self.found[message.value()] += 1
                self._read_to[message.partition()] = message.offset() + 1
            elif message.error().code() == KafkaError._PARTITION_EOF:
                # The end also counts what is no record, such as the marks of transactions.
                self._read_to[message.partition()] = message.offset()
        return self.found.total()

    def catch_up(self) -> int:
        """Read all that is committed by now; give how many records were found so far."""
        wanted = self._ends()
        deadline = time.monotonic() + PATIENCE_S
        while any(self._read_to[index] < end for index, end in wanted.items()):
            self.read()
            assert time.monotonic() < deadline, f"read {self._read_to} of {wanted}"
        return self.found.total()

    def close(self) -> None:
        """Let go."""
        self._consumer.close()

    def _ends(self) -> dict[int, int]:
        """Give the offsets below which all is decided, by partition."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                # At read_committed the end is the last stable offset.
                return {
                    place.partition: self._consumer.get_watermark_offsets(place, ASK_S)[1]
                    for place in self._places
                }
            except KafkaException:  # a leader is away
                if time.monotonic() > deadline:
                    raise
