"""The stores of the tests, one of each for the whole run; every test makes its own topics.

`--servers=real` runs the same tests on Apache Kafka and Redis instead of the embedded stack.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import HealthCheck, settings

from sandbox.broker import EmbeddedBroker
from sandbox.valkey import EmbeddedValkey
from tests.servers.apache_kafka import ApacheKafka
from tests.servers.kafka_archive import make_class_archive
from tests.servers.redis_server import RealRedis
from tests.servers.topics import create

# How long an example takes says more about the machine than about the code; in CI, what one run
# finds the next one finds as well.
settings.register_profile(
    "clarion",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("clarion")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the stores be chosen."""
    parser.addoption(
        "--servers",
        choices=("embedded", "real"),
        default=os.environ.get("CLARION_TEST_SERVERS", "embedded"),
        help="what Kafka and Redis are: the embedded ones, or Apache Kafka and redis-server",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marks mean."""
    config.addinivalue_line("markers", "embedded_only: about the embedded servers themselves")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not about the chosen stores."""
    real = config.getoption("servers") == "real"
    left_out = "embedded_only" if real else "integration"
    skip = pytest.mark.skip(reason=f"not on {config.getoption('servers')} servers")
    for item in items:
        if item.get_closest_marker(left_out) is not None:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_servers(pytestconfig: pytest.Config) -> bool:
    """Tell whether Apache Kafka and Redis were asked for."""
    real: bool = pytestconfig.getoption("servers") == "real"
    if real:
        make_class_archive()
    return real


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory, *, real_servers: bool) -> Iterator[str]:
    """Address of a broker."""
    directory = tmp_path_factory.mktemp("kafka")
    broker: Any = ApacheKafka(directory) if real_servers else EmbeddedBroker(directory)
    yield broker.start()
    broker.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory, *, real_servers: bool) -> Iterator[str]:
    """URL of a Redis or Valkey."""
    directory = tmp_path_factory.mktemp("redis")
    store: Any = RealRedis(directory) if real_servers else EmbeddedValkey(directory)
    yield store.start()
    store.stop()


@pytest.fixture
def unique() -> str:
    """Make a name that no other test has."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def make_topics(bootstrap: str) -> Callable[..., None]:
    """Create topics by name, ready to be used."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def make(*names: str, partitions: int = 4, **config: str) -> None:
        create(admin, [NewTopic(n, num_partitions=partitions, config=config) for n in names])

    return make


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Give a directory of the test's own."""
    return tmp_path
