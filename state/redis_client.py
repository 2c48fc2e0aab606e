"""The one door to Redis: batches in one round trip, scripts by hash, failures as one type."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from hashlib import sha1
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoScriptError, RedisClusterException
from redis.retry import Retry

from state.errors import StateUnavailableError
from state.patience import FAIL_FAST, Patience
from state.redis_errors import is_demoted, is_passing, is_unavailable

STORE = "redis"

Value = str | bytes | int | float
Command = Sequence[Value]
T = TypeVar("T")


class Script:
    """A Lua script, called by its hash. name: what errors call it."""

    def __init__(self, name: str, body: str) -> None:
        self.name = name
        self.body = body
        # Redis names scripts by SHA-1; nothing here relies on it being hard to collide.
        self.sha = sha1(body.encode(), usedforsecurity=False).hexdigest()


class Call:
    """One call of a script: all its keys lie in one slot when Redis is clustered."""

    __slots__ = ("args", "keys", "script")

    def __init__(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Value] = ()
    ) -> None:
        self.script = script
        self.keys = keys
        self.args = args

    def command(self, *, by_hash: bool) -> Command:
        """Give the command, with the script's hash or its text."""
        verb = ("EVALSHA", self.script.sha) if by_hash else ("EVAL", self.script.body)
        return (*verb, len(self.keys), *self.keys, *self.args)


class RedisClient:
    """Redis or Valkey, alone or clustered. Connects at first use; safe to share among threads.

    url: redis://, rediss:// or unix://. cluster: the url is a node of a Redis Cluster.
    timeout_s: for each answer. connect_timeout_s: for each connection. retries: repeats after a
    connection failure, with jittered waits of 10 to 200 ms. So the longest wait of one attempt is
    about (retries + 1) * (timeout_s + connect_timeout_s).
    patience: repeats a call while Redis cannot serve; all that state/ calls may be repeated.
    Raises ValueError for a url that names no server.
    """

    def __init__(
        self,
        url: str,
        *,
        cluster: bool = False,
        timeout_s: float = 2.0,
        connect_timeout_s: float = 1.0,
        retries: int = 2,
        max_connections: int = 64,
        patience: Patience = FAIL_FAST,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.path):
            raise ValueError("a Redis url looks like redis://host:6379/0 or unix:///path/to.sock")
        self.clustered = cluster
        self.where = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
        self._url = url
        self._patience = patience
        # A silent server is left to the patience, if there is any: it looks between two attempts
        # whether the flow is to stop.
        silence = () if patience.limit_s else (redis.TimeoutError,)
        backoff = ExponentialWithJitterBackoff(base=0.01, cap=0.2)
        self._options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": connect_timeout_s,
            "max_connections": max_connections,
            "retry": Retry(backoff, retries, (redis.ConnectionError, *silence)),
        }
        self._lock = Lock()
        self._connected: Any = None

    def run(self, *command: Value) -> Any:
        """Run one command in one round trip and give its raw answer."""
        return self._patiently(lambda: self._run(*command))

    def run_many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip (one per node when clustered); answers in order.

        Not a transaction. Raises the first command's error, after all have run.
        """
        if not commands:
            return []
        if len(commands) == 1:
            return [self.run(*commands[0])]
        return self._patiently(lambda: self._run_many(commands))

    def call(self, calls: Sequence[Call]) -> list[Any]:
        """Call scripts in one round trip, as run_many; a server that lacks one gets its text."""
        if not calls:
            return []
        return self._patiently(lambda: self._call(calls))

    def get_all(self, keys: Sequence[str | bytes], tags: Sequence[Hashable]) -> list[bytes | None]:
        """Read strings: one MGET; when clustered one per tag, in one round trip per node.

        tags: for each key, what keys of one slot share (the shard).
        """
        if not keys:
            return []
        if not self.clustered:
            found: list[bytes | None] = self.run("MGET", *keys)
            return found
        groups = grouped(tags)
        answers = self.run_many([("MGET", *(keys[i] for i in group)) for group in groups])
        return spread(groups, answers, len(keys))

    def scan(self, match: str, *, step: int) -> Iterator[list[bytes]]:
        """Walk over all keys of a pattern, on every primary; a key may come twice.

        step: keys looked at in one round trip. O(keys of the server).
        """
        for node in self._patiently(lambda: self._guard("SCAN", self._primaries)):
            cursor = 0
            while True:
                cursor, found = self._patiently(partial(self._scan, node, cursor, match, step))
                if found:
                    yield found
                if not cursor:
                    break

    def ping(self) -> None:
        """Raise StateUnavailableError unless Redis answers."""
        self.run("PING")

    def close(self) -> None:
        """Close all connections. A later call connects again."""
        with self._lock:
            connected, self._connected = self._connected, None
        if connected is not None:
            connected.close()

    def _redis(self) -> Any:
        if self._connected is None:
            with self._lock:
                if self._connected is None:
                    kind: Any = redis.RedisCluster if self.clustered else redis.Redis
                    self._connected = kind.from_url(self._url, **self._options)
        return self._connected

    def _patiently(self, operation: Callable[[], T]) -> T:
        def attempt() -> T:
            try:
                return operation()
            except StateUnavailableError as error:
                if is_demoted(error.cause):
                    self.close()  # so that the next attempt looks up the name again
                raise

        return self._patience.keep(STORE, attempt, passing=_may_pass)

    def _primaries(self) -> list[Any]:
        return list(self._redis().get_primaries()) if self.clustered else [None]

    def _scan(self, node: Any, cursor: int, match: str, step: int) -> tuple[int, list[bytes]]:
        where = {} if node is None else {"target_nodes": node}

        def execute() -> tuple[int, list[bytes]]:
            after, found = self._redis().scan(cursor, match=match, count=step, **where)
            return int(after if node is None else after[node.name]), found

        return self._guard("SCAN", execute)

    def _run(self, *command: Value) -> Any:
        return self._guard(str(command[0]), lambda: self._redis().execute_command(*command))

    def _run_many(self, commands: Sequence[Command]) -> list[Any]:
        answers = self._pipeline(commands)
        self._raise_first(f"{len(commands)} commands", answers)
        return answers

    def _call(self, calls: Sequence[Call]) -> list[Any]:
        what = calls[0].script.name
        answers = self._pipeline([c.command(by_hash=True) for c in calls], what=what)
        for index, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                command = calls[index].command(by_hash=False)
                answers[index] = self._pipeline([command], what=what)[0]
        self._raise_first(what, answers)
        return answers

    def _pipeline(self, commands: Sequence[Command], *, what: str = "") -> list[Any]:
        def execute() -> list[Any]:
            if len(commands) == 1:
                try:
                    return [self._redis().execute_command(*commands[0])]
                except NoScriptError as missing:
                    return [missing]
            pipe = self._redis().pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = pipe.execute(raise_on_error=False)
            return answers

        return self._guard(what or f"{len(commands)} commands", execute)

    def _guard(self, what: str, operation: Callable[[], T]) -> T:
        try:
            return operation()
        except (redis.RedisError, RedisClusterException, OSError) as error:
            if not is_unavailable(error):
                raise
            raise StateUnavailableError(what, self.where, error) from error

    def _raise_first(self, what: str, answers: Sequence[Any]) -> None:
        for answer in answers:
            if isinstance(answer, Exception):
                if not is_unavailable(answer):
                    raise answer
                raise StateUnavailableError(what, self.where, answer) from answer


def _may_pass(error: Exception) -> bool:
    return isinstance(error, StateUnavailableError) and is_passing(error.cause)


def grouped(tags: Sequence[Hashable]) -> list[list[int]]:
    """Give the positions that share a tag, in order of first sight."""
    groups: dict[Hashable, list[int]] = {}
    for index, tag in enumerate(tags):
        groups.setdefault(tag, []).append(index)
    return list(groups.values())


def batches(tags: Sequence[Hashable], *, clustered: bool, at_most: int) -> list[list[int]]:
    """Split positions into script calls: one slot per call when clustered, at_most per call."""
    groups = grouped(tags) if clustered else [list(range(len(tags)))]
    return [g[i : i + at_most] for g in groups for i in range(0, len(g), at_most)]


def spread(groups: Sequence[Sequence[int]], answers: Sequence[Sequence[T]], size: int) -> list[T]:
    """Put the answers of groups of positions back into their places."""
    placed: list[Any] = [None] * size
    for group, answer in zip(groups, answers, strict=True):
        for index, item in zip(group, answer, strict=True):
            placed[index] = item
    return placed
