"""The broker's consumer groups share, hand over and fence as Kafka's do."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from tests.contract.kafka_clients import (
    PATIENCE_S,
    Bare,
    bare,
    consumer,
    producer,
    read,
    send,
    text,
)

OFFSET_COMMIT, JOIN, HEARTBEAT = 8, 11, 12
MakeTopics = Callable[..., None]


class Watched:
    """A consumer that notes what it was given and what was taken from it."""

    def __init__(self, bootstrap: str, group: str, topic: str, **options: Any) -> None:
        self.given: list[set[int]] = []
        self.taken: list[set[int]] = []
        self.client = consumer(bootstrap, group, **options)
        self.client.subscribe([topic], on_assign=self._give, on_revoke=self._take)

    def _give(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        self.given.append({tp.partition for tp in partitions})

    def _take(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        self.taken.append({tp.partition for tp in partitions})

    def has(self) -> set[int]:
        return {tp.partition for tp in self.client.assignment()}


def poll_until(members: Sequence[Watched], settled: Callable[[], bool]) -> None:
    """Let all members take part until they have settled."""
    while not settled():
        for member in members:
            message = member.client.poll(0.01)
            assert message is None or message.error() is None


def shared(partitions: int, *members: Watched) -> bool:
    """Whether every partition is at exactly one of them, and each has one."""
    parts = [member.has() for member in members]
    return (
        all(parts)
        and sum(map(len, parts)) == partitions
        and set.union(*parts) == set(range(partitions))
    )


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_share_and_take_over(
    bootstrap: str, make_topics: MakeTopics, unique: str, strategy: str
) -> None:
    """Partitions are shared out when a member comes, and taken over when it leaves."""
    make_topics(unique, partitions=4)
    options = {"partition_assignment_strategy": strategy}
    first = Watched(bootstrap, unique, unique, **options)
    poll_until([first], lambda: shared(4, first))
    second = Watched(bootstrap, unique, unique, **options)
    poll_until([first, second], lambda: shared(4, first, second))
    first.client.close()
    poll_until([second], lambda: shared(4, second))
    second.client.close()


def test_a_cooperative_member_keeps_what_it_may_keep(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """With cooperative-sticky only the partitions that move are taken away."""
    make_topics(unique, partitions=4)
    options = {"partition_assignment_strategy": "cooperative-sticky"}
    first = Watched(bootstrap, unique, unique, **options)
    poll_until([first], lambda: shared(4, first))
    second = Watched(bootstrap, unique, unique, **options)
    poll_until([first, second], lambda: shared(4, first, second))
    assert [len(parts) for parts in first.taken] == [2]
    assert first.taken[0] == second.has()
    first.client.close()
    second.client.close()


def test_a_static_member_comes_back_without_a_rebalance(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Restarted under its instance id it has its partitions again; nobody else notices."""
    make_topics(unique, partitions=4)
    options = {"partition_assignment_strategy": "cooperative-sticky", "session_timeout_ms": 60_000}
    first = Watched(bootstrap, unique, unique, group_instance_id="one", **options)
    poll_until([first], lambda: shared(4, first))
    other = Watched(bootstrap, unique, unique, group_instance_id="two", **options)
    poll_until([first, other], lambda: shared(4, first, other))
    had, seen = first.has(), (list(other.given), list(other.taken))
    first.client.close()
    again = Watched(bootstrap, unique, unique, group_instance_id="one", **options)
    poll_until([again, other], lambda: again.has() == had)
    # A cooperative member is told of every rebalance, also when nothing changes for it.
    assert (other.given, other.taken) == seen
    again.client.close()
    other.client.close()


def test_a_second_process_of_an_instance_fences_the_first(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Of two consumers with one instance id only the newer one lives."""
    make_topics(unique, partitions=2)
    old = Watched(bootstrap, unique, unique, group_instance_id="one")
    poll_until([old], lambda: shared(2, old))
    new = Watched(bootstrap, unique, unique, group_instance_id="one")
    poll_until([new], lambda: shared(2, new))
    message = old.client.poll(PATIENCE_S)
    assert message is not None
    assert message.error().code() in {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}
    with pytest.raises(KafkaException):
        old.client.commit(offsets=[TopicPartition(unique, 0, 9)], asynchronous=False)
    new.client.close()
    old.client.close()


def join_by_hand(
    client: Bare, group: str, *, member: str = "", session_ms: int = 60_000
) -> tuple[int, int, str]:
    """Join with JoinGroup 3, which needs no known member id. Gives error, generation, member."""
    body = text(group) + struct.pack(">ii", session_ms, 60_000) + text(member) + text("consumer")
    body += struct.pack(">i", 1) + text("range") + struct.pack(">i", 4) + b"meta"
    answer = client.ask(JOIN, 3, body)
    code, generation, at = *struct.unpack_from(">hi", answer, 4), 10
    for _ in range(3):  # protocol, leader, member
        (size,) = struct.unpack_from(">h", answer, at)
        found = answer[at + 2 : at + 2 + size].decode()
        at += 2 + size
    return code, generation, found


def test_a_silent_member_is_out_after_its_session(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """One that dies without a word holds up the others no longer than its session."""
    make_topics(unique, partitions=2)
    with bare(bootstrap) as by_hand:
        assert join_by_hand(by_hand, unique, session_ms=500)[0] == 0
    heir = Watched(bootstrap, unique, unique, partition_assignment_strategy="range")
    poll_until([heir], lambda: shared(2, heir))
    heir.client.close()


def test_members_that_do_not_belong_are_refused(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """Unknown members, old generations and foreign protocols each get their own error."""
    make_topics(unique, partitions=1)
    with bare(bootstrap) as by_hand:
        _, generation, member = join_by_hand(by_hand, unique)

        def beat(generation: int, member: str) -> int:
            body = text(unique) + struct.pack(">i", generation) + text(member)
            code: int = struct.unpack(">ih", by_hand.ask(HEARTBEAT, 1, body))[1]
            return code

        def commit(generation: int, member: str) -> int:
            body = text(unique) + struct.pack(">i", generation) + text(member)
            body += struct.pack(">qi", -1, 1) + text(unique)
            body += struct.pack(">iiq", 1, 0, 5) + text("note")
            code: int = struct.unpack(">h", by_hand.ask(OFFSET_COMMIT, 2, body)[-2:])[0]
            return code

        assert beat(generation, member) == 0
        assert beat(generation - 1, member) == KafkaError.ILLEGAL_GENERATION
        assert beat(generation, "nobody") == KafkaError.UNKNOWN_MEMBER_ID
        # It has joined, but brought no assignment: the group is between two generations.
        assert commit(generation, member) == KafkaError.REBALANCE_IN_PROGRESS
        assert commit(generation - 1, member) == KafkaError.ILLEGAL_GENERATION
        assert commit(-1, "") == KafkaError.UNKNOWN_MEMBER_ID
        assert join_by_hand(by_hand, unique, member="nobody")[0] == KafkaError.UNKNOWN_MEMBER_ID
        short = join_by_hand(by_hand, unique + "-other", session_ms=1)[0]
        assert short == KafkaError.INVALID_SESSION_TIMEOUT
    stranger = consumer(bootstrap, unique, partition_assignment_strategy="roundrobin")
    stranger.subscribe([unique])
    message = stranger.poll(PATIENCE_S)
    assert message is not None
    assert message.error().code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL
    stranger.close()


def test_offsets_keep_their_notes(bootstrap: str, make_topics: MakeTopics, unique: str) -> None:
    """A committed offset comes back with its metadata; too much metadata is refused."""
    make_topics(unique, partitions=2)
    reader = consumer(bootstrap, unique)
    at = TopicPartition(unique, 1, 42, metadata="note: ä")
    reader.commit(offsets=[at], asynchronous=False)
    none, found = reader.committed([TopicPartition(unique, 0), TopicPartition(unique, 1)], 10)
    assert none.offset < 0
    assert (found.offset, found.metadata) == (42, "note: ä")
    long = TopicPartition(unique, 1, 43, metadata="x" * 5_000)
    with pytest.raises(KafkaException) as raised:
        reader.commit(offsets=[long], asynchronous=False)
    assert raised.value.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    assert reader.committed([TopicPartition(unique, 1)], 10)[0].offset == 42
    reader.close()


def test_a_reader_goes_on_where_its_group_stopped(
    bootstrap: str, make_topics: MakeTopics, unique: str
) -> None:
    """What was committed is not read again."""
    make_topics(unique, partitions=1)
    send(producer(bootstrap), unique, [b"%d" % i for i in range(10)])
    for begin in (0, 5):
        reader = consumer(bootstrap, unique)
        reader.subscribe([unique])
        found = read(reader, 5)
        assert [m.offset() for m in found] == list(range(begin, begin + 5))
        reader.commit(message=found[-1], asynchronous=False)
        reader.close()


def test_groups_are_told_and_deleted(bootstrap: str, make_topics: MakeTopics, unique: str) -> None:
    """A group is listed with its members; it can be deleted once it has none."""
    make_topics(unique, partitions=2)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    member = Watched(bootstrap, unique, unique, client_id="reader")
    poll_until([member], lambda: shared(2, member))
    member.client.commit(offsets=[TopicPartition(unique, 1, 3)], asynchronous=False)
    listed = admin.list_consumer_groups().result(PATIENCE_S).valid
    assert unique in {group.group_id for group in listed}
    told = admin.describe_consumer_groups([unique])[unique].result(PATIENCE_S)
    assert told.state.name == "STABLE"
    assert [each.client_id for each in told.members] == ["reader"]
    assert len(told.members[0].assignment.topic_partitions) == 2
    with pytest.raises(KafkaException) as raised:
        admin.delete_consumer_groups([unique])[unique].result(PATIENCE_S)
    assert raised.value.args[0].code() == KafkaError.NON_EMPTY_GROUP
    asked = [ConsumerGroupTopicPartitions(unique)]
    offsets = admin.list_consumer_group_offsets(asked)[unique].result(PATIENCE_S)
    assert [(tp.partition, tp.offset) for tp in offsets.topic_partitions] == [(1, 3)]
    member.client.close()
    admin.delete_consumer_groups([unique])[unique].result(PATIENCE_S)
    assert admin.describe_consumer_groups([unique])[unique].result(PATIENCE_S).state.name == "DEAD"
