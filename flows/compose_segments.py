"""Composes what keeps segments: the rules' view, and the keeper beside the registry flow."""

from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import structlog

from flows.clock import wall_ms
from flows.compose import Composer
from flows.compose_stores import clickhouse_of
from flows.segment_keeper import KINDS, SegmentKeeper
from operators.behaviour import sql_of
from operators.segment_builder import AwayError, QueryError, SegmentBuilder
from operators.segment_rules import LiveSegment, live_segment
from schemas.definitions import Definition, Kind
from schemas.segment_definition import SegmentBody
from sinks.clickhouse import connect
from sinks.clickhouse_queries import QueryLimits, RefusedQueryError, TenantQueries, is_away
from state.definitions import RedisDefinitions, Watched
from state.profiles import RedisProfiles
from state.redis_segments import RedisSegments
from state.segment_work import RedisSegmentWork

ANSWER_S = 15
"""How much longer than the query itself its answer may take."""


class ClickHouseQueries:
    """Queries of segments in ClickHouse. Implements operators.segment_builder.Queries."""

    def __init__(self, queries: TenantQueries) -> None:
        self._queries = queries
        self.close = queries.close

    def users(self, tenant: str, body: SegmentBody) -> Iterator[list[str]]:
        """See Queries."""
        try:
            yield from self._queries.users(tenant, sql_of(body))
        except RefusedQueryError as error:
            kind = AwayError if is_away(error.__cause__) else QueryError
            raise kind(str(error)) from error


def watched_segments(composer: Composer) -> Watched[LiveSegment]:
    """Make the view of segments that are defined."""
    return Watched(
        RedisDefinitions(composer.redis),
        Kind.SEGMENT,
        composer.tenants,
        live_segment,
        unreadable=_tell,
    )


def _tell(one: Definition, error: ValueError) -> None:
    structlog.get_logger().warning(
        "segment cannot be read", tenant=one.tenant, segment=one.name, error=str(error)
    )


def make_queries(composer: Composer) -> TenantQueries:
    """Make what runs queries of people; it connects at its first use."""
    limits = QueryLimits()
    where = msgspec.structs.replace(
        clickhouse_of(composer.settings), request_timeout_s=limits.execution_s + ANSWER_S
    )
    return TenantQueries(client_factory=partial(connect, where), limits=limits)


def make_keeper(
    composer: Composer,
    queries: ClickHouseQueries,
    stopped: Callable[[], bool],
    *,
    kinds: frozenset[str] = KINDS,
    tells: bool = True,
) -> SegmentKeeper:
    """Make what builds segments. stopped: ends a build that is under way. tells: logs it."""
    segments = RedisSegments(composer.redis)
    builder = SegmentBuilder(
        profiles=RedisProfiles(composer.redis),
        segments=segments,
        queries=queries,
        now_ms=wall_ms,
        policy_ms=composer.now_ms,
    )
    return SegmentKeeper(
        composer.tenants,
        definitions=watched_segments(composer),
        segments=segments,
        work=RedisSegmentWork(composer.redis),
        builder=builder,
        now_ms=wall_ms,
        stopped=stopped,
        kinds=kinds,
        tells=tells,
    )
