"""Produce, ListOffsets, OffsetForLeaderEpoch and DeleteRecords.

Layouts: https://kafka.apache.org/protocol.html#protocol_messages
"""

from struct import Struct

from sandbox.kafka_broker import records
from sandbox.kafka_broker.batches import split
from sandbox.kafka_broker.broker import LEADER_EPOCH, Broker, Request
from sandbox.kafka_broker.codec import Writer
from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.partition import Partition

_LATEST, _EARLIEST, _NEWEST = -1, -2, -3
_PRODUCED_V0, _PRODUCED_V2, _PRODUCED_V5 = Struct(">ihq"), Struct(">ihqq"), Struct(">ihqqq")

Produced = tuple[int, Code, int, int, str | None]
"""Partition, error, base offset, first offset kept, and the error's text."""


def produce(broker: Broker, request: Request) -> Writer | None:
    """Append batches. Without acknowledgement (acks=0) there is no response."""
    body, version = request.body, request.version
    if version >= 3:
        body.nullable_string()  # the transactional id; the batches tell their producer
    acks, _timeout_ms = body.i16(), body.i32()
    done = body.topics(lambda topic: _take(broker, topic, body.i32(), body.data()))
    if acks == 0:
        return None
    reply = request.reply()
    reply.topics(done, lambda produced: _write_produced(reply, version, produced))
    if version >= 1:
        reply.i32(0)
    reply.tags()
    return reply


def _take(broker: Broker, topic: str, index: int, data: memoryview | None) -> Produced:
    partition = broker.topics.find(topic, index)
    if partition is None:
        return index, Code.UNKNOWN_TOPIC_OR_PARTITION, -1, -1, None
    try:
        base_offset = _append(broker, partition, data or memoryview(b""))
    except KafkaError as error:
        return index, error.code, -1, -1, str(error)
    return index, Code.NONE, base_offset, partition.start, None


def _write_produced(reply: Writer, version: int, produced: Produced) -> None:
    index, code, base_offset, start, text = produced
    if version >= 5:
        reply.pack(_PRODUCED_V5, index, code, base_offset, -1, start)
    elif version >= 2:
        reply.pack(_PRODUCED_V2, index, code, base_offset, -1)
    else:
        reply.pack(_PRODUCED_V0, index, code, base_offset)
    if version >= 8:
        reply.count(0)  # errors of single records: there is no work per record here
        reply.string(text)


def _append(broker: Broker, partition: Partition, data: memoryview) -> int:
    limit = broker.topics.by_name[partition.topic].max_message_bytes
    offsets = []
    for header, batch in split(data, max_bytes=limit):
        if header.transactional:
            broker.transactions.check_write(header.producer_id, header.producer_epoch, partition)
        offsets.append(partition.append(header, batch))
    return offsets[0]


def list_offsets(broker: Broker, request: Request) -> Writer:
    """Tell first, next or timed offsets."""
    body, version = request.body, request.version
    body.i32()  # replica
    committed = version >= 2 and body.i8() == 1

    def look(topic: str) -> tuple[int, Code, int, int]:
        index = body.i32()
        epoch = body.i32() if version >= 4 else -1
        wanted = body.i64()
        found = broker.topics.find(topic, index)
        code = check_epoch(found, epoch)
        if found is None or code is not Code.NONE:
            return index, code, -1, -1
        return index, code, *_offset_at(found, wanted, committed=committed)

    found = body.topics(look)
    reply = request.reply()
    if version >= 2:
        reply.i32(0)

    def write(told: tuple[int, Code, int, int]) -> None:
        index, code, timestamp, offset = told
        reply.i32(index)
        reply.i16(code)
        reply.i64(timestamp)
        reply.i64(offset)
        if version >= 4:
            reply.i32(LEADER_EPOCH if offset >= 0 else -1)

    reply.topics(found, write)
    reply.tags()
    return reply


def _offset_at(partition: Partition, wanted: int, *, committed: bool) -> tuple[int, int]:
    """Give (timestamp, offset); both -1 when there is no such record."""
    end = partition.stable_end if committed else partition.end
    if wanted == _LATEST:
        return -1, end
    if wanted == _EARLIEST:
        return -1, partition.start
    batch = partition.newest() if wanted == _NEWEST else partition.first_at_or_after(wanted)
    if batch is None:
        return -1, -1
    timestamp, offset = records.find(batch, None if wanted == _NEWEST else wanted)
    return (timestamp, max(offset, partition.start)) if offset < end else (-1, -1)


def leader_epochs(broker: Broker, request: Request) -> Writer:
    """Tell where an epoch of leadership ended: there is but one, and it ends at the end."""
    body = request.body
    if request.version >= 3:
        body.i32()  # replica

    def look(topic: str) -> tuple[int, Code, int]:
        index, current, epoch = body.i32(), body.i32(), body.i32()
        found = broker.topics.find(topic, index)
        code = check_epoch(found, current)
        known = found is not None and code is Code.NONE and epoch == LEADER_EPOCH
        return index, code, found.end if known and found is not None else -1

    found = body.topics(look)
    reply = request.reply()
    reply.i32(0)

    def write(told: tuple[int, Code, int]) -> None:
        index, code, end = told
        reply.i16(code)
        reply.i32(index)
        reply.i32(LEADER_EPOCH if end >= 0 else -1)
        reply.i64(end)

    reply.topics(found, write)
    reply.tags()
    return reply


def delete_records(broker: Broker, request: Request) -> Writer:
    """Drop the records before an offset; -1 means all that is readable."""
    body = request.body

    def drop(topic: str) -> tuple[int, int, Code]:
        index, offset = body.i32(), body.i64()
        found = broker.topics.find(topic, index)
        if found is None:
            return index, -1, Code.UNKNOWN_TOPIC_OR_PARTITION
        if offset == -1:
            offset = found.stable_end
        if offset < 0 or not found.drop_before(offset):
            return index, -1, Code.OFFSET_OUT_OF_RANGE
        return index, found.start, Code.NONE

    done = body.topics(drop)
    reply = request.reply()
    reply.i32(0)

    def write(dropped: tuple[int, int, Code]) -> None:
        index, start, code = dropped
        reply.i32(index)
        reply.i64(start)
        reply.i16(code)

    reply.topics(done, write)
    reply.tags()
    return reply


def check_epoch(partition: Partition | None, epoch: int) -> Code:
    """Check what a client takes for the leader's epoch; -1 when it does not say."""
    if partition is None:
        return Code.UNKNOWN_TOPIC_OR_PARTITION
    return Code.UNKNOWN_LEADER_EPOCH if epoch > LEADER_EPOCH else Code.NONE
