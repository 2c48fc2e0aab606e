"""InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn and EndTxn."""

from sandbox.kafka_broker.broker import Broker, Request
from sandbox.kafka_broker.codec import Writer
from sandbox.kafka_broker.errors import Code, KafkaError


def init_producer_id(broker: Broker, request: Request) -> Writer:
    """Give a producer its id and epoch."""
    body, version = request.body, request.version
    transactional_id, timeout_ms = body.nullable_string(), body.i32()
    producer_id, epoch = (body.i64(), body.i16()) if version >= 3 else (-1, -1)
    code = Code.NONE
    try:
        producer_id, epoch = broker.transactions.init_producer(
            transactional_id, timeout_ms, producer_id, epoch
        )
    except KafkaError as error:
        code, producer_id, epoch = _code(error, request, fenced_from=4), -1, -1
    reply = request.reply()
    reply.i32(0)
    reply.i16(code)
    reply.i64(producer_id)
    reply.i16(epoch)
    reply.tags()
    return reply


def add_partitions(broker: Broker, request: Request) -> Writer:
    """Take partitions into a transaction: all of them or none."""
    body = request.body
    transactional_id, producer_id, epoch = body.string(), body.i64(), body.i16()

    def topic() -> tuple[str, list[int]]:
        return body.string(), body.array(body.i32)

    asked = body.structs(topic)
    places = [(name, index) for name, indexes in asked for index in indexes]
    found = {place: broker.topics.find(*place) for place in places}
    codes: dict[tuple[str, int], Code] = {}
    if None in found.values():
        for place, partition in found.items():
            known = partition is not None
            codes[place] = (
                Code.OPERATION_NOT_ATTEMPTED if known else Code.UNKNOWN_TOPIC_OR_PARTITION
            )
    else:
        code = Code.NONE
        partitions = [partition for partition in found.values() if partition is not None]
        try:
            broker.transactions.add_partitions(transactional_id, producer_id, epoch, partitions)
        except KafkaError as error:
            code = _code(error, request, fenced_from=2)
        codes = dict.fromkeys(places, code)
    reply = request.reply()
    reply.i32(0)

    def write(told: tuple[int, Code]) -> None:
        reply.i32(told[0])
        reply.i16(told[1])

    reply.topics([(name, [(i, codes[name, i]) for i in indexes]) for name, indexes in asked], write)
    reply.tags()
    return reply


def add_offsets(broker: Broker, request: Request) -> Writer:
    """Take a group's offsets into a transaction."""
    body = request.body
    transactional_id, producer_id, epoch = body.string(), body.i64(), body.i16()
    group_id = body.string()
    code = Code.NONE
    try:
        group = broker.groups.get(group_id)
        broker.transactions.add_group(transactional_id, producer_id, epoch, group)
    except KafkaError as error:
        code = _code(error, request, fenced_from=2)
    return _answer(request, code)


def end_txn(broker: Broker, request: Request) -> Writer:
    """Commit or abort."""
    body = request.body
    transactional_id, producer_id, epoch = body.string(), body.i64(), body.i16()
    commit = body.boolean()
    code = Code.NONE
    try:
        broker.transactions.end(transactional_id, producer_id, epoch, commit=commit)
    except KafkaError as error:
        code = _code(error, request, fenced_from=2)
    return _answer(request, code)


def _answer(request: Request, code: Code) -> Writer:
    reply = request.reply()
    reply.i32(0)
    reply.i16(code)
    reply.tags()
    return reply


def _code(error: KafkaError, request: Request, *, fenced_from: int) -> Code:
    """Older versions know no PRODUCER_FENCED (KIP-588)."""
    if error.code is Code.PRODUCER_FENCED and request.version < fenced_from:
        return Code.INVALID_PRODUCER_EPOCH
    return error.code
