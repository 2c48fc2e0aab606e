"""JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and what tells about groups."""

import asyncio

from sandbox.kafka_broker.broker import Answer, Broker, Request
from sandbox.kafka_broker.codec import Writer
from sandbox.kafka_broker.errors import Code, KafkaError
from sandbox.kafka_broker.groups import Group
from sandbox.kafka_broker.members import Join, Joined, Member, Synced

_NO_OPERATIONS = -2_147_483_648  # what "authorized operations" says when it was not asked


def join_group(broker: Broker, request: Request) -> Answer:
    """Join or join again; may wait for the other members."""
    body, version = request.body, request.version
    group_id = body.string()
    session_timeout_s = rebalance_timeout_s = body.i32() / 1_000
    if version >= 1:
        rebalance_timeout_s = body.i32() / 1_000
    member_id = body.string()
    instance_id = body.nullable_string() if version >= 5 else None
    protocol_type = body.string()
    wish = Join(
        member_id=member_id,
        instance_id=instance_id,
        client_id=request.client_id,
        host=request.host,
        session_timeout_s=session_timeout_s,
        rebalance_timeout_s=rebalance_timeout_s,
        protocol_type=protocol_type,
        protocols=body.structs(lambda: (body.string(), body.blob())),
        id_required=version >= 4,
    )
    try:
        answer = broker.groups.get(group_id).join(wish)
    except KafkaError as error:
        answer = Joined(error.code, member_id)
    if isinstance(answer, Joined):
        return _joined(request, answer)
    return _when_joined(request, answer)


async def _when_joined(request: Request, waiting: asyncio.Future[Joined]) -> Writer:
    return _joined(request, await waiting)


def _joined(request: Request, joined: Joined) -> Writer:
    reply, version = request.reply(), request.version
    if version >= 2:
        reply.i32(0)
    reply.i16(joined.code)
    reply.i32(joined.generation)
    reply.string(joined.protocol)
    reply.string(joined.leader)
    reply.string(joined.member_id)

    def member(each: tuple[str, str | None, bytes]) -> None:
        member_id, instance_id, metadata = each
        reply.string(member_id)
        if version >= 5:
            reply.string(instance_id)
        reply.data(metadata)

    reply.structs(joined.members, member)
    reply.tags()
    return reply


def sync_group(broker: Broker, request: Request) -> Answer:
    """Give or bring the assignment; may wait for the leader."""
    body = request.body
    group_id, generation, member_id = body.string(), body.i32(), body.string()
    instance_id = body.nullable_string() if request.version >= 3 else None
    assignments = dict(body.structs(lambda: (body.string(), body.blob())))
    group = broker.groups.by_id.get(group_id)
    if group is None:
        return _synced(request, Synced(Code.UNKNOWN_MEMBER_ID))
    answer = group.sync(member_id, instance_id, generation, assignments)
    if isinstance(answer, Synced):
        return _synced(request, answer)
    return _when_synced(request, answer)


async def _when_synced(request: Request, waiting: asyncio.Future[Synced]) -> Writer:
    return _synced(request, await waiting)


def _synced(request: Request, synced: Synced) -> Writer:
    reply = request.reply()
    if request.version >= 1:
        reply.i32(0)
    reply.i16(synced.code)
    reply.data(synced.assignment)
    reply.tags()
    return reply


def heartbeat(broker: Broker, request: Request) -> Writer:
    """Keep a member alive."""
    body = request.body
    group_id, generation, member_id = body.string(), body.i32(), body.string()
    instance_id = body.nullable_string() if request.version >= 3 else None
    group = broker.groups.by_id.get(group_id)
    code = Code.UNKNOWN_MEMBER_ID
    if group is not None:
        code = group.heartbeat(member_id, instance_id, generation)
    reply = request.reply()
    if request.version >= 1:
        reply.i32(0)
    reply.i16(code)
    reply.tags()
    return reply


def leave_group(broker: Broker, request: Request) -> Writer:
    """Let members go."""
    body, version = request.body, request.version
    group = broker.groups.by_id.get(body.string())
    if version >= 3:
        leaving = body.structs(lambda: (body.string(), body.nullable_string()))
    else:
        leaving = [(body.string(), None)]
    left = [
        (*names, Code.UNKNOWN_MEMBER_ID if group is None else group.leave(*names))
        for names in leaving
    ]
    reply = request.reply()
    if version >= 1:
        reply.i32(0)
    reply.i16(Code.NONE if version >= 3 else left[0][2])

    def member(each: tuple[str, str | None, Code]) -> None:
        member_id, instance_id, code = each
        reply.string(member_id)
        reply.string(instance_id)
        reply.i16(code)

    if version >= 3:
        reply.structs(left, member)
    reply.tags()
    return reply


def describe_groups(broker: Broker, request: Request) -> Writer:
    """Tell a group's state and members."""
    asked = request.body.array(request.body.string)
    reply, version = request.reply(), request.version
    if version >= 1:
        reply.i32(0)

    def group(group_id: str) -> None:
        _write_group(reply, version, group_id, broker.groups.by_id.get(group_id))

    reply.structs(asked, group)
    reply.tags()
    return reply


def _write_group(reply: Writer, version: int, group_id: str, group: Group | None) -> None:
    def member(each: Member) -> None:
        reply.string(each.id)
        if version >= 4:
            reply.string(each.instance_id)
        reply.string(each.client_id)
        reply.string(each.host)
        reply.data(each.metadata(group.protocol) if group is not None else b"")
        reply.data(each.assignment)

    reply.i16(Code.NONE)
    reply.string(group_id)
    reply.string("Dead" if group is None else group.state)
    reply.string("" if group is None else group.protocol_type)
    reply.string("" if group is None else group.protocol)
    reply.structs([] if group is None else list(group.members.values()), member)
    if version >= 3:
        reply.i32(_NO_OPERATIONS)


def list_groups(broker: Broker, request: Request) -> Writer:
    """Tell the groups there are."""
    body, version = request.body, request.version
    states = body.array(body.string) if version >= 4 else []
    reply = request.reply()
    if version >= 1:
        reply.i32(0)
    reply.i16(Code.NONE)

    def group(each: Group) -> None:
        reply.string(each.id)
        reply.string(each.protocol_type)
        if version >= 4:
            reply.string(each.state)

    found = broker.groups.by_id.values()
    reply.structs([each for each in found if not states or each.state in states], group)
    reply.tags()
    return reply


def delete_groups(broker: Broker, request: Request) -> Writer:
    """Delete groups that have no members."""
    asked = request.body.array(request.body.string)
    reply = request.reply()
    reply.i32(0)

    def group(group_id: str) -> None:
        reply.string(group_id)
        reply.i16(broker.groups.delete(group_id))

    reply.structs(asked, group)
    reply.tags()
    return reply
