"""Making, changing and describing topics."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from sandbox.kafka_broker.broker import NODE_ID, Broker, Request
from sandbox.kafka_broker.codec import Writer
from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.topics import DEFAULTS

_TOPIC, _BROKER = 2, 4  # resource types
_FROM_TOPIC, _FROM_DEFAULT = 1, 5  # config sources

W = TypeVar("W")


class NewTopic(NamedTuple):
    """A topic to make."""

    name: str
    partitions: int
    replicas: int
    config: dict[str, str]


def create_topics(broker: Broker, request: Request) -> Writer:
    """Make topics."""
    body, version = request.body, request.version

    def wanted() -> NewTopic:
        name, partitions, replicas = body.string(), body.i32(), body.i16()
        placed = body.structs(lambda: (body.i32(), body.array(body.i32)))
        config = body.structs(lambda: (body.string(), body.nullable_string()))
        if placed:
            partitions, replicas = len(placed), max(len(nodes) for _, nodes in placed)
        given = {key: value for key, value in config if value is not None}
        return NewTopic(name, 1 if partitions == -1 else partitions, replicas, given)

    asked = body.structs(wanted)
    body.i32()  # timeout
    only_check = version >= 1 and body.boolean()
    names = [topic.name for topic in asked]

    def make(topic: NewTopic) -> None:
        if names.count(topic.name) > 1:
            raise KafkaError(Code.INVALID_REQUEST, "the same topic twice")
        if topic.replicas not in {-1, 1}:
            raise KafkaError(Code.INVALID_REPLICATION_FACTOR, "there is one node")
        act = broker.topics.check if only_check else broker.topics.create
        act(topic.name, topic.partitions, topic.config)

    told = [(topic.name, *_attempt(make, topic)) for topic in asked]
    reply = request.reply()
    if version >= 2:
        reply.i32(0)
    _write_told(reply, told, with_text=version >= 1)
    return reply


def delete_topics(broker: Broker, request: Request) -> Writer:
    """Delete topics, with every group's offsets in them."""
    body, version = request.body, request.version
    asked = body.array(body.string)
    body.i32()  # timeout

    def delete(name: str) -> None:
        broker.topics.delete(name)
        broker.groups.forget_topic(name)

    told = [(name, *_attempt(delete, name)) for name in asked]
    reply = request.reply()
    if version >= 1:
        reply.i32(0)
    _write_told(reply, told, with_text=False)
    return reply


def create_partitions(broker: Broker, request: Request) -> Writer:
    """Give topics more partitions."""
    body = request.body

    def wanted() -> tuple[str, int]:
        name, count = body.string(), body.i32()
        body.structs(lambda: body.array(body.i32))  # placement: there is one node
        return name, count

    asked = body.structs(wanted)
    body.i32()  # timeout
    only_check = body.boolean()

    def grow(wish: tuple[str, int]) -> None:
        name, count = wish
        topic = broker.topics.by_name.get(name)
        if topic is None:
            raise KafkaError(Code.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {name}")
        if not only_check:
            broker.topics.grow(topic, count)

    told = [(wish[0], *_attempt(grow, wish)) for wish in asked]
    reply = request.reply()
    reply.i32(0)
    _write_told(reply, told, with_text=True)
    return reply


def describe_configs(broker: Broker, request: Request) -> Writer:
    """Tell what is configured."""
    body, version = request.body, request.version

    def resource() -> tuple[int, str, list[str] | None]:
        return body.i8(), body.string(), body.nullable_array(body.string)

    asked = body.structs(resource)
    reply = request.reply()
    reply.i32(0)

    def write(wish: tuple[int, str, list[str] | None]) -> None:
        kind, name, keys = wish
        code = Code.NONE
        config: Mapping[str, tuple[str, bool]] = {}
        try:
            config = _config(broker, kind, name)
        except KafkaError as error:
            code = error.code
        reply.i16(code)
        reply.string(None)
        reply.i8(kind)
        reply.string(name)
        shown = [(key, *told) for key, told in config.items() if keys is None or key in keys]
        reply.structs(shown, entry)

    def entry(told: tuple[str, str, bool]) -> None:
        key, value, is_set = told
        reply.string(key)
        reply.string(value)
        reply.boolean(False)  # read-only
        if version >= 1:
            reply.i8(_FROM_TOPIC if is_set else _FROM_DEFAULT)
        else:
            reply.boolean(not is_set)
        reply.boolean(False)  # sensitive
        if version >= 1:
            reply.count(0)  # synonyms

    reply.structs(asked, write)
    reply.tags()
    return reply


def _config(broker: Broker, kind: int, name: str) -> Mapping[str, tuple[str, bool]]:
    """Give the value of each key, and whether it was set."""
    if kind == _TOPIC:
        topic = broker.topics.by_name.get(name)
        if topic is None:
            raise KafkaError(Code.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {name}")
        return {
            key: (topic.config.get(key, default), key in topic.config)
            for key, default in DEFAULTS.items()
        }
    if kind == _BROKER and name in {"", str(NODE_ID)}:
        return {
            "auto.create.topics.enable": ("false", False),
            "log.retention.bytes": (str(broker.topics.memory.limit_bytes), False),
        }
    raise KafkaError(Code.INVALID_REQUEST, "topics and the one broker only")


def _attempt(act: Callable[[W], None], wish: W) -> tuple[Code, str | None]:
    """Do it. Gives the error and its text, if any."""
    try:
        act(wish)
    except KafkaError as error:
        return error.code, str(error)
    return Code.NONE, None


def _write_told(
    reply: Writer, told: list[tuple[str, Code, str | None]], *, with_text: bool
) -> None:
    def write(each: tuple[str, Code, str | None]) -> None:
        name, code, text = each
        reply.string(name)
        reply.i16(code)
        if with_text:
            reply.string(text)

    reply.structs(told, write)
    reply.tags()
