"""A million members: made from what users did, judged by a rule, and expanded through route."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from flows.clock import wall_ms
from flows.compose_stores import clickhouse_of
from operators.behaviour import sql_of
from operators.segment_builder import SegmentBuilder
from operators.segment_rules import LiveSegment, live_segment
from sandbox.stack import Stack
from schemas.definitions import Definition, Kind
from schemas.pipeline import Platform, Priority
from schemas.segment_definition import SegmentBody
from schemas.stream import Record
from schemas.topics import DELIVERIES, EVENTS
from sinks.clickhouse import connect
from sinks.clickhouse_queries import TenantQueries
from state.profiles import RedisProfiles
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from tests.bench import people
from tests.bench.arrivals import Ends, watch
from tests.bench.result import Plan, Result
from tests.bench.stand import ROUTE_BULK, load, running, settings_of, stand

EVENTS_EACH = 3
ROUTE_TIMEOUT_S = 600.0
_MB = 1_048_576


def measure(plan: Plan) -> list[Result]:
    """Build a behaviour segment and a rule, each once; then send to all of the users, once."""
    users, shards = plan.pick(1_000_000, 20_000), plan.pick(1_024, 64)
    with stand(shards=shards) as stack:
        client = RedisClient(settings_of(stack).redis.url, timeout_s=60.0)
        built = _behaviour(stack, client, users, shards)
        before, began_s = _used(client), time.monotonic()
        people.register(client, users=users, shards=shards)
        register_s, profiles = time.monotonic() - began_s, _used(client) - before
        judged = _rule(stack, client, shards)
        routed = _route(stack, users, profiles, register_s)
        client.close()
    return [built, judged, routed]


def _behaviour(stack: Stack, client: RedisClient, users: int, shards: int) -> Result:
    """Have three orders of each user; the query counts them and Redis gets all users."""
    clickhouse = connect(clickhouse_of(settings_of(stack)))
    clickhouse.command(
        "INSERT INTO user_events SELECT {tenant:String},"
        " concat('user-', leftPad(toString(number % {users:UInt64}), 8, '0')), toString(number),"
        " 'order', now64(3) - INTERVAL number % 20 DAY, 1, map() FROM numbers({rows:UInt64})",
        parameters={"tenant": people.TENANT, "users": users, "rows": users * EVENTS_EACH},
    )
    clickhouse.close()
    segment = _defined({"behaviour": {"event": "order", "at_least": 3, "within_days": 30}})
    with _queries(stack) as queries:
        sql, began_s = sql_of(segment.body), time.monotonic()
        asked = sum(len(block) for block in queries.users(people.TENANT, sql))
        query_s = time.monotonic() - began_s
        before, began_s = _used(client), time.monotonic()
        found = _builder(client, queries).build_query(
            people.TENANT, shards, segment=segment, keep_on=lambda: None
        )
        took_s = time.monotonic() - began_s
    memory = _used(client) - before
    return Result(
        "segment_behaviour",
        round(took_s, 1),
        "s",
        runs=[round(took_s, 1)],
        detail={
            "members": found,
            "members_per_s": round(found / took_s),
            "query_alone_s": round(query_s, 1),
            "query_gave": asked,
            "rows": users * EVENTS_EACH,
            "redis_mb_per_million_members": round(memory / _MB * 1_000_000 / found),
        },
    )


def _rule(stack: Stack, client: RedisClient, shards: int) -> Result:
    """Build a rule over all profiles; nine of ten users fit."""
    segment = _defined({"rule": {"field": "platform", "op": "in", "value": ["apns", "fcm"]}})
    with _queries(stack) as queries:
        began_s = time.monotonic()
        seen = _builder(client, queries).build_rules(
            people.TENANT, shards, rules=[segment], keep_on=lambda: None
        )
        took_s = time.monotonic() - began_s
    members = RedisSegments(client).count(people.TENANT, shards, segment.name)
    return Result(
        "segment_rule",
        round(took_s, 1),
        "s",
        runs=[round(took_s, 1)],
        detail={"users": seen, "users_per_s": round(seen / took_s), "members": members},
    )


def _route(stack: Stack, users: int, profiles: int, register_s: float) -> Result:
    """Send one campaign to all users through one route process, on the cores that all share."""
    settings, low, expected = settings_of(stack), Priority.LOW, people.devices_of(users)
    with running(stack, ROUTE_BULK):
        ends = Ends(settings, [DELIVERIES[platform, low] for platform in Platform])
        sent_s = time.monotonic()
        load(settings, [Record(EVENTS[low], people.TENANT.encode(), people.campaign("million"))])
        done = watch(ends.added, expected=expected, timeout_s=ROUTE_TIMEOUT_S, alive=stack.failed)
    took_s = done.last_at - sent_s
    return Result(
        "segment_route",
        round(took_s, 1),
        "s",
        runs=[round(took_s, 1)],
        detail={
            "users": users,
            "users_per_s": round(users / took_s),
            "deliveries": expected,
            "deliveries_per_s": round(expected / took_s),
            "profiles_mb_per_million": round(profiles / _MB * 1_000_000 / users),
            "register_s": round(register_s),
        },
    )


def _defined(body: dict[str, object]) -> LiveSegment:
    at_ms = wall_ms()
    raw = msgspec.json.encode(body)
    name = next(iter(body))
    return live_segment(Definition(Kind.SEGMENT, people.TENANT, name, 1, raw, at_ms))


class _Bound:
    """Queries as the builder takes them."""

    def __init__(self, queries: TenantQueries) -> None:
        self._queries = queries

    def users(self, tenant: str, body: SegmentBody) -> Iterator[list[str]]:
        """Give the ids in blocks."""
        return self._queries.users(tenant, sql_of(body))


@contextmanager
def _queries(stack: Stack) -> Iterator[TenantQueries]:
    where = msgspec.structs.replace(clickhouse_of(settings_of(stack)), request_timeout_s=300)
    made = TenantQueries(client_factory=partial(connect, where))
    yield made
    made.close()


def _builder(client: RedisClient, queries: TenantQueries) -> SegmentBuilder:
    return SegmentBuilder(
        profiles=RedisProfiles(client),
        segments=RedisSegments(client),
        queries=_Bound(queries),
        now_ms=wall_ms,
        policy_ms=wall_ms,
    )


def _used(client: RedisClient) -> int:
    """Give how much memory Redis uses, in bytes."""
    found = client.run("INFO", "memory")
    return int(found["used_memory"])
