"""Metadata and FindCoordinator: which node to ask."""

from sandbox.kafka_broker.broker import CLUSTER_ID, LEADER_EPOCH, NODE_ID, Broker, Request
from sandbox.kafka_broker.codec import Writer
from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.topics import check_name

_NO_OPERATIONS = -2_147_483_648  # what "authorized operations" says when it was not asked


def metadata(broker: Broker, request: Request) -> Writer:
    """Tell the one node and its topics."""
    body, version = request.body, request.version

    def name() -> str:
        found = body.string()
        body.tags()
        return found

    asked = body.nullable_array(name)
    if asked is None or (version == 0 and not asked):
        asked = list(broker.topics.by_name)
    reply = request.reply()
    if version >= 3:
        reply.i32(0)

    def node(node_id: int) -> None:
        reply.i32(node_id)
        reply.string(broker.host)
        reply.i32(broker.port)
        if version >= 1:
            reply.string(None)  # rack

    reply.structs([NODE_ID], node)
    if version >= 2:
        reply.string(CLUSTER_ID)
    if version >= 1:
        reply.i32(NODE_ID)  # the controller
    reply.structs(asked, lambda topic: _write_topic(broker, reply, version, topic))
    if version >= 8:
        reply.i32(_NO_OPERATIONS)
    reply.tags()
    return reply


def _write_topic(broker: Broker, reply: Writer, version: int, name: str) -> None:
    topic = broker.topics.by_name.get(name)
    reply.i16(_missing(name) if topic is None else Code.NONE)
    reply.string(name)
    if version >= 1:
        reply.boolean(False)  # internal

    def partition(index: int) -> None:
        reply.i16(Code.NONE)
        reply.i32(index)
        reply.i32(NODE_ID)
        if version >= 7:
            reply.i32(LEADER_EPOCH)
        reply.ints([NODE_ID])
        reply.ints([NODE_ID])
        if version >= 5:
            reply.ints([])

    reply.structs(range(0 if topic is None else len(topic.partitions)), partition)
    if version >= 8:
        reply.i32(_NO_OPERATIONS)


def _missing(name: str) -> Code:
    try:
        check_name(name)
    except KafkaError as error:
        return error.code
    return Code.UNKNOWN_TOPIC_OR_PARTITION


def find_coordinator(broker: Broker, request: Request) -> Writer:
    """Name the coordinator of a group or transaction: this node."""
    body, version = request.body, request.version
    body.string()
    kind = body.i8() if version >= 1 else 0
    known = kind in {0, 1}
    reply = request.reply()
    if version >= 1:
        reply.i32(0)
    reply.i16(Code.NONE if known else Code.INVALID_REQUEST)
    if version >= 1:
        reply.string(None)
    reply.i32(NODE_ID if known else -1)
    reply.string(broker.host if known else "")
    reply.i32(broker.port if known else -1)
    reply.tags()
    return reply
