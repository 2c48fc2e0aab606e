"""The topics: their partitions and their configuration."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.memory import Memory
from sandbox.kafka_broker.partition import Partition

MAX_PARTITIONS = 20_000  # of all topics together
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")

DEFAULTS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "file.delete.delay.ms": "60000",
    "flush.messages": "9223372036854775807",
    "flush.ms": "9223372036854775807",
    "follower.replication.throttled.replicas": "",
    "index.interval.bytes": "4096",
    "leader.replication.throttled.replicas": "",
    "max.compaction.lag.ms": "9223372036854775807",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "preallocate": "false",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.index.bytes": "10485760",
    "segment.jitter.ms": "0",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}
"""Kafka's topic configuration with its defaults.

Only cleanup.policy (a compacted topic is never cut) and max.message.bytes have an effect here.
Source: https://kafka.apache.org/documentation/#topicconfigs
"""


class Topic(NamedTuple):
    """A topic. config: what was set, without the defaults."""

    name: str
    partitions: list[Partition]
    config: Mapping[str, str]
    max_message_bytes: int


class Topics:
    """All topics by name."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.by_name: dict[str, Topic] = {}
        self._partitions = 0

    def find(self, topic: str, partition: int) -> Partition | None:
        """Give a partition, or None when there is no such one."""
        found = self.by_name.get(topic)
        if found is None or not 0 <= partition < len(found.partitions):
            return None
        return found.partitions[partition]

    def check(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """Raise KafkaError when this topic cannot be made."""
        check_name(name)
        if name in self.by_name:
            raise KafkaError(Code.TOPIC_ALREADY_EXISTS, f"topic {name} exists")
        if partitions < 1:
            raise KafkaError(Code.INVALID_PARTITIONS, "at least one partition")
        self._check_room(partitions)
        for key, value in config.items():
            if key not in DEFAULTS:
                raise KafkaError(Code.INVALID_CONFIG, f"unknown topic config {key}")
            if key == "max.message.bytes" and not value.isdecimal():
                raise KafkaError(Code.INVALID_CONFIG, f"{key} is a number of bytes")
            if key == "cleanup.policy" and not {*value.split(",")} <= {"compact", "delete"}:
                raise KafkaError(Code.INVALID_CONFIG, f"{key} is compact, delete or both")

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> Topic:
        """Make a topic. Raises KafkaError like check()."""
        self.check(name, partitions, config)
        limit = int(config.get("max.message.bytes", DEFAULTS["max.message.bytes"]))
        topic = Topic(name, [], dict(config), limit)
        self.by_name[name] = topic
        self.grow(topic, partitions)
        return topic

    def grow(self, topic: Topic, partitions: int) -> None:
        """Give a topic more partitions. Raises KafkaError when it would not be more."""
        have = len(topic.partitions)
        if partitions <= have:
            raise KafkaError(Code.INVALID_PARTITIONS, f"it has {have} partitions already")
        self._check_room(partitions - have)
        expires = "delete" in topic.config.get("cleanup.policy", "delete")
        topic.partitions.extend(
            Partition(topic.name, index, self.memory, expires=expires)
            for index in range(have, partitions)
        )
        self._partitions += partitions - have

    def delete(self, name: str) -> None:
        """Delete a topic. Raises KafkaError when there is none."""
        topic = self.by_name.pop(name, None)
        if topic is None:
            raise KafkaError(Code.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {name}")
        self._partitions -= len(topic.partitions)
        for partition in topic.partitions:
            partition.delete()

    def _check_room(self, more: int) -> None:
        if self._partitions + more > MAX_PARTITIONS:
            raise KafkaError(
                Code.POLICY_VIOLATION, f"this broker keeps at most {MAX_PARTITIONS} partitions"
            )


def check_name(name: str) -> None:
    """Raise KafkaError for a name that no topic can have."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise KafkaError(Code.INVALID_TOPIC_EXCEPTION, "1 to 249 of a-z A-Z 0-9 . _ -")
