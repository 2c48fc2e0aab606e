"""The keeper: what is due, who builds it, and what becomes of what is defined no more."""

import json
from collections.abc import Callable
from threading import Event
from typing import Any

from flows.segment_keeper import KINDS, RETRY_S, KeeperThread, SegmentKeeper
from operators.segment_builder import AwayError, LostError, QueryError
from operators.segment_rules import LiveSegment, live_segment
from schemas.definitions import Definition, Kind
from state.definitions import Removed, Watched
from state.memory import MemoryDefinitions, MemorySegments
from state.segment_work import MemorySegmentWork
from state.segments import Generation
from tests.unit.operators.builders import NOW_MS, tenant

SHARDS = 4
AGE = {"rule": {"field": "last_seen_age_days", "op": "gt", "value": 14}, "every": "10m"}
PLAIN = {"rule": {"field": "country", "value": "CH"}}
QUERY = {"sql": "SELECT 1", "every": "1h"}


class FakeBuilder:
    """Notes what is built, and switches to it."""

    def __init__(self, segments: MemorySegments, now_ms: Callable[[], int]) -> None:
        self.segments, self.now_ms = segments, now_ms
        self.built: list[str] = []
        self.error: Exception | None = None

    def _switch(self, tenant: str, shards: int, one: LiveSegment, kind: str) -> None:
        self.built.append(one.name)
        if self.error is not None:
            raise self.error
        to = Generation(one.at_ms, one.generation, kind, version=one.version)
        self.segments.switch(tenant, shards, one.name, to)

    def build_rules(self, tenant: str, shards: int, *, rules: Any, keep_on: Any) -> int:
        keep_on()
        for one in rules:
            self._switch(tenant, shards, one, "rule")
        return 0

    def build_query(self, tenant: str, shards: int, *, segment: Any, keep_on: Any) -> int:
        keep_on()
        self._switch(tenant, shards, segment, "query")
        return 0


class World:
    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.definitions, self.segments = MemoryDefinitions(), MemorySegments()
        self.work = MemorySegmentWork()
        self.builder = FakeBuilder(self.segments, lambda: self.now_ms)
        self.keeper = self.another()

    def another(self, kinds: frozenset[str] = KINDS) -> SegmentKeeper:
        return SegmentKeeper(
            {"acme": tenant()},
            definitions=Watched(
                self.definitions, Kind.SEGMENT, ["acme"], live_segment, refresh_s=0
            ),
            segments=self.segments,
            work=self.work,
            builder=self.builder,  # type: ignore[arg-type]
            now_ms=lambda: self.now_ms,
            kinds=kinds,
        )

    def define(self, name: str, body: dict[str, Any], version: int = 1) -> None:
        raw = json.dumps(body).encode()
        at_ms = NOW_MS + version
        self.definitions.apply([Definition(Kind.SEGMENT, "acme", name, version, raw, at_ms)])

    def turn(self, later_s: int = 0) -> list[str]:
        """Let time pass, and the keeper turn; give what it built."""
        self.now_ms += later_s * 1_000
        self.builder.built = []
        self.keeper.turn()
        return self.builder.built


def test_what_is_new_is_built_once_and_what_changes_with_time_again() -> None:
    """Rules on ages and queries every so often, other rules never again."""
    world = World()
    assert world.turn() == []
    world.define("plain", PLAIN)
    world.define("age", AGE)
    world.define("query", QUERY)
    assert sorted(world.turn()) == ["age", "plain", "query"]
    assert world.turn(599) == []
    assert world.turn(1) == ["age"]
    assert sorted(world.turn(3_000)) == ["age", "query"]
    world.define("plain", PLAIN, version=2)
    assert world.turn() == ["plain"]


def test_what_redis_lost_is_built_again() -> None:
    """The definitions came back, the members did not."""
    world = World()
    world.define("plain", PLAIN)
    world.turn()
    world.segments.delete("acme", SHARDS, "plain")
    assert world.turn() == ["plain"]


def test_what_fails_is_noted_and_tried_again_later() -> None:
    """What was there stays."""
    world = World()
    world.define("query", QUERY)
    world.turn()
    world.builder.error = QueryError("no such table")
    assert world.turn(3_600) == ["query"]
    note = world.work.notes("acme")["query"]
    assert note.error == "no such table"
    assert note.since_ms == NOW_MS
    assert world.turn(RETRY_S - 1) == []
    world.builder.error = None
    assert world.turn(1) == ["query"]
    assert world.work.notes("acme")["query"].error == ""


def test_queries_rest_during_an_outage() -> None:
    """One attempt, of which nothing is noted, then none for a while; rules go on meanwhile."""
    world = World()
    world.define("query", QUERY)
    world.builder.error = AwayError("refused")
    assert world.turn() == ["query"]
    assert world.work.notes("acme") == {}
    world.builder.error = None
    world.define("plain", PLAIN)
    assert world.turn(RETRY_S - 1) == ["plain"]
    assert world.turn(1) == ["query"]
    assert world.work.notes("acme")["query"].error == ""


def test_what_is_defined_no_more_is_deleted_and_lists_stay() -> None:
    """Also after a restart, when nothing is defined at all."""
    world = World()
    world.define("plain", PLAIN)
    world.turn()
    world.segments.switch("acme", SHARDS, "vip", Generation(1, "g", "list"))
    world.definitions.apply([Removed(Kind.SEGMENT, "acme", "plain", NOW_MS + 9)])
    world.another().turn()
    assert world.segments.names("acme") == ["vip"]


def test_rules_and_queries_may_have_keepers_of_their_own() -> None:
    """So that neither waits for the other."""
    world = World()
    world.define("plain", PLAIN)
    world.define("query", QUERY)
    world.keeper = world.another(frozenset({"query"}))
    assert world.turn() == ["query"]
    world.keeper = world.another(frozenset({"rule"}))
    assert world.turn() == ["plain"]


def test_only_one_builds() -> None:
    """The other finds the lease taken, and goes on when it is given back."""
    world = World()
    world.define("plain", PLAIN)
    world.work.hold("acme", "", "someone else", ttl_s=1)
    assert world.turn() == []
    world.work.release("acme", "", "someone else")
    assert world.turn() == ["plain"]


def test_a_failure_does_not_end_the_thread() -> None:
    """It is logged, and the next turn comes."""
    turns, ended = [0], Event()

    class Failing:
        def turn(self) -> None:
            turns[0] += 1
            if turns[0] < 3:
                raise LostError("x")
            ended.set()

    thread = KeeperThread(Failing(), ended, turn_s=0.001, retry_s=0.001)  # type: ignore[arg-type]
    thread.start()
    assert ended.wait(10)
    thread.close()
    assert turns[0] == 3
