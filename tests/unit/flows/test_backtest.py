"""Simulations over hand-made records, with state in memory."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.backtest import Asked, Simulation, asked_of
from flows.backtest_state import CachedProfiles, SeededCaps
from flows.rehearsal import read_only
from flows.route_steps import at_once, route_steps
from operators.cap import limits_of
from schemas.pipeline import Chunk
from schemas.stream import Source
from sinks.outcome_counts import TO_SEND, Had
from state.caps import CapCheck
from state.memory import MemoryDedup
from state.memory_gatherings import MemoryGatherings
from state.profiles import QuietHours
from tests.contract.state_stores import in_memory
from tests.unit.operators.builders import (
    NOW_MS,
    UNTIMED,
    FakeMessage,
    event,
    known,
    notice,
    profile,
    tenant,
)
from tests.unit.operators.route_chain import route_ports

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NIGHT = QuietHours(0, 6 * 60)  # NOW_MS is 02:40 in UTC
CAPPED = {"categories": {"news": {"caps": [{"limit": 1, "window_s": "1d"}]}}}


def simulation(*people: Any, of: Any = None) -> Simulation:
    rules = of or tenant()
    ports = read_only(route_ports(in_memory(), {"acme": rules}))
    steps = route_steps(
        replace(
            ports,
            profiles=known(*people),
            dedup=MemoryDedup(),
            gatherings=MemoryGatherings(),
            caps=SeededCaps(lambda _users: (), lambda _c, _t: ()),
        ),
        {"acme": rules},
        submit=at_once,
    )
    return Simulation(steps, business_ms=lambda at_ms: at_ms)


def message(name: str, at_ms: int, **changes: Any) -> Any:
    place = Source("events.normal", 0, at_ms % 1_000_003)
    return FakeMessage(event(id=name, **changes), place, at_ms=at_ms)


def test_what_is_held_comes_back_at_its_time() -> None:
    """Before anything later, and not before; what lies beyond the end stays held."""
    run = simulation(profile(quiet_hours=NIGHT))
    run.take(message("night", NOW_MS))
    assert run.decided == {("news", "deferred", "quiet_hours"): 1}
    assert run.held == 1
    run.run_until(NOW_MS + HOUR_MS)
    assert run.held == 1
    run.take(message("day", NOW_MS + 5 * HOUR_MS))
    assert run.held == 0
    assert run.decided["news", TO_SEND, ""] == 2


def test_the_night_spends_the_cap_before_the_day() -> None:
    """In the order of time, not of arrival."""
    run = simulation(profile(quiet_hours=NIGHT), of=tenant(**CAPPED))
    run.take(message("night", NOW_MS))
    run.take(message("day", NOW_MS + 5 * HOUR_MS))
    run.take(message("next-day", NOW_MS + 29 * HOUR_MS))
    assert run.decided == {
        ("news", "deferred", "quiet_hours"): 1,
        ("news", "suppressed", "frequency_cap"): 1,
        ("news", TO_SEND, ""): 2,
    }


def test_a_schedule_waits_and_a_repeat_is_told() -> None:
    """Events that wait for their send_at, and those that come twice."""
    run = simulation(profile())
    later = message("later", NOW_MS, send_at="2026-02-02T04:40:00Z")
    run.take(later)
    run.take(message("later", NOW_MS + 1, send_at="2026-02-02T04:40:00Z"))
    run.run_until(NOW_MS + 2 * HOUR_MS)
    assert run.decided == {
        ("news", "deferred", "scheduled"): 1,
        ("news", "suppressed", "duplicate_event"): 1,
        ("news", TO_SEND, ""): 1,
    }


def test_a_digest_closes_at_its_time() -> None:
    """Three events become one message; the fourth opens a window that stays open."""
    rules = tenant(
        categories={"news": {"digest": {"window_s": 600, "template": "summary"}}},
        templates={"summary": {"texts": {"en": {"title": "{{ count }} news"}}}},
    )
    run = simulation(profile(), of=rules)
    for minute in (0, 3, 9, 11):
        run.take(message(f"m-{minute}", NOW_MS + minute * 60_000))
    assert run.decided["news", TO_SEND, ""] == 1
    assert run.decided["news", "suppressed", "in_digest"] == 3
    assert run.held == 1


def test_only_what_came_from_outside_is_run() -> None:
    """Events, and chunks that a campaign released; not the chunks that route itself made."""
    packed = msgspec.msgpack.encode(notice(expression="vip"))

    def chunk(**more: Any) -> Any:
        raw = msgspec.msgpack.encode(Chunk(packed, **more))
        return FakeMessage(raw, Source("chunks.low", 0, 1))

    assert asked_of(chunk(shard=2, low=0, high=9)) == Asked("acme", "m-1")
    for own in (
        {"shard": 2},
        {"users": ("u1",)},
        {"shard": 2, "low": 0, "high": 9, "held": True},
    ):
        assert asked_of(chunk(**own)) is None
    said = asked_of(message("m-7", NOW_MS))
    assert said is not None
    assert (said.tenant, said.id, said.users()) == ("acme", "m-7", ["u1"])


@UNTIMED
@given(raw=st.one_of(st.binary(), st.dictionaries(st.text(), st.integers()).map(json.dumps)))
def test_whatever_lies_on_a_topic_is_no_error(raw: Any) -> None:
    """It is left out, or has no users."""
    value = raw if isinstance(raw, bytes) else raw.encode()
    for topic in ("events.low", "chunks.low"):
        said = asked_of(FakeMessage(value, Source(topic, 0, 0)))
        assert said is None or said.users() == []


def test_caps_begin_with_what_users_had() -> None:
    """Each user is asked about once; what was had in another category counts there."""
    asked: list[list[str]] = []
    rules = tenant(**CAPPED)

    def had(users: Any) -> list[Had]:
        asked.append(list(users))
        return [Had(u, "early", "news", "t", NOW_MS - HOUR_MS) for u in users if u != "new"]

    caps = SeededCaps(had, lambda category, kind: limits_of(rules, category, kind))
    limits = limits_of(rules, "news", "t")

    def ask(user: str, name: str, at_ms: int) -> list[bool | int]:
        return caps.admit_many("acme", 4, [CapCheck(user, name, limits)], at_ms)

    assert caps.peek_many("acme", 4, [CapCheck("u1", "m", limits)], NOW_MS) == [0]
    assert ask("u1", "m", NOW_MS) == [0]
    assert ask("new", "m", NOW_MS) == [True]
    assert ask("new", "n", NOW_MS) == [0]
    assert ask("u1", "m", NOW_MS + DAY_MS) == [True]
    assert asked == [["u1"], ["new"]]


def test_profiles_are_read_once_and_bounded() -> None:
    """Those asked for last are kept; nobody can be changed."""
    store = known(profile("a"), profile("b"))
    reads: list[list[str]] = []

    class Counted(CachedProfiles):
        def get_many(self, tenant: str, shards: int, user_ids: Any) -> Any:
            reads.append(list(user_ids))
            return store.get_many(tenant, shards, user_ids)

    cached = CachedProfiles(Counted(store), most=2)
    a, missing, again = cached.get_many("acme", 4, ["a", "x", "a"])
    assert a is again is not None
    assert missing is None
    cached.get_many("acme", 4, ["a", "x"])
    cached.get_many("acme", 4, ["b"])
    cached.get_many("acme", 4, ["a"])
    assert reads == [["a", "x"], ["b"], ["a"]]
    with pytest.raises(PermissionError, match="read only"):
        cached.update_many("acme", 4, {"a": lambda old: old})
