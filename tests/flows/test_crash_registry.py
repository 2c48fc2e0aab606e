"""registry, crashed and replayed."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from engine_stand import with_engine
from flow_harness import Runner, Stores, run_through_crashes

from flows import rebuild
from flows.compose_stores import clickhouse_of
from schemas.definitions import DefinitionRecord, Kind
from schemas.outcomes import Reason
from schemas.pipeline import DeadLetter, Platform, TokenDeath
from schemas.registry import registry_key
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import (
    AUDIT,
    DEAD_REGISTRY,
    DEFINITIONS,
    DEVICES,
    PREFERENCES,
    TOKEN_DEATHS,
    USER_EVENTS,
    USERS,
)
from sinks.clickhouse import connect
from state.profiles import RedisProfiles
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments

COUNT = 60
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
EARLY_MS, LATE_MS = 1_767_225_600_000, 1_769_904_000_000


@pytest.fixture
def settings(stores: Stores, tmp_path: Path) -> Iterator[Settings]:
    """Give settings with an embedded ClickHouse."""
    yield from with_engine(stores, tmp_path)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """Give a ClickHouse client."""
    made = connect(clickhouse_of(settings))
    yield made
    made.close()


def _device(user: str, token: str, at: str) -> Record:
    value = {
        "tenant": "acme",
        "user_id": user,
        "device_id": "phone",
        "platform": "apns",
        "app": "ios",
        "token": token,
        "registered_at": at,
    }
    return _record(DEVICES, registry_key("acme", user, "phone"), value)


def _record(topic: str, key: bytes, value: dict[str, Any]) -> Record:
    return Record(topic, key, json.dumps(value).encode())


def _user(user: str, segments: list[str]) -> Record:
    value = {"tenant": "acme", "user_id": user, "segments": segments, "updated_at": EARLY}
    return _record(USERS, registry_key("acme", user), value)


def test_profiles_and_rows_are_the_same_after_crashes(
    stores: Stores, settings: Settings, client: Client
) -> None:
    """Devices, users and preferences arrive whole; a replay changes nothing."""
    users = [f"u{n}" for n in range(COUNT)]
    stores.put([_device(user, f"{n:064x}", EARLY) for n, user in enumerate(users)])
    stores.put([_user(user, ["buyers"]) for user in users])
    preferences = {
        "tenant": "acme",
        "user_id": "u1",
        "opted_out_categories": ["marketing"],
        "quiet_hours": {"start": "22:00", "end": "07:00"},
        "updated_at": EARLY,
    }
    stores.put([_record(PREFERENCES, registry_key("acme", "u1"), preferences)])
    stores.put([Record(DEVICES, b"acme/u1/x", b"{}")])
    runner = Runner(settings, "registry")
    runner.run(crash_at=1, between=True)
    run_through_crashes(runner)
    redis = RedisClient(stores.redis_url)
    profiles = RedisProfiles(redis).get_many("acme", 4, users)
    assert [len(p.devices) for p in profiles if p is not None] == [1] * COUNT
    one = profiles[1]
    assert one is not None
    assert one.opted_out_categories == ("marketing",)
    assert one.quiet_hours is not None
    assert one.quiet_hours.start_min == 22 * 60
    assert RedisSegments(redis).count("acme", 4, "buyers") == COUNT
    assert RedisSegments(redis).count("acme", 4, "everyone") == COUNT
    rows = client.query("SELECT count() FROM devices_current").result_rows
    assert rows == [(COUNT,)]
    assert client.query("SELECT count() FROM users_current").result_rows == [(COUNT,)]
    assert len({letter.raw for letter in stores.decoded(DEAD_REGISTRY, DeadLetter)}) == 1


def test_what_users_did_is_counted_once_and_makes_a_segment(
    stores: Stores, settings: Settings, client: Client
) -> None:
    """Also after crashes: a row that comes twice is one event."""

    def event(user: str, number: int) -> Record:
        value = {"tenant": "acme", "user_id": user, "id": f"{user}-{number}", "name": "order"}
        at = {"occurred_at": datetime.now(UTC).isoformat()}
        return _record(USER_EVENTS, user.encode(), value | at)

    behaviour = {"event": "order", "at_least": 3}
    said = DefinitionRecord(
        kind=Kind.SEGMENT, tenant="acme", name="regulars",
        updated_at=datetime.now(UTC), body={"behaviour": behaviour},
    )  # fmt: skip
    stores.put([event(f"u{n}", number) for n in range(20) for number in range(n % 5)])
    run_through_crashes(Runner(settings, "registry"))
    stores.put([Record(DEFINITIONS, said.key, said.to_json())])
    segments = RedisSegments(RedisClient(stores.redis_url))
    Runner(settings, "registry").run(until=lambda: segments.count("acme", 4, "regulars") == 8)
    (count,) = client.query("SELECT uniqExact(event_id) FROM user_events").result_rows
    assert count == (40,)


def test_the_audit_log_has_each_entry_once(
    stores: Stores, settings: Settings, client: Client
) -> None:
    """Also after crashes; what is no entry is a dead letter, and a rebuild passes it by."""
    now = datetime.now(UTC).isoformat()
    said = {"tenant": "acme", "action": "PUT /v1/x", "status": 200, "at": now}
    entries = [{**said, "audit_id": f"a{n}", "count": n + 1} for n in range(COUNT)]
    stores.put([_record(AUDIT, b"acme", one) for one in [*entries, {**said, "status": "x"}]])
    run_through_crashes(Runner(settings, "registry"))
    rows = client.query("SELECT count(), sum(count) FROM audit FINAL").result_rows
    assert rows == [(COUNT, COUNT * (COUNT + 1) // 2)]
    (error,) = {letter.error for letter in stores.decoded(DEAD_REGISTRY, DeadLetter)}
    assert "status" in error
    assert "audit_id" in error
    assert [*rebuild.rebuild(settings)][-1].unreadable == 0


def test_a_token_leaves_its_old_user_and_a_late_death_spares_a_newer_registration(
    stores: Stores, settings: Settings, client: Client
) -> None:
    """The newest registration owns the token; a death before a registration kills nothing."""
    stores.put([_device("old", "ab" * 32, EARLY), _device("kept", "cd" * 32, LATE)])
    stores.put([_device("dead", "ef" * 32, EARLY), _device("new", "ab" * 32, LATE)])
    runner = Runner(settings, "registry")
    runner.run()
    deaths = [
        TokenDeath("acme", user, "phone", Platform.APNS, token, at_ms, Reason.TOKEN_UNREGISTERED)
        for user, token, at_ms in (
            ("kept", "cd" * 32, LATE_MS - 1),
            ("dead", "ef" * 32, EARLY_MS + 1),
        )
    ]
    encode = msgspec.msgpack.Encoder().encode
    stores.put([Record(TOKEN_DEATHS, d.user_id.encode(), encode(d)) for d in deaths])
    runner.run()
    found = RedisProfiles(RedisClient(stores.redis_url)).get_many(
        "acme", 4, ["old", "new", "kept", "dead"]
    )
    assert [len(p.devices) if p is not None else -1 for p in found] == [0, 1, 1, 0]
    rows = client.query("SELECT user_id FROM devices_current ORDER BY user_id").result_rows
    assert rows == [("kept",), ("new",)]
