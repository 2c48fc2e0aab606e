"""The table of requests: which versions this broker speaks, and who answers.

The lowest versions are those of Kafka 4.0 (KIP-896), the highest the last ones that need nothing
but what is here: no topic ids, no fetch sessions, no new group protocol.
"""

from collections.abc import Mapping

from sandbox.kafka_broker import (
    api_cluster,
    api_data,
    api_fetch,
    api_groups,
    api_offsets,
    api_topics,
    api_transactions,
)
from sandbox.kafka_broker.broker import Api, Broker, Request
from sandbox.kafka_broker.codec import Writer
from sandbox.kafka_broker.errors import Code

API_VERSIONS = 18
_NEVER = 99


def api_versions(_broker: Broker, request: Request) -> Writer:
    """Tell what is spoken here."""
    return answer_versions(request, Code.NONE)


def answer_versions(request: Request, code: Code) -> Writer:
    """Answer with the table, or, to a client from the future, with what it can ask (KIP-511)."""
    reply = request.reply()
    reply.i16(code)

    def spoken(entry: tuple[int, Api]) -> None:
        key, api = entry
        reply.i16(key)
        reply.i16(api.lowest)
        reply.i16(api.highest)

    told = APIS.items() if code is Code.NONE else [(API_VERSIONS, APIS[API_VERSIONS])]
    reply.structs(list(told), spoken)
    if request.version >= 1:
        reply.i32(0)
    reply.tags()
    return reply


APIS: Mapping[int, Api] = {
    0: Api(0, 8, _NEVER, api_data.produce),
    1: Api(4, 11, _NEVER, api_fetch.fetch),
    2: Api(1, 7, 6, api_data.list_offsets),
    3: Api(0, 9, 9, api_cluster.metadata),
    8: Api(2, 8, 8, api_offsets.offset_commit),
    9: Api(1, 7, 6, api_offsets.offset_fetch),
    10: Api(0, 3, 3, api_cluster.find_coordinator),
    11: Api(0, 6, 6, api_groups.join_group),
    12: Api(0, 4, 4, api_groups.heartbeat),
    13: Api(0, 4, 4, api_groups.leave_group),
    14: Api(0, 4, 4, api_groups.sync_group),
    15: Api(0, 5, 5, api_groups.describe_groups),
    16: Api(0, 4, 3, api_groups.list_groups),
    API_VERSIONS: Api(0, 3, 3, api_versions),
    19: Api(0, 4, _NEVER, api_topics.create_topics),
    20: Api(0, 4, 4, api_topics.delete_topics),
    21: Api(0, 2, 2, api_data.delete_records),
    22: Api(0, 4, 2, api_transactions.init_producer_id),
    23: Api(2, 4, 4, api_data.leader_epochs),
    24: Api(0, 3, 3, api_transactions.add_partitions),
    25: Api(0, 3, 3, api_transactions.add_offsets),
    26: Api(0, 3, 3, api_transactions.end_txn),
    28: Api(0, 3, 3, api_offsets.txn_offset_commit),
    32: Api(0, 2, _NEVER, api_topics.describe_configs),
    37: Api(0, 2, 2, api_topics.create_partitions),
    42: Api(0, 2, 2, api_groups.delete_groups),
}
"""By API key: https://kafka.apache.org/protocol.html#protocol_api_keys"""
