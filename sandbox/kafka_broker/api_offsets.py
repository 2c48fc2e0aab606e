"""OffsetCommit, TxnOffsetCommit and OffsetFetch."""

from sandbox.kafka_broker.broker import Broker, Request
from sandbox.kafka_broker.codec import Reader, Writer
from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.offsets import MAX_METADATA_BYTES, Committed, Place

Topics = list[tuple[str, list[tuple[int, Committed]]]]

_NOTHING = Committed(-1, -1, "")


def offset_commit(broker: Broker, request: Request) -> Writer:
    """Commit offsets."""
    body, version = request.body, request.version
    group_id, generation, member_id = body.string(), body.i32(), body.string()
    instance_id = body.nullable_string() if version >= 7 else None
    if version <= 4:
        body.i64()  # how long to keep them: as long as the broker lives
    offsets = _read(body, with_epoch=version >= 6)
    try:
        group = broker.groups.get(group_id)
        code = group.check_commit(member_id, instance_id, generation, in_transaction=False)
    except KafkaError as error:
        code = error.code
    else:
        if code is Code.NONE:
            group.offsets.committed.update(_good(broker, offsets))
    return _answer(broker, request, offsets, code, throttled=version >= 3)


def txn_offset_commit(broker: Broker, request: Request) -> Writer:
    """Commit offsets as part of a transaction: they show when it is committed."""
    body, version = request.body, request.version
    transactional_id, group_id = body.string(), body.string()
    producer_id, epoch = body.i64(), body.i16()
    generation, member_id, instance_id = -1, "", None
    if version >= 3:
        generation, member_id = body.i32(), body.string()
        instance_id = body.nullable_string()
    offsets = _read(body, with_epoch=version >= 2)
    try:
        group = broker.groups.get(group_id)
        broker.transactions.check_offsets(transactional_id, producer_id, epoch, group)
        code = group.check_commit(member_id, instance_id, generation, in_transaction=True)
    except KafkaError as error:
        fenced = error.code is Code.PRODUCER_FENCED
        code = Code.INVALID_PRODUCER_EPOCH if fenced else error.code
    else:
        if code is Code.NONE:
            group.offsets.hold(producer_id, _good(broker, offsets))
    return _answer(broker, request, offsets, code, throttled=True)


def _read(body: Reader, *, with_epoch: bool) -> Topics:
    def offset(_topic: str) -> tuple[int, Committed]:
        index, at = body.i32(), body.i64()
        epoch = body.i32() if with_epoch else -1
        return index, Committed(at, epoch, body.nullable_string())

    return body.topics(offset)


def _good(broker: Broker, offsets: Topics) -> dict[Place, Committed]:
    return {
        (topic, index): committed
        for topic, partitions in offsets
        for index, committed in partitions
        if _code(broker, topic, index, committed) is Code.NONE
    }


def _code(broker: Broker, topic: str, index: int, committed: Committed) -> Code:
    if broker.topics.find(topic, index) is None:
        return Code.UNKNOWN_TOPIC_OR_PARTITION
    if len((committed.metadata or "").encode()) > MAX_METADATA_BYTES:
        return Code.OFFSET_METADATA_TOO_LARGE
    return Code.NONE


def _answer(
    broker: Broker, request: Request, offsets: Topics, code: Code, *, throttled: bool
) -> Writer:
    reply = request.reply()
    if throttled:
        reply.i32(0)

    def write(told: tuple[int, Code]) -> None:
        reply.i32(told[0])
        reply.i16(told[1])

    told = [
        (topic, [(i, code or _code(broker, topic, i, committed)) for i, committed in partitions])
        for topic, partitions in offsets
    ]
    reply.topics(told, write)
    reply.tags()
    return reply


def offset_fetch(broker: Broker, request: Request) -> Writer:
    """Tell committed offsets; -1 where there is none."""
    body, version = request.body, request.version
    group = broker.groups.by_id.get(body.string())

    def topic() -> tuple[str, list[int]]:
        found = body.string(), body.array(body.i32)
        body.tags()
        return found

    asked = body.nullable_array(topic)
    stable_only = version >= 7 and body.boolean()
    if asked is None:
        asked = _all_places(list(group.offsets.committed) if group is not None else [])

    def look(place: Place) -> tuple[int, Committed, Code]:
        if group is None:
            return place[1], _NOTHING, Code.NONE
        if stable_only and group.offsets.unstable(place):
            return place[1], _NOTHING, Code.UNSTABLE_OFFSET_COMMIT
        return place[1], group.offsets.committed.get(place, _NOTHING), Code.NONE

    reply = request.reply()
    if version >= 3:
        reply.i32(0)

    def write(told: tuple[int, Committed, Code]) -> None:
        index, committed, code = told
        reply.i32(index)
        reply.i64(committed.offset)
        if version >= 5:
            reply.i32(committed.leader_epoch)
        reply.string(committed.metadata)
        reply.i16(code)

    reply.topics([(name, [look((name, i)) for i in indexes]) for name, indexes in asked], write)
    if version >= 2:
        reply.i16(Code.NONE)
    reply.tags()
    return reply


def _all_places(places: list[Place]) -> list[tuple[str, list[int]]]:
    by_topic: dict[str, list[int]] = {}
    for topic, index in places:
        by_topic.setdefault(topic, []).append(index)
    return list(by_topic.items())
