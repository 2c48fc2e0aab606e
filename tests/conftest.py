"""The embedded stack's parts, one of each for the whole run; every test makes its own topics."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from sandbox.broker import EmbeddedBroker
from sandbox.valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an embedded broker."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("kafka"))
    yield broker.start()
    broker.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an embedded Valkey."""
    valkey = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    yield valkey.start()
    valkey.stop()


@pytest.fixture
def unique() -> str:
    """Make a name that no other test has."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def make_topics(bootstrap: str) -> Callable[..., None]:
    """Create topics by name."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def make(*names: str, partitions: int = 4, **config: str) -> None:
        new = [NewTopic(n, num_partitions=partitions, config=config) for n in names]
        for future in admin.create_topics(new).values():
            future.result(10)

    return make


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Give a directory of the test's own."""
    return tmp_path
