"""One record of a topic, by its coordinates."""

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from schemas.stream import Source

READ_TIMEOUT_S = 10.0
_READING = {
    "group.id": "clarion-explain",  # joins nothing, commits nothing
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 20,
}
_POLL_S = 1.0


def read_record(settings: Mapping[str, Any], at: Source) -> bytes | None:
    """Give a record's value; None when it is not there (any more) or does not come in 10 s.

    settings: librdkafka options. Joins no group and commits nothing.
    """
    consumer = Consumer({**_READING, **settings})
    try:
        consumer.assign([TopicPartition(at.topic, at.partition, at.offset)])
        deadline = time.monotonic() + READ_TIMEOUT_S
        while time.monotonic() < deadline:
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is not None:
                if error.code() in _GONE:
                    return None
                continue
            value: bytes | None = message.value()
            return value if message.offset() == at.offset else None
        return None
    finally:
        consumer.close()


_GONE = frozenset(
    {
        KafkaError._PARTITION_EOF,  # noqa: SLF001 - librdkafka's local codes are spelt so
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - as above
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - as above
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
