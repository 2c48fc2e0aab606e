"""The facade as a child process, shared by all tests of this directory."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from sinks.clickhouse import ClickHouseSettings, connect
from sinks.clickhouse_migrations import migrate

ROOT = Path(__file__).parents[3]
TABLES = ("outcomes", "delivery_minutes", "campaign_days", "devices", "users", "audit")


class FacadeProcess:
    """One `python -m sandbox.clickhouse`."""

    def __init__(self, data_dir: Path) -> None:
        self._command = [sys.executable, "-m", "sandbox.clickhouse", "--data-dir", str(data_dir)]
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> int:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        word, port = self._process.stdout.readline().split()
        assert word == "ready"
        self.port = int(port)
        return self.port

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._end()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._end()

    def _end(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        code = self._process.wait(20)
        self._process.stdout.close()
        return code


@pytest.fixture(scope="session")
def facade_process() -> type[FacadeProcess]:
    return FacadeProcess


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    facade = FacadeProcess(tmp_path_factory.mktemp("clickhouse"))
    yield facade.start()
    assert facade.stop() == 0


@pytest.fixture(scope="session")
def settings(port: int) -> ClickHouseSettings:
    """Give a database with all migrations."""
    settings = ClickHouseSettings(port=port, database="clarion_test")
    client = connect(settings, database="")
    migrate(client, database=settings.database)
    client.close()
    return settings


@pytest.fixture
def connect_here(settings: ClickHouseSettings) -> Callable[[], Client]:
    """Connect to the migrated database."""
    return lambda: connect(settings)


@pytest.fixture
def client(settings: ClickHouseSettings) -> Iterator[Client]:
    """Give a client; the tables are empty before each test, and extra ones gone after it."""
    client = connect(settings)
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {table} SYNC")
    yield client
    for table in ("gated", "seen", "gate"):
        client.command(f"DROP TABLE IF EXISTS {table} SYNC")
    client.close()
