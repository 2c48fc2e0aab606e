"""The registry's topics, compacted by a real Kafka."""

import time
from collections import Counter
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from flow_harness import Runner, Stores, stores
from test_crash_registry import client, settings

from schemas.registry import registry_key
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import DEVICES, PREFERENCES, TOKEN_DEATHS, USERS
from state.profiles import Profile, RedisProfiles
from state.redis_client import RedisClient
from tests.integration.feed import PATIENCE_S

__all__ = ["client", "settings", "stores"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
USERS_REGISTERED, REMOVED = 30, 10
QUICK = {"segment.ms": "200", "min.cleanable.dirty.ratio": "0.001"}


def _device(user: str, token: int, month: int) -> Record:
    value = (
        f'{{"tenant": "acme", "user_id": "{user}", "device_id": "phone", "platform": "apns", '
        f'"app": "ios", "token": "{token:064x}", "registered_at": "2026-{month:02}-01T00:00:00Z"}}'
    )
    return Record(DEVICES, registry_key("acme", user, "phone"), value.encode())


def _records(kafka: dict[str, object], topic: str) -> list[tuple[bytes, bytes | None]]:
    """Read a topic from its beginning to its end: keys and values."""
    reader = Consumer({**kafka, "group.id": "reader", "enable.partition.eof": True})
    parts = reader.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions
    reader.assign([TopicPartition(topic, number, 0) for number in parts])
    found, ends = [], 0
    while ends < len(parts):
        message = reader.poll(PATIENCE_S)
        assert message is not None
        if message.error() is None:
            found.append((message.key(), message.value()))
        else:
            assert message.error().code() == KafkaError._PARTITION_EOF
            ends += 1
    reader.close()
    return found


def _compact(made: Stores, topic: str, more: Callable[[int], list[Record]]) -> None:
    """Let a topic be compacted. more: harmless records; with them the segment at hand is closed."""
    resource = ConfigResource(
        ResourceType.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in QUICK.items()
        ],
    )
    admin = AdminClient(made.kafka)
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)
    before = Counter(key for key, _ in _records(made.kafka, topic))
    deadline, turn = time.monotonic() + PATIENCE_S, 0
    while True:
        made.put(more(turn))
        now = Counter(key for key, _ in _records(made.kafka, topic))
        if all(now[key] == 1 for key in before):
            return
        assert time.monotonic() < deadline, now
        turn += 1


@pytest.mark.parametrize("topic", [DEVICES, USERS, PREFERENCES, TOKEN_DEATHS])
def test_the_last_word_on_each_key_stays_tombstones_too(stores: Stores, topic: str) -> None:
    """Older words go; a reader from the beginning still learns of every removal."""
    for turn in range(3):
        stores.put([Record(topic, b"k%d" % n, b"%d" % turn) for n in range(20)])
    stores.put([Record(topic, b"k%d" % n, None) for n in range(5)])
    _compact(
        stores, topic, lambda turn: [Record(topic, b"more%d" % n, b"%d" % turn) for n in range(50)]
    )
    last = {key: value for key, value in _records(stores.kafka, topic) if key.startswith(b"k")}
    assert last == {b"k%d" % n: None if n < 5 else b"2" for n in range(20)}


def test_profiles_are_rebuilt_from_the_compacted_topic(stores: Stores, settings: Settings) -> None:
    """With an empty Redis and a new consumer group the registry makes the same profiles again."""
    users = [f"u{n}" for n in range(USERS_REGISTERED)]
    for month in (1, 2, 3):
        stores.put([_device(user, 1_000 * month + n, month) for n, user in enumerate(users)])
    removed = [registry_key("acme", user, "phone") for user in users[:REMOVED]]
    stores.put([Record(DEVICES, key, None) for key in removed])
    Runner(settings, "registry").run()
    redis = RedisClient(stores.redis_url)

    def profiles() -> list[tuple[str, ...]]:
        found = RedisProfiles(redis).get_many("acme", 4, users)
        return [_tokens(profile) for profile in found]

    live = profiles()
    assert [len(tokens) for tokens in live] == [0] * REMOVED + [1] * (USERS_REGISTERED - REMOVED)
    _compact(
        stores,
        DEVICES,
        lambda turn: [_device(f"more{n}", 9_000 + n, 1 + turn % 9) for n in range(50)],
    )
    redis.run("FLUSHALL")
    kafka = settings.kafka.model_copy(update={"group_prefix": f"{settings.kafka.group_prefix}-2"})
    Runner(settings.model_copy(update={"kafka": kafka}), "registry").run()
    assert profiles() == live
    redis.close()


def _tokens(profile: Profile | None) -> tuple[str, ...]:
    return tuple(device.token for device in profile.devices) if profile is not None else ()
