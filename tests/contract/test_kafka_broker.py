"""The broker keeps and gives records as Kafka does; confluent-kafka is the judge.

It is the embedded one, or with `--servers=real` Apache Kafka itself.
"""

import struct
import time
from collections.abc import Callable

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from tests.contract.kafka_clients import (
    PATIENCE_S,
    bare,
    batches_of,
    consumer,
    fetch_body,
    fetched,
    producer,
    read,
    send,
    wait_until,
)

FETCH, API_VERSIONS = 1, 18
KEPT = {"retention.ms": "-1"}  # records that say they are from 1970 would soon go
MakeTopics = Callable[..., None]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_records_come_back_as_they_went(
    bootstrap: str, make_topics: MakeTopics, unique: str, codec: str
) -> None:
    """Key, value, headers, timestamp and order survive, whatever the compression."""
    make_topics(unique, partitions=1, **KEPT)
    client = producer(bootstrap, compression_type=codec, linger_ms=20)
    for i in range(500):
        client.produce(
            unique, b"v%d" % i, b"k%d" % i, timestamp=1_000 + i, headers={"n": b"%d" % i}
        )
    assert client.flush(PATIENCE_S) == 0
    reader = consumer(bootstrap, unique)
    reader.subscribe([unique])
    found = read(reader, 500)
    reader.close()
    assert [(m.offset(), m.key(), m.value()) for m in found] == [
        (i, b"k%d" % i, b"v%d" % i) for i in range(500)
    ]
    assert found[3].timestamp()[1] == 1_003
    assert found[3].headers() == [("n", b"3")]


def test_unknown_topics_are_not_made(bootstrap: str, unique: str) -> None:
    """Neither producing nor asking makes a topic."""
    client = producer(bootstrap, topic_metadata_propagation_max_ms=0)
    errors: list[KafkaError] = []
    client.produce(unique, b"x", on_delivery=lambda error, _message: errors.append(error))
    client.flush(PATIENCE_S)
    assert errors[0].code() in {
        KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MSG_TIMED_OUT,
    }  # fmt: skip
    told = AdminClient({"bootstrap.servers": bootstrap}).list_topics(unique, timeout=10)
    assert told.topics[unique].error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (NewTopic("taken"), "TOPIC_ALREADY_EXISTS"),
        (NewTopic("no/slash"), "TOPIC_EXCEPTION"),
        (NewTopic("zero", num_partitions=0), "INVALID_PARTITIONS"),
        (NewTopic("many", num_partitions=30_000), "POLICY_VIOLATION"),
        (NewTopic("wide", replication_factor=2), "INVALID_REPLICATION_FACTOR"),
        (NewTopic("odd", config={"no.such": "1"}), "INVALID_CONFIG"),
        (NewTopic("odd", config={"cleanup.policy": "burn"}), "INVALID_CONFIG"),
    ],
)
def test_bad_topics_are_refused(bootstrap: str, topic: NewTopic, code: str) -> None:
    """Each mistake has its own error, and nothing is made."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if topic.topic == "taken" and "taken" not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic("taken")])["taken"].result(10)
    before = set(admin.list_topics(timeout=10).topics)
    with pytest.raises(KafkaException) as raised:
        admin.create_topics([topic])[topic.topic].result(10)
    assert raised.value.args[0].name() == code
    assert set(admin.list_topics(timeout=10).topics) == before


def test_topics_tell_their_configuration_and_grow(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """What was set is told, and partitions can be added but not taken away."""
    make_topics(unique, partitions=2, **{"retention.ms": "1234"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    resource = ConfigResource(ConfigResource.Type.TOPIC, unique)
    told = admin.describe_configs([resource])[resource].result(10)
    assert told["retention.ms"].value == "1234"
    assert told["cleanup.policy"].value == "delete"
    admin.create_partitions([NewPartitions(unique, 5)])[unique].result(10)
    assert len(admin.list_topics(timeout=10).topics[unique].partitions) == 5
    with pytest.raises(KafkaException):
        admin.create_partitions([NewPartitions(unique, 3)])[unique].result(10)


def test_a_deleted_topic_is_gone_with_its_offsets(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """A topic of the same name begins anew, also for a group that had read the old one."""
    make_topics(unique, partitions=1)
    send(producer(bootstrap), unique, [b"old"] * 10)
    reader = consumer(bootstrap, unique)
    reader.commit(offsets=[TopicPartition(unique, 0, 10)], asynchronous=False)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([unique])[unique].result(10)
    wait_until(lambda: unique not in admin.list_topics(timeout=10).topics)
    reader.close()
    make_topics(unique, partitions=1)
    heir = consumer(bootstrap, unique)
    assert heir.get_watermark_offsets(TopicPartition(unique, 0), timeout=10) == (0, 0)
    assert heir.committed([TopicPartition(unique, 0)], 10)[0].offset < 0
    heir.close()


def test_offsets_are_told_by_place_and_by_time(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Watermarks, and the first record at or after a time, also inside a batch."""
    make_topics(unique, partitions=1, **KEPT)
    client = producer(bootstrap, linger_ms=50)
    for i in range(100):
        client.produce(unique, b"x", timestamp=1_000 + 10 * i)
    assert client.flush(PATIENCE_S) == 0
    reader = consumer(bootstrap, unique)
    assert reader.get_watermark_offsets(TopicPartition(unique, 0), timeout=10) == (0, 100)
    for wanted_ms, offset in ((0, 0), (1_001, 1), (1_500, 50), (1_990, 99)):
        found = reader.offsets_for_times([TopicPartition(unique, 0, wanted_ms)], 10)
        assert found[0].offset == offset
    reader.close()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    place = TopicPartition(unique, 0)
    newest = admin.list_offsets({place: OffsetSpec.max_timestamp()})[place].result(10)
    assert (newest.offset, newest.timestamp) == (99, 1_990)


def test_deleted_records_are_out_of_range(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """After DeleteRecords reading begins at the new start, in the middle of a batch as well."""
    make_topics(unique, partitions=1)
    client = producer(bootstrap, linger_ms=50)
    send(client, unique, [b"%d" % i for i in range(50)])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    place = TopicPartition(unique, 0, 20)
    admin.delete_records([place])[place].result(10)
    reader = consumer(bootstrap, unique)
    reader.assign([TopicPartition(unique, 0, OFFSET_BEGINNING)])
    assert [m.value() for m in read(reader, 30)] == [b"%d" % i for i in range(20, 50)]
    reader.close()
    with bare(bootstrap) as client_by_hand:
        answer = client_by_hand.ask(FETCH, 4, fetch_body(unique, (0, 3)))
    assert fetched(answer, unique)[0][0] == KafkaError.OFFSET_OUT_OF_RANGE


def test_a_fetch_keeps_the_clients_limits(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Of a large backlog a response holds whole batches within the limits, at least one."""
    make_topics(unique, partitions=2)
    client = producer(bootstrap, batch_size=20_000, linger_ms=5)
    for index in (0, 1):
        send(client, unique, [b"x" * 1_000] * 2_000, partition=index)
    with bare(bootstrap) as by_hand:

        def ask(**limits: int) -> dict[int, list[tuple[int, int]]]:
            answer = by_hand.ask(FETCH, 4, fetch_body(unique, (0, 0), (1, 0), **limits))
            return {i: batches_of(part[2]) for i, part in fetched(answer, unique).items()}

        def sizes(found: dict[int, list[tuple[int, int]]]) -> list[int]:
            return [sum(size for _, size in part) for part in found.values()]

        first, second = sizes(ask(partition_max_bytes=100_000))
        assert 70_000 < first <= 100_000
        assert 70_000 < second <= 100_000
        assert 250_000 < sum(sizes(ask(max_bytes=300_000))) <= 300_000
        tiny = ask(max_bytes=10, partition_max_bytes=10)
        assert [len(part) for part in tiny.values()] == [1, 0]


def test_a_fetch_inside_a_batch_gives_the_batch(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """The batch is whole, and a client that seeks there sees only what it asked for."""
    make_topics(unique, partitions=1)
    send(producer(bootstrap, linger_ms=50), unique, [b"%d" % i for i in range(100)])
    with bare(bootstrap) as by_hand:
        answer = by_hand.ask(FETCH, 4, fetch_body(unique, (0, 37)))
    base_offset, _ = batches_of(fetched(answer, unique)[0][2])[0]
    assert base_offset <= 37
    reader = consumer(bootstrap, unique)
    reader.assign([TopicPartition(unique, 0, 37)])
    assert read(reader, 1)[0].value() == b"37"
    reader.close()


def test_a_fetch_waits_for_data(bootstrap: str, make_topics: MakeTopics, unique: str) -> None:
    """A fetch at the end is answered with the record that comes, long before its time is up."""
    make_topics(unique, partitions=2)
    with bare(bootstrap) as by_hand:
        by_hand.send(FETCH, 4, fetch_body(unique, (0, 0), (1, 0), wait_ms=600_000))
        send(producer(bootstrap), unique, [b"woken"], partition=1)
        found = fetched(by_hand.receive(), unique)
    assert found[0][2] == b""
    assert b"woken" in found[1][2]


def test_a_fetch_waits_for_enough_data(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Below min_bytes nothing is answered; what came in between is in the answer."""
    make_topics(unique, partitions=1)
    client = producer(bootstrap)
    with bare(bootstrap) as by_hand:
        by_hand.send(FETCH, 4, fetch_body(unique, (0, 0), wait_ms=600_000, min_bytes=5_000))
        send(client, unique, [b"little"])
        send(client, unique, [b"much" * 2_000])
        records = fetched(by_hand.receive(), unique)[0][2]
    assert len(batches_of(records)) == 2


def test_a_fetch_ends_when_its_time_is_up(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Without data an empty answer comes after max_wait_ms."""
    make_topics(unique, partitions=1)
    with bare(bootstrap) as by_hand:
        for wait_ms in (*range(1, 21), 300):  # whatever the rounding of the loop's timers
            began_s = time.monotonic()
            answer = by_hand.ask(FETCH, 4, fetch_body(unique, (0, 0), wait_ms=wait_ms))
            assert fetched(answer, unique)[0] == (0, 0, b"")
        assert time.monotonic() - began_s >= 0.29  # not sooner


def test_a_waiting_fetch_learns_of_a_deleted_topic(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """It is answered with an error at once."""
    make_topics(unique, partitions=1)
    with bare(bootstrap) as by_hand:
        by_hand.send(FETCH, 4, fetch_body(unique, (0, 0), wait_ms=600_000))
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.delete_topics([unique])[unique].result(10)
        found = fetched(by_hand.receive(), unique)
    assert found[0][0] == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_the_end_of_a_partition_is_told(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """enable.partition.eof gives an event at the end, an empty partition's included."""
    make_topics(unique, partitions=2)
    send(producer(bootstrap), unique, [b"a", b"b"], partition=0)
    reader = consumer(bootstrap, unique, enable_partition_eof=True)
    reader.subscribe([unique])
    ends: dict[int, int] = {}
    while len(ends) < 2:
        message = reader.poll(PATIENCE_S)
        assert message is not None
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF
            ends[message.partition()] = message.offset()
    reader.close()
    assert ends == {0: 2, 1: 0}


def test_a_reader_seeks_pauses_and_resumes(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """A paused partition gives nothing while another one does; a seek reads again."""
    make_topics(unique, partitions=2)
    client = producer(bootstrap)
    for index in (0, 1):
        send(client, unique, [b"%d" % index] * 5, partition=index)
    reader = consumer(bootstrap, unique)
    paused = TopicPartition(unique, 0, 0)
    reader.assign([paused, TopicPartition(unique, 1, 0)])
    reader.pause([paused])
    assert {m.partition() for m in read(reader, 5)} == {1}
    send(client, unique, [b"more"], partition=0)
    send(client, unique, [b"more"], partition=1)
    assert read(reader, 1)[0].partition() == 1
    reader.resume([paused])
    assert [m.offset() for m in read(reader, 6)] == list(range(6))
    reader.seek(TopicPartition(unique, 1, 2))
    assert read(reader, 1)[0].offset() == 2
    reader.close()


def test_compacted_topics_keep_the_last_value_of_each_key(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Reading from the start ends with the newest value of every key."""
    make_topics(unique, partitions=1, **{"cleanup.policy": "compact"})
    client = producer(bootstrap)
    for turn in range(3):
        for key in range(20):
            client.produce(unique, b"%d" % turn, b"%d" % key)
    assert client.flush(PATIENCE_S) == 0
    reader = consumer(bootstrap, unique, enable_partition_eof=True)
    reader.assign([TopicPartition(unique, 0, OFFSET_BEGINNING)])
    last: dict[bytes, bytes] = {}
    while (message := reader.poll(PATIENCE_S)) is not None and message.error() is None:
        last[message.key()] = message.value()
    reader.close()
    assert last == {b"%d" % key: b"2" for key in range(20)}


def test_a_message_over_the_limit_is_refused(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """max.message.bytes of the topic bounds a batch."""
    make_topics(unique, partitions=1, **{"max.message.bytes": "2000"})
    errors: list[KafkaError] = []
    client = producer(bootstrap)
    client.produce(unique, b"x" * 5_000, on_delivery=lambda error, _m: errors.append(error))
    client.flush(PATIENCE_S)
    assert errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert len(send(client, unique, [b"x" * 500])) == 1


def test_an_answer_tells_the_versions(bootstrap: str) -> None:
    """A client from the future is told in version 0 how it can ask (KIP-511)."""
    with bare(bootstrap) as by_hand:
        answer = by_hand.ask(API_VERSIONS, 99, b"\x01\x01\x00", flexible=True)
        (code, count) = struct.unpack_from(">hi", answer)
        spoken = dict(struct.unpack_from(">hxxh", answer, 6 + 6 * index) for index in range(count))
    assert code == KafkaError.UNSUPPORTED_VERSION
    assert set(spoken) == {API_VERSIONS}
    assert spoken[API_VERSIONS] >= 3
