"""Topics that can be used at once: Kafka makes a topic first and chooses its leaders then."""

import time
from collections.abc import Sequence
from threading import Event

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

READY_TIMEOUT_S = 30.0
POLL_S = 0.02


def create(admin: AdminClient, topics: Sequence[NewTopic]) -> None:
    """Create topics and wait until every partition is led. Raises KafkaException."""
    for future in admin.create_topics(list(topics)).values():
        future.result(READY_TIMEOUT_S)
    places = [TopicPartition(each.topic, i) for each in topics for i in range(each.num_partitions)]
    deadline, poll = time.monotonic() + READY_TIMEOUT_S, Event()
    while True:
        found = admin.list_offsets({place: OffsetSpec.earliest() for place in places})
        try:
            for future in found.values():
                future.result(READY_TIMEOUT_S)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            poll.wait(POLL_S)
        else:
            return
