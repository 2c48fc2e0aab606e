"""ClickHouse behind the door: the embedded engine, started when a test first asks for it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from api.web.door import Door
from sinks.clickhouse import ClickHouseSettings, ClickHouseWriter, connect
from sinks.clickhouse_migrations import migrate
from sinks.clickhouse_once import ExactlyOnceWriter
from tests.contract.clickhouse.conftest import FacadeProcess
from tests.contract.clickhouse.outcome_log import TOPIC, record

_offsets = count()


class LazyClickHouse:
    """The engine with all migrations. used: since it was emptied last."""

    def __init__(self, directory: Path) -> None:
        self._facade = FacadeProcess(directory)
        self._settings: ClickHouseSettings | None = None
        self.used = False
        # The process ends with the thread that started it, so this one is no request's.
        self._starter = ThreadPoolExecutor(max_workers=1)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Give a client, as Door.clickhouse does."""
        self.used = True
        found = connect(self._settings or self._start())
        try:
            yield found
        finally:
            found.close()

    def _start(self) -> ClickHouseSettings:
        settings = ClickHouseSettings(
            port=self._starter.submit(self._facade.start).result(), database="clarion_api"
        )
        client = connect(settings, database="")
        migrate(client, database=settings.database)
        client.close()
        self._settings = settings
        return settings

    def empty(self) -> None:
        """Remove all rows."""
        with self.client() as client:
            tables = client.query(
                "SELECT name FROM system.tables WHERE database = currentDatabase()"
                " AND engine LIKE '%MergeTree' AND name != 'schema_migrations'"
            ).result_rows
            for (table,) in tables:
                client.command(f"TRUNCATE TABLE {table} SYNC")
        self.used = False

    def stop(self) -> None:
        """Stop what was started."""
        if self._settings is not None:
            assert self._facade.stop() == 0
        self._starter.shutdown()


@pytest.fixture(scope="session")
def clickhouse_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LazyClickHouse]:
    """Give the one engine of the run."""
    engine = LazyClickHouse(tmp_path_factory.mktemp("clickhouse"))
    yield engine
    engine.stop()


@pytest.fixture
def clickhouse(clickhouse_engine: LazyClickHouse) -> Iterator[LazyClickHouse]:
    """Give an empty ClickHouse; nothing is started before its client is asked for."""
    yield clickhouse_engine
    if clickhouse_engine.used:
        clickhouse_engine.empty()


def tell(door: Door, *outcomes: dict[str, Any]) -> None:
    """Write outcomes as the flow does: `tell(door, {"message_id": "m-1", "user_id": "u1"})`.

    What is left out, outcome_log.record fills in: acme's, sent, accepted.
    """
    with door.clickhouse() as client:
        once = ExactlyOnceWriter(ClickHouseWriter(client_factory=lambda: client))
        once.assign(TOPIC, [0])
        once.write([record(0, next(_offsets), **one) for one in outcomes])
