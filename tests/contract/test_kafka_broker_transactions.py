"""The broker's transactions hold what Kafka's hold; confluent-kafka is the judge."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sandbox.processes import free_port
from tests.contract.kafka_clients import (
    PATIENCE_S,
    bare,
    batches_of,
    broker_advertised_as,
    consumer,
    fetch_body,
    fetched,
    producer,
    read,
    send,
    text,
    values_until,
)
from tests.contract.kafka_proxy import relay_to

FETCH, OFFSET_FETCH = 1, 9
MakeTopics = Callable[..., None]


def transactional(bootstrap: str, name: str, **options: int) -> Producer:
    client = producer(bootstrap, transactional_id=name, **options)
    client.init_transactions(PATIENCE_S)
    return client


def reader_of(bootstrap: str, topic: str, level: str = "read_committed") -> Consumer:
    reader = consumer(bootstrap, f"{topic}-{level}", isolation_level=level)
    reader.assign([TopicPartition(topic, 0, 0)])
    return reader


def test_only_committed_records_are_read(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """A reader of committed records sees commits and never an abort; another one sees all."""
    make_topics(unique, partitions=1)
    writer = transactional(bootstrap, unique)
    for value, end in (
        (b"1", writer.commit_transaction),
        (b"2", writer.abort_transaction),
        (b"3", writer.abort_transaction),
        (b"4", writer.commit_transaction),
    ):
        writer.begin_transaction()
        send(writer, unique, [value] * 3)
        end(PATIENCE_S)
    send(producer(bootstrap), unique, [b"end"])
    committed, every = (
        reader_of(bootstrap, unique),
        reader_of(bootstrap, unique, "read_uncommitted"),
    )
    assert values_until(committed, b"end") == [b"1"] * 3 + [b"4"] * 3 + [b"end"]
    assert values_until(every, b"end")[:-1] == [b"1"] * 3 + [b"2"] * 3 + [b"3"] * 3 + [b"4"] * 3
    committed.close()
    every.close()


def test_interleaved_transactions_are_told_apart(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Of two producers that write by turns, only the one that aborts disappears."""
    make_topics(unique, partitions=1)
    good, bad = transactional(bootstrap, unique + "g"), transactional(bootstrap, unique + "b")
    good.begin_transaction()
    bad.begin_transaction()
    for turn in range(4):
        send(good, unique, [b"good%d" % turn])
        send(bad, unique, [b"bad%d" % turn])
    bad.abort_transaction(PATIENCE_S)
    good.commit_transaction(PATIENCE_S)
    reader = reader_of(bootstrap, unique)
    assert [m.value() for m in read(reader, 4)] == [b"good%d" % turn for turn in range(4)]
    reader.close()


def test_an_open_transaction_holds_back_what_follows(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Beyond the stable end nothing is given to readers of committed records, until it ends."""
    make_topics(unique, partitions=1)
    send(producer(bootstrap), unique, [b"before"])
    writer = transactional(bootstrap, unique)
    writer.begin_transaction()
    send(writer, unique, [b"inside"])
    send(producer(bootstrap), unique, [b"after"])
    with bare(bootstrap) as by_hand:

        def ask(at: int, *, committed: bool, wait_ms: int = 0) -> tuple[int, int]:
            body = fetch_body(unique, (0, at), committed=committed, wait_ms=wait_ms)
            _, stable_end, records = fetched(by_hand.ask(FETCH, 4, body), unique)[0]
            return stable_end, len(batches_of(records))

        assert ask(0, committed=True) == (1, 1)
        assert ask(0, committed=False) == (1, 3)
        by_hand.send(FETCH, 4, fetch_body(unique, (0, 1), committed=True, wait_ms=600_000))
        writer.commit_transaction(PATIENCE_S)
        woken = fetched(by_hand.receive(), unique)[0]
    assert woken[1] == 4
    assert len(batches_of(woken[2])) == 3  # inside, after, and the marker


def test_offsets_of_a_transaction_show_at_its_commit(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """They are dropped by an abort, visible after a commit, and refused to the careful between."""
    make_topics(unique, partitions=1)
    reader = consumer(bootstrap, unique)
    place = TopicPartition(unique, 0)
    writer = transactional(bootstrap, unique)

    def begin(offset: int) -> None:
        writer.begin_transaction()
        at = TopicPartition(unique, 0, offset, metadata=f"note {offset}")
        writer.send_offsets_to_transaction([at], reader.consumer_group_metadata(), PATIENCE_S)

    begin(5)
    writer.abort_transaction(PATIENCE_S)
    assert reader.committed([place], PATIENCE_S)[0].offset < 0
    begin(7)
    # OffsetFetch 7 is flexible: strings and arrays begin with their length plus one.
    name = bytes([len(unique) + 1]) + unique.encode()
    asked = name + b"\x02" + name + b"\x02" + struct.pack(">i", 0) + b"\x00"
    with bare(bootstrap) as by_hand:
        stable = by_hand.ask(OFFSET_FETCH, 7, asked + b"\x01\x00", flexible=True)
        careless = by_hand.ask(OFFSET_FETCH, 7, asked + b"\x00\x00", flexible=True)
    assert struct.pack(">h", KafkaError.UNSTABLE_OFFSET_COMMIT) in stable
    assert struct.pack(">h", KafkaError.UNSTABLE_OFFSET_COMMIT) not in careless
    writer.commit_transaction(PATIENCE_S)
    found = reader.committed([place], PATIENCE_S)[0]
    assert (found.offset, found.metadata) == (7, "note 7")
    reader.close()


def test_a_newcomer_aborts_and_fences_its_predecessor(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """What a zombie left open is aborted, and it can neither commit nor write any more."""
    make_topics(unique, partitions=1)
    zombie = transactional(bootstrap, unique)
    zombie.begin_transaction()
    send(zombie, unique, [b"lost"])
    heir = transactional(bootstrap, unique)
    with pytest.raises(KafkaException) as raised:
        zombie.commit_transaction(PATIENCE_S)
    assert raised.value.args[0].fatal()
    heir.begin_transaction()
    send(heir, unique, [b"kept"])
    heir.commit_transaction(PATIENCE_S)
    reader = reader_of(bootstrap, unique)
    assert read(reader, 1)[0].value() == b"kept"
    reader.close()


def test_a_zombie_in_the_middle_of_writing_is_refused(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """A batch of an older epoch does not get into the log."""
    make_topics(unique, partitions=1)
    zombie = transactional(bootstrap, unique)
    zombie.begin_transaction()
    send(zombie, unique, [b"lost"])
    transactional(bootstrap, unique)
    zombie.produce(unique, b"late")
    with pytest.raises(KafkaException) as raised:
        zombie.flush(PATIENCE_S)
    assert raised.value.args[0].fatal()
    reader = consumer(bootstrap, unique)
    assert reader.get_watermark_offsets(TopicPartition(unique, 0), timeout=10) == (0, 2)
    reader.close()


def test_a_transaction_that_takes_too_long_is_aborted(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """After transaction.timeout.ms readers go on without it, and its producer is fenced."""
    make_topics(unique, partitions=1)
    slow = transactional(bootstrap, unique, transaction_timeout_ms=1_000)
    slow.begin_transaction()
    send(slow, unique, [b"slow"])
    send(producer(bootstrap), unique, [b"next"])
    reader = reader_of(bootstrap, unique)
    assert read(reader, 1)[0].value() == b"next"
    reader.close()
    with pytest.raises(KafkaException) as raised:
        slow.commit_transaction(PATIENCE_S)
    assert raised.value.args[0].fatal()


def test_offsets_of_a_former_member_are_refused(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """A commit with the metadata of an older generation aborts instead (KIP-447)."""
    make_topics(unique, partitions=2)
    send(producer(bootstrap), unique, [b"x"] * 2, partition=0)
    send(producer(bootstrap), unique, [b"x"] * 2, partition=1)
    first = consumer(bootstrap, unique)
    first.subscribe([unique])
    read(first, 4)
    before = first.consumer_group_metadata()
    second = consumer(bootstrap, unique)
    second.subscribe([unique])
    while not second.assignment():
        first.poll(0.01)
        second.poll(0.01)
    writer = transactional(bootstrap, unique)
    writer.begin_transaction()
    at = TopicPartition(unique, 0, 1)
    with pytest.raises(KafkaException) as raised:
        writer.send_offsets_to_transaction([at], before, PATIENCE_S)
    assert raised.value.args[0].code() == KafkaError.ILLEGAL_GENERATION
    assert raised.value.args[0].txn_requires_abort()
    writer.abort_transaction(PATIENCE_S)
    first.close()
    second.close()


def test_a_copy_is_exactly_once_with_aborts(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Read, write, commit with offsets; every third time abort and read again: no loss, no copy."""
    make_topics(unique, unique + "-out", partitions=4)
    wanted = [b"%d" % i for i in range(2_000)]
    send(producer(bootstrap, linger_ms=5), unique, wanted)
    reader = consumer(bootstrap, unique, isolation_level="read_committed")
    reader.subscribe([unique])
    writer = transactional(bootstrap, unique, linger_ms=5)
    turn, copied = 0, 0
    while copied < len(wanted):
        found = reader.consume(250, PATIENCE_S)
        assert found
        writer.begin_transaction()
        for message in found:
            writer.produce(unique + "-out", message.value())
        turn += 1
        if turn % 3 == 0:
            writer.abort_transaction(PATIENCE_S)
            for at in reader.committed(reader.assignment(), PATIENCE_S):
                reader.seek(TopicPartition(unique, at.partition, max(at.offset, 0)))
            continue
        positions = reader.position(reader.assignment())
        moved = [at for at in positions if at.offset >= 0]
        writer.send_offsets_to_transaction(moved, reader.consumer_group_metadata(), PATIENCE_S)
        writer.commit_transaction(PATIENCE_S)
        copied += len(found)
    reader.close()
    check = consumer(bootstrap, unique + "-check", isolation_level="read_committed")
    check.subscribe([unique + "-out"])
    assert sorted(m.value() for m in read(check, len(wanted))) == sorted(wanted)
    check.close()


def test_a_lost_answer_does_not_double_a_batch(
    tmp_path: Path, unique: str, *, real_servers: bool
) -> None:
    """An idempotent producer whose connection breaks sends again, and each record is there once."""
    relay_port = free_port()
    bootstrap = f"127.0.0.1:{relay_port}"
    with (
        broker_advertised_as(bootstrap, tmp_path, real=real_servers) as port,
        relay_to(port, relay_port) as relay,
    ):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(unique, 1)])[unique].result(PATIENCE_S)
        client = producer(bootstrap, enable_idempotence=True, retry_backoff_ms=10)
        send(client, unique, [b"first"])
        relay.losses = 2
        wanted = [b"%d" % i for i in range(20)]
        send(client, unique, wanted)
        reader = consumer(bootstrap, unique)
        assert reader.get_watermark_offsets(TopicPartition(unique, 0), timeout=10) == (0, 21)
        reader.assign([TopicPartition(unique, 0, 1)])
        assert [m.value() for m in read(reader, 20)] == wanted
        reader.close()
        assert relay.lost == 2


def test_a_transactional_id_of_another_is_refused(bootstrap: str, unique: str) -> None:
    """EndTxn with a producer id that is not the id's own is an error, not a commit."""
    transactional(bootstrap, unique)
    with bare(bootstrap) as by_hand:
        answer = by_hand.ask(26, 1, text(unique) + struct.pack(">qhb", 12, 0, 1))
    assert struct.unpack(">ih", answer)[1] == KafkaError.INVALID_PRODUCER_ID_MAPPING
