"""Building segments, while profiles change and processes die."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from builders import NOW_MS, UNTIMED, tenant
from hypothesis import given
from hypothesis import strategies as st

from operators.profile_writer import WriteProfiles
from operators.registration import UserChange
from operators.segment_builder import LostError, QueryError, SegmentBuilder
from operators.segment_rules import LiveSegment, live_segment
from schemas.definitions import Definition, Kind
from schemas.registry import UserProfile
from schemas.segment_definition import SegmentBody
from schemas.segments import parse
from state.definitions import Watched
from state.memory import MemoryDefinitions, MemoryProfiles, MemorySegments, MemoryTokens
from state.profiles import Profile

SHARDS = 4
SWISS = {"rule": {"field": "country", "value": "CH"}}
GERMAN = {"rule": {"field": "country", "value": "DE"}}


class Watching(MemoryProfiles):
    """Profiles; once, somebody else does something right after they were read."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] | None = None

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Profile | None]:
        found = super().get_many(tenant, shards, user_ids)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


class Asked:
    """A store that gives ids in blocks, and may fail after them."""

    def __init__(self, *blocks: list[str], error: str = "") -> None:
        self.blocks, self.error = blocks, error

    def users(self, _tenant: str, _body: SegmentBody) -> Iterator[list[str]]:
        yield from self.blocks
        if self.error:
            raise QueryError(self.error)


class World:
    """The registry's writer and a builder, on one memory."""

    def __init__(self, queries: Asked | None = None) -> None:
        self.profiles, self.segments = Watching(), MemorySegments()
        self.definitions = MemoryDefinitions()
        self._rules: Watched[LiveSegment] = Watched(
            self.definitions, Kind.SEGMENT, ["acme"], live_segment
        )
        self._write = WriteProfiles(
            {"acme": tenant()},
            profiles=self.profiles,
            tokens=MemoryTokens(),
            segments=self.segments,
            rules=self._rules,
            now_ms=lambda: NOW_MS,
        )
        self._at_ms = NOW_MS
        self.builder = SegmentBuilder(
            profiles=self.profiles,
            segments=self.segments,
            queries=queries or Asked(),
            now_ms=self._now_ms,
            policy_ms=lambda: NOW_MS,
        )

    def _now_ms(self) -> int:
        self._at_ms += 1
        return self._at_ms

    def write(self, *countries: tuple[str, str]) -> None:
        """Let users be in countries; "" forgets one."""
        when = "2026-01-01T00:00:00Z"
        self._write(
            [
                UserChange(
                    "acme",
                    user,
                    UserProfile(tenant="acme", user_id=user, country=country, updated_at=when)
                    if country
                    else None,
                    self._now_ms(),
                )
                for user, country in countries
            ]
        )

    def define(self, body: dict[str, Any], version: int = 1) -> LiveSegment:
        raw = json.dumps(body).encode()
        made = Definition(Kind.SEGMENT, "acme", "s", version, raw, self._now_ms())
        self.definitions.apply([made])
        return live_segment(made)

    def build(self, rule: LiveSegment, keep_on: Callable[[], None] = lambda: None) -> None:
        self.builder.build_rules("acme", SHARDS, rules=[rule], keep_on=keep_on)

    def members(self) -> set[str]:
        found = (self.segments.members("acme", n, parse("s")) for n in range(SHARDS))
        return {user for shard in found for user in shard}


def test_a_rule_has_all_users_it_means_and_follows_them() -> None:
    """Those who were there, who come, who change and who go."""
    world = World()
    world.write(("a", "CH"), ("b", "DE"), ("c", "CH"))
    world.build(world.define(SWISS))
    assert world.members() == {"a", "c"}
    world.write(("b", "CH"), ("c", "DE"), ("d", "CH"), ("a", ""))
    assert world.members() == {"b", "d"}
    found = world.segments.generations("acme")["s"]
    assert (found.kind, found.version, found.members) == ("rule", 1, 2)


def test_a_changed_rule_replaces_its_members_at_once() -> None:
    """Nothing is seen of the new ones before all of them are there."""
    world = World()
    world.write(("a", "CH"), ("b", "DE"))
    world.build(world.define(SWISS))
    changed = world.define(GERMAN, version=2)
    world.write(("c", "DE"))
    assert world.members() == {"a"}
    world.build(changed)
    assert world.members() == {"b", "c"}
    world.write(("b", "CH"))
    assert world.members() == {"c"}


def test_building_again_sets_right_what_is_wrong() -> None:
    """In place, as for ages."""
    world = World()
    world.write(("a", "CH"), ("b", "DE"))
    rule = world.define(SWISS)
    world.build(rule)
    world.segments.stage("acme", SHARDS, "s", rule.generation, ["b"])
    world.build(rule)
    assert world.members() == {"a"}


@pytest.mark.parametrize("becomes", ["CH", "DE", ""])
def test_who_changes_while_it_is_built_is_not_lost(becomes: str) -> None:
    """The last one to look at a profile has the last word."""
    for was in ("CH", "DE"):
        world = World()
        world.write(("a", was))
        rule = world.define(SWISS)
        world.profiles.meanwhile = lambda: world.write(("a", becomes))  # noqa: B023 - used at once
        world.build(rule)
        assert world.members() == ({"a"} if becomes == "CH" else set())


def test_a_build_that_is_given_up_changes_nothing() -> None:
    """The next one goes on."""
    world = World()
    world.write(("a", "CH"))

    def lost() -> None:
        raise LostError("stopped")

    rule = world.define(SWISS)
    with pytest.raises(LostError):
        world.build(rule, lost)
    assert world.segments.generations("acme") == {}
    world.build(rule)
    assert world.members() == {"a"}


def test_a_query_replaces_its_members_at_once() -> None:
    """With all blocks, or not at all."""
    asked = Asked(["a", "b"], ["c"])
    world = World(asked)
    segment = world.define({"sql": "SELECT 1"})
    build = world.builder.build_query
    assert build("acme", SHARDS, segment=segment, keep_on=lambda: None) == 3
    assert world.members() == {"a", "b", "c"}
    asked.blocks, asked.error = (["x"],), "too slow"
    with pytest.raises(QueryError, match="too slow"):
        build("acme", SHARDS, segment=segment, keep_on=lambda: None)
    assert world.members() == {"a", "b", "c"}
    asked.blocks, asked.error = (["x"],), ""
    build("acme", SHARDS, segment=segment, keep_on=lambda: None)
    assert world.members() == {"x"}
    assert world.segments.generations("acme")["s"].kind == "query"


_writes = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["CH", "DE", ""])), min_size=1, max_size=4
)


@UNTIMED
@given(_writes, _writes, _writes, st.booleans())
def test_members_are_those_whom_the_rule_means(
    before: list[tuple[str, str]],
    meanwhile: list[tuple[str, str]],
    after: list[tuple[str, str]],
    twice: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever is written before, while and after it is built, and again in a replay."""
    world = World()
    for one in before:
        world.write(one)
    rule = world.define(SWISS)
    world.profiles.meanwhile = lambda: [world.write(one) for one in meanwhile] and None
    world.build(rule)
    world.profiles.meanwhile = None
    for _ in range(2 if twice else 1):
        for one in after:
            world.write(one)
    stored = world.profiles._stored
    assert world.members() == {user for (_, user), p in stored.items() if p.country == "CH"}
