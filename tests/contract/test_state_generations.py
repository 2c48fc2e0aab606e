"""Generations of segments: built beside what counts, and switched to in one write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.segments import parse
from state.keys import segment_key
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import REPLACED_S, STAGED_S, Edit, Generation
from tests.contract.state_stores import Stores, in_memory

pytest_plugins = ["tests.contract.state_fixtures"]

SHARDS = 4
OLD, NEW = ["a", "b", "c"], ["c", "d"]


def to(generation: str, order: int = 1, **more: object) -> Generation:
    return Generation(order=order, generation=generation, kind="list", **more)  # type: ignore[arg-type]


def members(stores: Stores, text: str) -> list[str]:
    found = (stores.segments.members("acme", shard, parse(text)) for shard in range(SHARDS))
    return sorted(user for shard in found for user in shard)


def put_up(stores: Stores, users: list[str], generation: str, order: int) -> bool:
    stores.segments.stage("acme", SHARDS, "vip", generation, users)
    return stores.segments.switch("acme", SHARDS, "vip", to(generation, order))


def test_nothing_is_seen_of_a_generation_before_the_switch(stores: Stores) -> None:
    """The whole of it afterwards, alone and in expressions; counts are exact."""
    assert put_up(stores, OLD, "g1", 1)
    stores.segments.add("acme", SHARDS, "eu", ["a", "d"])
    stores.segments.stage("acme", SHARDS, "vip", "g2", NEW)
    assert members(stores, "vip") == OLD
    assert members(stores, "vip & eu") == ["a"]
    assert stores.segments.switch("acme", SHARDS, "vip", to("g2", 2, version=7, at_ms=9))
    assert members(stores, "vip") == NEW
    assert members(stores, "vip & eu") == ["d"]
    assert stores.segments.count("acme", SHARDS, "vip") == 2
    assert stores.segments.count("acme", SHARDS, parse("vip | eu")) == 3
    found = stores.segments.generations("acme")["vip"]
    assert found == to("g2", 2, version=7, at_ms=9, members=2, previous="g1")
    assert stores.segments.names("acme") == ["eu", "vip"]
    assert stores.segments.generations("acme", ["eu", "nope", "everyone"]) == {}


def test_a_late_switch_changes_nothing_and_a_repeated_one_neither(stores: Stores) -> None:
    """Of two generations the one with the higher order counts, whichever came last."""
    assert put_up(stores, NEW, "g2", 2)
    assert not put_up(stores, OLD, "g1", 1)
    assert members(stores, "vip") == NEW
    assert put_up(stores, NEW, "g2", 2)
    assert members(stores, "vip") == NEW


def test_a_generation_hides_what_users_records_say(stores: Stores) -> None:
    """And deleting a segment forgets all of it."""
    stores.segments.add("acme", SHARDS, "vip", ["x"])
    put_up(stores, OLD, "g1", 1)
    put_up(stores, NEW, "g2", 2)
    stores.segments.add("acme", SHARDS, "vip", ["y"])
    assert members(stores, "vip") == NEW
    stores.segments.delete("acme", SHARDS, "vip")
    assert stores.segments.exists("acme", ["vip"]) == set()
    assert stores.segments.generations("acme") == {}
    assert members(stores, "vip") == []


def test_edits_reach_many_segments_and_generations_at_once(stores: Stores) -> None:
    """Joining and leaving; names are not noted by it."""
    put_up(stores, OLD, "g1", 1)
    stores.segments.add("acme", SHARDS, "eu", ["a"])
    edits = [Edit("vip", ["z"], ["a", "b"], "g1"), Edit("eu", leaving=["a"]), Edit("n", ["q"])]
    stores.segments.edit("acme", SHARDS, edits)
    assert members(stores, "vip") == ["c", "z"]
    assert members(stores, "eu") == []
    assert stores.segments.exists("acme", ["n"]) == set()


def test_an_empty_generation_is_a_segment(stores: Stores) -> None:
    """It exists and has no member."""
    assert stores.segments.switch("acme", SHARDS, "none", to("g1"))
    assert stores.segments.exists("acme", ["none"]) == {"none"}
    assert members(stores, "none") == []


def test_a_dropped_generation_is_gone(stores: Stores) -> None:
    """As when a build is given up."""
    stores.segments.stage("acme", SHARDS, "vip", "g1", OLD)
    stores.segments.drop("acme", SHARDS, "vip", "g1")
    stores.segments.switch("acme", SHARDS, "vip", to("g1"))
    assert members(stores, "vip") == []


_steps = st.lists(
    st.tuples(st.integers(1, 4), st.sets(st.sampled_from("abcdef"), max_size=4)), max_size=6
)


@settings(max_examples=30, deadline=None)
@given(_steps, st.integers(0, 6))
def test_a_replay_of_switches_ends_alike(steps: list[tuple[int, set[str]]], crash_at: int) -> None:
    """Uploads in order, done again from anywhere: the last of the highest order counts."""
    whole, replayed = in_memory(), in_memory()
    named = [(f"g{n}-{order}", order, users) for n, (order, users) in enumerate(steps)]
    for generation, order, users in named:
        put_up(whole, sorted(users), generation, order)
    for generation, order, users in [*named[:crash_at], *named[crash_at // 2 :]]:
        put_up(replayed, sorted(users), generation, order)
    highest = max((order for order, _ in steps), default=0)
    meant = [users for order, users in steps if order == highest][-1:]
    assert members(whole, "vip") == sorted(meant[0] if meant else [])
    assert members(replayed, "vip") == members(whole, "vip")


def _ttl(client: RedisClient, generation: str) -> int:
    return int(client.run("TTL", segment_key("acme", 0, "vip", generation)))


@pytest.mark.usefixtures("_empty")
def test_what_is_not_switched_to_expires_and_what_counts_never(
    valkey_client_alone: RedisClient,
) -> None:
    """Also when parts are staged once more after the switch; who was replaced goes soon."""
    segments = RedisSegments(valkey_client_alone)
    segments.stage("acme", 1, "vip", "g1", OLD)
    assert 0 < _ttl(valkey_client_alone, "g1") <= STAGED_S
    segments.switch("acme", 1, "vip", to("g1", 1))
    assert _ttl(valkey_client_alone, "g1") == -1
    segments.stage("acme", 1, "vip", "g1", OLD)
    assert _ttl(valkey_client_alone, "g1") == -1
    segments.stage("acme", 1, "vip", "g2", NEW)
    segments.switch("acme", 1, "vip", to("g2", 2))
    assert 0 < _ttl(valkey_client_alone, "g1") <= REPLACED_S
    assert _ttl(valkey_client_alone, "g2") == -1


@pytest.fixture
def _empty(valkey_client_alone: RedisClient) -> None:
    valkey_client_alone.run("FLUSHALL")
