"""State in a real Redis with an append-only file, as production runs it."""

import time
from functools import partial

import pytest

from schemas.pipeline import Platform
from state.dedup import RedisDedup
from state.errors import StateUnavailableError
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient
from tests.servers.redis_server import RealRedis

pytestmark = pytest.mark.integration
# With appendfsync everysec a write waits at most two seconds for a sync under way, and is with the
# kernel then, which outlives the process. Source: flushAppendOnlyFile in Redis's aof.c.
SAFE_AFTER_S = 2.0
WRITING_S = 4.0
BATCH = 50
TTL_S = 3_600


def _profile(number: int, _old: Profile | None) -> Profile:
    device = Device("d", Platform.APNS, "ios", f"{number:064x}", 1)
    return Profile(f"u{number}", 0, devices=(device,))


def test_acknowledged_writes_survive_a_kill(redis_server: RealRedis) -> None:
    """Dedup keys and profiles written up to two seconds before kill -9 are there after it."""
    client = RedisClient(redis_server.url)
    dedup, profiles = RedisDedup(client), RedisProfiles(client)
    acknowledged: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < WRITING_S:
        numbers = range(BATCH * len(acknowledged), BATCH * (len(acknowledged) + 1))
        dedup.seen_many(
            [("acme", f"k{n}") for n in numbers], [f"first-{n}" for n in numbers], TTL_S
        )
        profiles.update_many("acme", 4, {f"u{n}": partial(_profile, n) for n in numbers})
        acknowledged.append(time.monotonic())
    redis_server.kill()
    killed_at = time.monotonic()
    redis_server.restart()
    safe = BATCH * sum(at < killed_at - SAFE_AFTER_S for at in acknowledged)
    assert safe > BATCH
    keys = [("acme", f"k{n}") for n in range(safe)]
    found = dedup.seen_many(keys, ["late"] * safe, TTL_S)
    assert found == [f"first-{n}" for n in range(safe)]
    users = [f"u{n}" for n in range(safe)]
    kept = profiles.get_many("acme", 4, users)
    assert [p.devices if p is not None else () for p in kept] == [
        _profile(n, None).devices for n in range(safe)
    ]
    client.close()


def test_a_redis_that_hangs_is_unavailable_and_then_as_before(redis_server: RealRedis) -> None:
    """Calls end with an error within their timeout; the same client goes on afterwards."""
    client = RedisClient(redis_server.url, timeout_s=0.2, retries=0)
    dedup = RedisDedup(client)
    assert dedup.seen_many([("acme", "k")], ["first"], TTL_S) == [None]
    redis_server.pause()
    with pytest.raises(StateUnavailableError):
        dedup.seen_many([("acme", "k")], ["late"], TTL_S)
    redis_server.resume()
    assert dedup.seen_many([("acme", "k")], ["late"], TTL_S) == ["first"]
    client.close()
