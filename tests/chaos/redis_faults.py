"""What Redis holds of users, and how it is made to refuse writes while it still answers."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.servers.redis_server import RealRedis

SCAN_COUNT = 5_000
_KINDS = {
    "profiles": re.compile(rb"\{[^}]+:\d+\}:p:"),
    "segments": re.compile(rb"\{[^}]+:\d+\}:s:"),
    "tokens": re.compile(rb"\{[^}]+:t\d+\}:"),
}
"""See state/keys.py."""


class Contents(NamedTuple):
    """The keys of users by kind, and how many members all segments have."""

    keys: Counter[str]
    members: int


def contents(server: RealRedis) -> Contents:
    """Count what Redis holds of users, devices and segments."""
    keys: Counter[str] = Counter()
    members = 0
    with server.client() as client:
        for key in client.scan_iter(count=SCAN_COUNT):
            kind = next((kind for kind, shape in _KINDS.items() if shape.match(key)), "")
            keys[kind] += bool(kind)
            if kind == "segments":
                members += client.scard(key)
    return Contents(+keys, members)


class Refusal(NamedTuple):
    """A way to refuse writes. word: Redis's own for it."""

    name: str
    word: str
    begin: Callable[[RealRedis, Path], None]
    end: Callable[[RealRedis, Path], None]


def _fill(server: RealRedis, _directory: Path) -> None:
    server.config_set("maxmemory", "1")


def _make_room(server: RealRedis, _directory: Path) -> None:
    server.config_set("maxmemory", "0")


def _want_replica(server: RealRedis, _directory: Path) -> None:
    server.config_set("min-replicas-to-write", "1")


def _want_none(server: RealRedis, _directory: Path) -> None:
    server.config_set("min-replicas-to-write", "0")


def _spoil_disk(server: RealRedis, directory: Path) -> None:
    """Make its next snapshot fail: its file cannot take the place of a directory."""
    (directory / "dump.rdb" / "in-the-way").mkdir(parents=True)
    server.config_set("save", "3600 1000000000")
    _save(server, "err")


def _mend_disk(server: RealRedis, directory: Path) -> None:
    (directory / "dump.rdb" / "in-the-way").rmdir()
    (directory / "dump.rdb").rmdir()
    _save(server, "ok")
    server.config_set("save", "")


def _save(server: RealRedis, wanted: str) -> None:
    with server.client() as client:
        client.bgsave()
        while True:
            info = client.info("persistence")
            if not info["rdb_bgsave_in_progress"] and info["rdb_last_bgsave_status"] == wanted:
                return


REFUSALS = (
    Refusal("Redis full", "OOM", _fill, _make_room),
    Refusal("Redis without its replica", "NOREPLICAS", _want_replica, _want_none),
    Refusal("Redis cannot write to its disk", "MISCONF", _spoil_disk, _mend_disk),
)
