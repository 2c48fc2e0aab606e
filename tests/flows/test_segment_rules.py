"""Rule segments in the registry flow: live, crashed and replayed, and rebuilt."""

import json
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from flow_harness import Runner, Stores, run_through_crashes

from api.cli import run
from flows import rebuild
from schemas.definitions import DefinitionRecord, Kind
from schemas.registry import registry_key
from schemas.segments import parse
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import DEFINITIONS, PREFERENCES, USERS
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments

pytestmark = pytest.mark.usefixtures("no_clickhouse")
SHARDS, COUNT = 4, 60
WITHIN_S = 30.0


def user(number: int, country: str, at_s: int = 1) -> Record:
    value = {
        "tenant": "acme", "user_id": f"u{number}", "country": country,
        "updated_at": f"2026-01-01T00:00:{at_s:02}Z",
    }  # fmt: skip
    return Record(USERS, registry_key("acme", f"u{number}"), json.dumps(value).encode())


def topics(number: int, *names: str, at_s: int = 1) -> Record:
    value = {
        "tenant": "acme", "user_id": f"u{number}", "topics": names,
        "updated_at": f"2026-01-01T00:00:{at_s:02}Z",
    }  # fmt: skip
    return Record(PREFERENCES, registry_key("acme", f"u{number}"), json.dumps(value).encode())


def rule(country: str, version: int) -> Record:
    said = DefinitionRecord(
        kind=Kind.SEGMENT, tenant="acme", name="swiss", version=version,
        updated_at=datetime.now(UTC), body={"rule": {"field": "country", "value": country}},
    )  # fmt: skip
    return Record(DEFINITIONS, said.key, said.to_json())


def members(redis: RedisClient, text: str = "swiss") -> set[str]:
    segments = RedisSegments(redis)
    return {user for n in range(SHARDS) for user in segments.members("acme", n, parse(text))}


def named(*numbers: int) -> set[str]:
    return {f"u{n}" for n in numbers}


def test_members_follow_profiles_through_crashes_and_a_rebuild(
    stores: Stores, settings: Settings, redis: RedisClient
) -> None:
    """Also when the rule changes, and when Redis lost everything."""
    meant = named(*(n for n in range(COUNT) if n % 3 == 0 and n % 2))
    stores.put([user(n, "CH" if n % 2 else "DE") for n in range(COUNT)])
    stores.put([rule("CH", 1)])
    stores.put([user(n, "DE", at_s=2) for n in range(COUNT) if n % 3])
    run_through_crashes(Runner(settings, "registry"), until=lambda: members(redis) == meant)
    stores.put([rule("DE", 2)])
    others = {*named(*range(COUNT))} - meant
    Runner(settings, "registry").run(until=lambda: members(redis) == others)
    redis.run("FLUSHALL")
    assert [*rebuild.rebuild(settings)][-1].phase == "done"
    Runner(settings, "registry").run(until=lambda: members(redis) == others)


def test_topics_are_segments_that_follow_preferences(
    stores: Stores, settings: Settings, redis: RedisClient
) -> None:
    """Of those who subscribed; also within expressions."""
    stores.put([topics(1, "sports", "news"), topics(2, "sports"), user(2, "CH")])
    Runner(settings, "registry").run()
    assert members(redis, "topic.sports") == named(1, 2)
    assert members(redis, "topic.sports - topic.news") == named(2)
    stores.put([topics(2, "news", at_s=2), Record(PREFERENCES, b"acme/u1", None)])
    Runner(settings, "registry").run()
    assert members(redis, "topic.sports") == set()
    assert members(redis, "topic.news") == named(2)


@pytest.mark.usefixtures("registry")
def test_a_live_rule_is_right_soon_after_a_change(
    stores: Stores, redis: RedisClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Defined, shown, changed and removed by commands while the registry runs."""
    stores.put([user(1, "CH"), user(2, "DE")])
    of = ["--tenant", "acme"]
    swiss = '{"field": "country", "value": "CH"}'
    _until(lambda: members(redis, "everyone") == named(1, 2))
    assert run(["segments", "define", "swiss", "--rule", swiss, *of]) == 0
    assert "swiss: 1 members, built in" in capsys.readouterr().out
    stores.put([user(2, "CH", at_s=2), user(1, "DE", at_s=2)])
    _until(lambda: members(redis) == named(2))
    assert run(["segments", "refresh", "swiss", *of]) == 0
    assert run(["segments", "refresh", "--due", *of]) == 0
    assert capsys.readouterr().out.endswith("none is due\n")
    assert run(["segments", "show", "swiss", *of]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["version"], shown["members"]) == ("rule", 1, 1)
    assert shown["last_build"]["error"] == ""
    assert run(["segments", "define", "swiss", *of]) == 1
    assert "give exactly one of rule, behaviour and sql" in capsys.readouterr().err
    assert run(["segments", "define", "swiss", "--rule", "{", *of]) == 1
    assert "--rule: is no JSON" in capsys.readouterr().err
    assert run(["segments", "upload", "swiss", __file__, *of]) == 1
    assert "is a rule or query" in capsys.readouterr().err
    assert run(["segments", "rm", "swiss", *of]) == 0
    assert members(redis) == set()


def _until(holds: Any) -> None:
    poll, deadline_s = threading.Event(), time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline_s
        poll.wait(0.02)
