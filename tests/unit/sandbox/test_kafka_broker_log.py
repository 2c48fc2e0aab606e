"""The broker's log: sequence numbers, markers, and the memory it may use."""

import struct

import pytest

from sandbox.kafka_broker.batches import Header, crc32c, header_of, marker, split
from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.memory import BATCH_OVERHEAD_BYTES, Memory
from sandbox.kafka_broker.partition import Partition
from sandbox.kafka_broker.producers import REMEMBERED_BATCHES, Producers

PAYLOAD_BYTES = 100
BATCH_BYTES = 61 + PAYLOAD_BYTES


def batch_of(
    *, records: int = 1, producer_id: int = -1, epoch: int = -1, sequence: int = -1,
    attributes: int = 0, max_timestamp: int = 0,
) -> tuple[Header, bytearray]:  # fmt: skip
    raw = struct.pack(
        ">qiibIhiqqqhii", 0, BATCH_BYTES - 12, -1, 2, 0, attributes, records - 1, 0,
        max_timestamp, producer_id, epoch, sequence, records,
    )  # fmt: skip
    [found] = split(memoryview(raw + bytes(PAYLOAD_BYTES)), max_bytes=10_000)
    return found


def partition_of(memory: Memory | None = None, *, expires: bool = True) -> Partition:
    return Partition("t", 0, memory or Memory(1 << 30), expires=expires)


def test_crc32c_matches_the_published_check_value() -> None:
    """RFC 3720 B.4: thirty-two bytes of zeros; and the usual check string."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("commit", [True, False])
def test_a_marker_is_a_whole_control_batch(commit: bool) -> None:  # noqa: FBT001 - a parameter
    """Its length, checksum and the type in its key are right."""
    batch = marker(42, 3, commit=commit, now_ms=1_000)
    header = header_of(batch)
    assert header.length == len(batch) - 12
    assert header.crc == crc32c(bytes(batch[21:]))
    assert (header.producer_id, header.producer_epoch) == (42, 3)
    assert header.attributes == 0x30
    assert struct.unpack_from(">hh", batch, 66) == (0, int(commit))


def test_offsets_have_no_gaps() -> None:
    """Each batch begins where the one before ended, and says so in its own header."""
    partition = partition_of()
    assert [partition.append(*batch_of(records=n)) for n in (3, 1, 5)] == [0, 3, 4]
    found = partition.read(0, until=partition.end, max_bytes=10_000, at_least_one=True)
    assert [header_of(part).base_offset for part in found.parts] == [0, 3, 4]
    assert (found.size_bytes, found.end) == (3 * BATCH_BYTES, 9)


def numbered(sequence: int, *, epoch: int = 0, records: int = 2) -> Header:
    return batch_of(records=records, producer_id=1, epoch=epoch, sequence=sequence)[0]


def test_a_repeated_batch_is_known_again() -> None:
    """The last five batches of a producer answer with the offset they have."""
    producers = Producers()
    for turn in range(10):
        assert producers.check(numbered(2 * turn)) is None
        producers.note(numbered(2 * turn), 100 + turn)
    for turn in range(10 - REMEMBERED_BATCHES, 10):
        assert producers.check(numbered(2 * turn)) == 100 + turn
    with pytest.raises(KafkaError) as raised:
        producers.check(numbered(2 * 4))
    assert raised.value.code is Code.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_gap_is_refused() -> None:
    """The next batch must follow on; the count wraps after 2**31 - 1."""
    producers = Producers()
    last = 2**31 - 2
    producers.note(numbered(last), 0)
    assert producers.check(numbered(0)) is None
    for sequence in (last + 1, 1, 7):
        with pytest.raises(KafkaError) as raised:
            producers.check(numbered(sequence))
        assert raised.value.code is Code.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() -> None:
    """An epoch that is over is refused, and sequences start again in each."""
    producers = Producers()
    producers.note(numbered(0, epoch=3), 0)
    with pytest.raises(KafkaError) as older:
        producers.check(numbered(2, epoch=2))
    assert older.value.code is Code.INVALID_PRODUCER_EPOCH
    with pytest.raises(KafkaError) as newer:
        producers.check(numbered(2, epoch=4))
    assert newer.value.code is Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert producers.check(numbered(0, epoch=4)) is None
    producers.fence(1, 5)
    with pytest.raises(KafkaError):
        producers.check(numbered(0, epoch=4))


def test_aborted_transactions_are_told_where_they_lie() -> None:
    """A range that touches one names it, another does not."""
    partition = partition_of()
    for producer_id, commit in ((1, False), (2, True), (3, False)):
        partition.append(*batch_of(producer_id=producer_id, epoch=0, sequence=0, attributes=0x10))
        partition.end_transaction(producer_id, 0, commit=commit, now_ms=0)
    assert [a.producer_id for a in partition.aborted_between(0, 6)] == [1, 3]
    assert [a.producer_id for a in partition.aborted_between(2, 6)] == [3]
    assert partition.aborted_between(2, 4) == []
    assert [a.producer_id for a in partition.aborted_between(1, 2)] == [1]


def room_for(batches: int) -> Memory:
    return Memory(batches * (BATCH_BYTES + BATCH_OVERHEAD_BYTES))


def test_the_oldest_batch_of_all_partitions_goes_first() -> None:
    """Room is made in order of arrival, and the count of bytes stays right."""
    memory = room_for(4)
    one, two = partition_of(memory), partition_of(memory)
    for partition in (one, two, one, two, two, one):
        partition.append(*batch_of())
    assert (one.start, one.end, two.start, two.end) == (1, 3, 1, 3)
    assert memory.used_bytes == memory.limit_bytes
    one.delete()
    two.delete()
    assert memory.used_bytes == 0


def test_deleted_records_do_not_cost_newer_ones_their_place() -> None:
    """After DeleteRecords the tokens of what has gone are not spent on what came later."""
    memory = room_for(4)
    one, two = partition_of(memory), partition_of(memory)
    for partition in (one, one, two, two):
        partition.append(*batch_of())
    assert one.drop_before(2)
    for _ in range(3):
        one.append(*batch_of())
    assert (one.start, two.start) == (2, 1)


def test_an_open_transaction_and_a_compacted_topic_are_kept() -> None:
    """When nothing else can go, a batch is refused and nothing changes."""
    memory = room_for(3)
    compacted = partition_of(memory, expires=False)
    held = partition_of(memory)
    compacted.append(*batch_of())
    held.append(*batch_of(producer_id=1, epoch=0, sequence=0, attributes=0x10))
    held.append(*batch_of())
    with pytest.raises(KafkaError) as raised:
        held.append(*batch_of())
    assert raised.value.code is Code.KAFKA_STORAGE_ERROR
    assert (compacted.start, compacted.end, held.start, held.end) == (0, 1, 0, 2)


def test_tokens_of_what_is_gone_do_not_pile_up() -> None:
    """A topic that is made, filled and deleted again and again leaves nothing behind."""
    memory = Memory(1 << 30)
    for _ in range(60):
        partition = partition_of(memory)
        for _ in range(500):
            partition.append(*batch_of())
        partition.delete()
    assert memory.used_bytes == 0
    assert len(memory._tokens) <= 11_000
