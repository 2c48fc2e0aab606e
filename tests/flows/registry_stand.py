"""The registry flow in tests: without ClickHouse, and running beside commands."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flow_harness import Runner, Stores

from flows import compose_stores
from schemas.settings import Settings
from state.redis_client import RedisClient


class NoTables:
    """Stands for ClickHouse, in tests that have nothing to do with it."""

    def insert_rows(self, _table: str, columns: dict[str, Any]) -> int:
        return len(columns)

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def no_clickhouse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let flows write their rows to nowhere."""
    monkeypatch.setattr(compose_stores, "make_writer", lambda _settings: NoTables())


@pytest.fixture
def settings(stores: Stores) -> Settings:
    """Give the settings that name the stores."""
    return stores.settings()


@pytest.fixture
def redis(stores: Stores) -> Iterator[RedisClient]:
    """Give a client of the stores' Redis."""
    client = RedisClient(stores.redis_url)
    yield client
    client.close()


@pytest.fixture
def registry(
    settings: Settings, no_clickhouse: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Run the registry, and let commands reach the same stores."""
    del no_clickhouse
    for name, value in {
        "CLARION_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "CLARION_REDIS__URL": settings.redis.url,
        "CLARION_TENANTS_DIR": str(settings.tenants_dir),
    }.items():
        monkeypatch.setenv(name, value)
    finished = threading.Event()
    thread = threading.Thread(
        target=lambda: Runner(settings, "registry").run(until=finished.is_set)
    )
    thread.start()
    yield
    finished.set()
    thread.join()
