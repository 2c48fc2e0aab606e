"""Segments: memory and Redis behave alike, and as Python's sets do."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.segments import Combined, Expression, parse
from state.keys import shard_of
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import EVERYONE, Generation
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

SHARDS = 4
USERS = [f"u{n}" for n in range(12)]


def members(stores: Stores, text: str, tenant: str = "acme") -> list[str]:
    found = (stores.segments.members(tenant, shard, parse(text)) for shard in range(SHARDS))
    return [user for shard in found for user in shard]


def test_a_segment_is_spread_over_shards_each_sorted(stores: Stores) -> None:
    """Members come back in their own shard, by code point."""
    users = ["é", "z", "a", "😀", "Z", *USERS]
    assert stores.segments.add("acme", SHARDS, "buyers", users) == len(users)
    for shard in range(SHARDS):
        here = sorted(user for user in users if shard_of(user, SHARDS) == shard)
        assert stores.segments.members("acme", shard, "buyers") == here


def test_adding_and_removing_count_only_changes(stores: Stores) -> None:
    """Repeats change nothing."""
    assert stores.segments.add("acme", SHARDS, "s", ["a", "b", "b"]) == 2
    assert stores.segments.add("acme", SHARDS, "s", ["b", "c"]) == 1
    assert stores.segments.remove("acme", SHARDS, "s", ["a", "x"]) == 1
    assert stores.segments.remove("acme", SHARDS, "nothing", ["a"]) == 0
    assert sorted(members(stores, "s")) == ["b", "c"]


def test_a_segment_exists_from_its_first_add_until_its_delete(stores: Stores) -> None:
    """Also when it is empty; everyone always does."""
    stores.segments.add("acme", SHARDS, "empty", [])
    stores.segments.add("acme", SHARDS, "emptied", ["a"])
    stores.segments.remove("acme", SHARDS, "emptied", ["a"])
    stores.segments.add("acme", SHARDS, "gone", ["a"])
    stores.segments.delete("acme", SHARDS, "gone")
    asked = {"empty", "emptied", "gone", "never", EVERYONE}
    assert stores.segments.exists("acme", asked) == {"empty", "emptied", EVERYONE}
    assert stores.segments.names("acme") == ["emptied", "empty"]
    assert members(stores, "gone") == []
    assert stores.segments.exists("acme", []) == set()


def test_everyone_takes_part_in_expressions(stores: Stores) -> None:
    """It is a segment like the others, but not among the names."""
    stores.segments.add("acme", SHARDS, EVERYONE, USERS)
    stores.segments.add("acme", SHARDS, "churned", USERS[:5])
    assert sorted(members(stores, "everyone - churned")) == sorted(USERS[5:])
    assert stores.segments.names("acme") == ["churned"]


def test_an_unknown_segment_is_empty(stores: Stores) -> None:
    """Callers ask exists() first; evaluation does not fail."""
    stores.segments.add("acme", SHARDS, "a", ["u"])
    assert members(stores, "a | nope") == ["u"]
    assert members(stores, "a & nope") == []
    assert stores.segments.count("acme", SHARDS, "nope") == 0


def test_tenants_do_not_see_each_other(stores: Stores) -> None:
    """The same name in two tenants is two segments."""
    stores.segments.add("acme", SHARDS, "a", ["u"])
    assert members(stores, "a", tenant="other") == []
    assert stores.segments.exists("other", ["a"]) == set()


def test_many_members_in_one_add(stores: Stores) -> None:
    """More than one command per shard."""
    users = [f"user-{n}" for n in range(6_000)]
    assert stores.segments.add("acme", 1, "big", users) == 6_000
    assert stores.segments.count("acme", 1, "big") == 6_000


names = st.sampled_from(["a", "b", "c", "d", "nope"])
trees = st.recursive(
    names,
    lambda inner: st.builds(Combined, st.sampled_from(["&", "|", "-"]), inner, inner),
    max_leaves=12,
)


def by_python(tree: Expression, sets: dict[str, set[str]]) -> set[str]:
    if isinstance(tree, str):
        return sets.get(tree, set())
    left, right = by_python(tree.left, sets), by_python(tree.right, sets)
    return {"&": left & right, "|": left | right, "-": left - right}[tree.operator]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    tree=trees,
    built=st.sets(st.sampled_from("abcd")),
    sets=st.fixed_dictionaries({n: st.sets(st.sampled_from(USERS)) for n in "abcd"}),
)
def test_an_expression_means_what_pythons_sets_say(
    new_stores: Callable[[], Stores],
    tree: Expression,
    built: set[str],
    sets: dict[str, set[str]],
) -> None:
    """Members per shard, and the count over all of them; of records, lists, rules and queries."""
    stores = new_stores()
    for name, users in sets.items():
        if name in built:
            stores.segments.add("acme", SHARDS, name, USERS)  # what no one sees any more
            stores.segments.stage("acme", SHARDS, name, "g1", users)
            stores.segments.switch("acme", SHARDS, name, Generation(1, "g1", "rule"))
        else:
            stores.segments.add("acme", SHARDS, name, users)
    meant = by_python(tree, sets)
    for shard in range(SHARDS):
        here = sorted(user for user in meant if shard_of(user, SHARDS) == shard)
        assert stores.segments.members("acme", shard, tree) == here
    assert stores.segments.count("acme", SHARDS, tree) == len(meant)


def test_no_scratch_key_stays(valkey_client_alone: RedisClient) -> None:
    """After members and count, and also when a step fails on a key of another type."""
    valkey_client_alone.run("FLUSHALL")
    segments = RedisSegments(valkey_client_alone)
    segments.add("acme", 1, "a", USERS)
    segments.add("acme", 1, "b", USERS[:3])
    before = set(valkey_client_alone.run("KEYS", "*"))
    tree = parse("((a | b) & (a - b)) | ((a & b) - (b | a))")
    segments.members("acme", 0, tree)
    segments.count("acme", 1, tree)
    assert set(valkey_client_alone.run("KEYS", "*")) == before
    valkey_client_alone.run("SET", "{acme:0}:s:broken", "no set")
    with pytest.raises(Exception, match="WRONGTYPE"):
        segments.members("acme", 0, parse("(a | b) & (broken - a)"))
    assert set(valkey_client_alone.run("KEYS", "*")) == before | {b"{acme:0}:s:broken"}
