"""Composes what erases users, beside the registry flow."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from flows.clock import wall_ms
from flows.compose import Composer
from flows.compose_stores import clickhouse_of
from flows.erasures import ErasureKeeper
from flows.put_records import NotPutError, PutRecords
from flows.segment_keeper import KeeperThread
from schemas.definitions import Kind
from schemas.erasures import erasure_of
from sinks.clickhouse import connect
from sinks.erased_rows import ErasedRows
from state.definitions import RedisDefinitions, Watched
from state.erasing import RedisErasing
from state.profiles import RedisProfiles
from state.segment_work import RedisSegmentWork


def make_erasures(composer: Composer, ended: Event) -> KeeperThread:
    """Make the thread that sweeps for erasures; a store that does not answer makes it wait."""
    where = clickhouse_of(composer.settings)

    @contextmanager
    def rows() -> Iterator[ErasedRows]:
        client = connect(where)
        try:
            yield ErasedRows(client)
        finally:
            client.close()

    definitions = RedisDefinitions(composer.redis)
    keeper = ErasureKeeper(
        composer.tenants,
        erasures=Watched(definitions, Kind.ERASURE, composer.tenants, erasure_of),
        definitions=definitions,
        profiles=RedisProfiles(composer.redis),
        erasing=RedisErasing(composer.redis),
        work=RedisSegmentWork(composer.redis),
        rows=rows,
        put=PutRecords(composer.kafka()),
        now_ms=wall_ms,
    )
    passing = (ClickHouseError, HTTPError, NotPutError)
    return KeeperThread(keeper, ended, what="erasures", passing=passing)
