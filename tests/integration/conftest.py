"""Servers that these tests may break."""

from collections.abc import Iterator

import pytest

from tests.servers.apache_kafka import ApacheKafka
from tests.servers.redis_server import RealRedis


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, *, real_servers: bool
) -> Iterator[ApacheKafka]:
    """Start three nodes."""
    assert real_servers
    kafka = ApacheKafka(tmp_path_factory.mktemp("kafka"), nodes=3)
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture(scope="module")
def single(
    tmp_path_factory: pytest.TempPathFactory, *, real_servers: bool
) -> Iterator[ApacheKafka]:
    """Start one node."""
    assert real_servers
    kafka = ApacheKafka(tmp_path_factory.mktemp("kafka"))
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """Start a Redis of the test's own."""
    server = RealRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
