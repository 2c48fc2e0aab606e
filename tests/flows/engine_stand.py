"""ClickHouse's embedded engine beside the stores of a flow test."""

from collections.abc import Iterator
from pathlib import Path

from flow_harness import Stores

from flows.compose_stores import clickhouse_of
from sandbox.clickhouse import ClickHouseFacade
from schemas.settings import Settings
from sinks.clickhouse import connect
from sinks.clickhouse_migrations import migrate


def with_engine(stores: Stores, tmp_path: Path) -> Iterator[Settings]:
    """Give settings with an embedded ClickHouse that has all tables; end it afterwards."""
    facade = ClickHouseFacade(tmp_path / "clickhouse")
    port = facade.start()
    made = stores.settings(clickhouse={"url": f"http://127.0.0.1:{port}"})
    client = connect(clickhouse_of(made), database="")
    migrate(client)
    client.close()
    yield made
    facade.stop()
