"""The broker stays within its bounds, and bad requests cost only their own connection."""

import random
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sandbox.kafka_broker.batches import crc32c
from sandbox.processes import free_port
from tests.contract.kafka_clients import (
    PATIENCE_S,
    bare,
    consumer,
    fetch_body,
    producer,
    read,
    send,
    start_broker,
    text,
)

MIB = 1 << 20
PRODUCE, FETCH, METADATA, API_VERSIONS, LEAVE = 0, 1, 3, 18, 13


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a broker that keeps 4 MiB."""
    directory: Path = tmp_path_factory.mktemp("kafka")
    port = free_port()
    child = start_broker(directory, port, "--memory-mib", "4")
    yield f"127.0.0.1:{port}"
    child.stop()


def make(bootstrap: str, name: str, **config: str) -> AdminClient:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, config=config)])[name].result(PATIENCE_S)
    return admin


@pytest.mark.embedded_only  # it keeps all in memory
def test_the_oldest_records_go_when_memory_is_full(small: str, unique: str) -> None:
    """What is kept is the newest, up to the limit, and a new reader begins there."""
    admin = make(small, unique)
    client = producer(small)
    for i in range(100):
        send(client, unique, [b"%03d" % i + b"x" * 100_000])
    reader = consumer(small, unique)
    start, end = reader.get_watermark_offsets(TopicPartition(unique, 0), timeout=10)
    assert end == 100
    assert 30 <= end - start <= 41
    reader.assign([TopicPartition(unique, 0, OFFSET_BEGINNING)])
    assert [m.value()[:3] for m in read(reader, end - start)] == [
        b"%03d" % i for i in range(start, end)
    ]
    reader.close()
    admin.delete_topics([unique])[unique].result(PATIENCE_S)


@pytest.mark.embedded_only  # it keeps all in memory
def test_a_compacted_topic_refuses_rather_than_forgets(small: str, unique: str) -> None:
    """Its records are never dropped: when they fill the memory, no more are taken."""
    admin = make(small, unique, **{"cleanup.policy": "compact"})
    client = producer(small, message_timeout_ms=2_000, retries=0)
    errors: list[Any] = []
    for i in range(50):
        client.produce(
            unique, b"x" * 100_000, b"%d" % i, on_delivery=lambda error, _m: errors.append(error)
        )
        client.flush(PATIENCE_S)
    refused = [error for error in errors if error is not None]
    assert 35 <= len(errors) - len(refused) <= 41
    assert {error.code() for error in refused} == {KafkaError.KAFKA_STORAGE_ERROR}
    reader = consumer(small, unique)
    kept = len(errors) - len(refused)
    assert reader.get_watermark_offsets(TopicPartition(unique, 0), timeout=10) == (0, kept)
    reader.close()
    admin.delete_topics([unique])[unique].result(PATIENCE_S)
    make(small, unique)
    assert len(send(producer(small), unique, [b"room again"])) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack(">i", -5),
        struct.pack(">i", 2_000_000_000) + b"x" * 100,
        struct.pack(">ihhih", 10, 999, 0, 1, -1),
        struct.pack(">ihhih", 10, FETCH, 16, 1, -1),
        struct.pack(">ihhih", 10, METADATA, 1, 1, -1),
        struct.pack(">ihhihi", 14, METADATA, 1, 1, -1, 1_000_000_000),
        struct.pack(">ihhihih", 16, METADATA, 1, 1, -1, 1, 30_000),
        pytest.param(
            struct.pack(">ihhihih", 18, METADATA, 1, 1, -1, 1, 2) + b"\xff\xfe",
            marks=pytest.mark.embedded_only,  # Java takes any bytes for a string
        ),
    ],
    ids=[
        "http", "negative", "huge", "unknown", "version", "short", "array", "string", "utf-8",
    ],
)  # fmt: skip
def test_garbage_closes_the_connection(
    bootstrap: str, make_topics: Callable[..., None], unique: str, garbage: bytes
) -> None:
    """What is no request ends its connection; the broker serves the others as before."""
    with bare(bootstrap) as by_hand:
        by_hand.socket.sendall(garbage)
        assert by_hand.ended()
    make_topics(unique, partitions=1)
    assert len(send(producer(bootstrap), unique, [b"still here"])) == 1


@pytest.mark.embedded_only  # Kafka holds a connection until its longest wait is over
def test_damaged_requests_do_no_harm(
    bootstrap: str, make_topics: Callable[..., None], unique: str
) -> None:
    """Real requests with bytes changed at random are answered or end their connection."""
    make_topics(unique, partitions=1)
    send(producer(bootstrap), unique, [b"x"])
    chance = random.Random(7)  # noqa: S311 - a fixed seed, for a test
    bodies = [
        (FETCH, 4, fetch_body(unique, (0, 0))),
        (METADATA, 1, struct.pack(">i", 1) + text(unique)),
        (LEAVE, 3, text("g") + struct.pack(">i", 1) + text("m") + text(None)),
        (API_VERSIONS, 3, b"\x00\x02a\x02b\x00"),
    ]
    for turn in range(200):
        key, version, body = bodies[turn % len(bodies)]
        damaged = bytearray(body)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with bare(bootstrap) as by_hand:
            by_hand.send(key, version, bytes(damaged))
            by_hand.socket.shutdown(socket.SHUT_WR)  # also ends a wait for data
            while not by_hand.ended():
                pass
    assert len(send(producer(bootstrap), unique, [b"still here"])) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"magic": 1}, KafkaError.INVALID_RECORD),
        ({"records": 5}, KafkaError.INVALID_RECORD),
        ({"attributes": 0x20}, KafkaError.INVALID_RECORD),
        ({"length": 9_999}, KafkaError.INVALID_RECORD),
        ({"attributes": 0x10, "producer_id": 1}, KafkaError.INVALID_PRODUCER_ID_MAPPING),
    ],
    ids=["format", "count", "control", "length", "stranger"],
)
def test_bad_batches_are_refused(
    bootstrap: str,
    make_topics: Callable[..., None],
    unique: str,
    change: dict[str, int],
    code: int,
) -> None:
    """A batch that cannot be stored gets its own error, and nothing is stored."""
    make_topics(unique, partitions=1)
    fields = {
        "base_offset": 0, "length": 49 + 7, "leader_epoch": 0, "magic": 2, "crc": 0,
        "attributes": 0, "last_offset_delta": 0, "base_timestamp": 0, "max_timestamp": 0,
        "producer_id": -1, "producer_epoch": -1, "base_sequence": -1, "records": 1,
    } | change  # fmt: skip
    batch = bytearray(struct.pack(">qiibIhiqqqhii", *fields.values()) + b"\x0c\0\0\0\x01\x01\0")
    batch[17:21] = crc32c(memoryview(batch)[21:]).to_bytes(4, "big")
    transactional_id = unique if fields["attributes"] & 0x10 else None
    body = text(transactional_id) + struct.pack(">hii", -1, 1_000, 1) + text(unique)
    body += struct.pack(">iii", 1, 0, len(batch)) + batch
    with bare(bootstrap) as by_hand:
        answer = by_hand.ask(PRODUCE, 3, body)
    told = struct.unpack_from(">ihq", answer, 4 + len(text(unique)) + 4)
    if told[1] == KafkaError.NOT_ENOUGH_REPLICAS:
        # What Kafka says to such old versions when its coordinator refuses (KIP-890).
        assert code == KafkaError.INVALID_PRODUCER_ID_MAPPING
        code = KafkaError.NOT_ENOUGH_REPLICAS
    assert told == (0, code, -1)
    reader = consumer(bootstrap, unique)
    assert reader.get_watermark_offsets(TopicPartition(unique, 0), timeout=10) == (0, 0)
    reader.close()
