"""Idempotency keys: memory and Redis behave alike."""

import pytest

from state.dedup import RedisDedup
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]


def test_first_sight_is_none_and_a_duplicate_names_the_first(stores: Stores) -> None:
    """The second event with a key gets the first's coordinates."""
    assert stores.dedup.seen_many([("acme", "k")], ["t:0:1"], 60) == [None]
    assert stores.dedup.seen_many([("acme", "k")], ["t:0:2"], 60) == ["t:0:1"]


def test_a_replay_recognises_itself(stores: Stores) -> None:
    """The same batch gets the same answers again, duplicates inside it included."""
    keys = [("acme", "a"), ("acme", "b"), ("acme", "a")]
    places = ["t:0:1", "t:0:2", "t:0:3"]
    first = stores.dedup.seen_many(keys, places, 60)
    assert first == [None, None, "t:0:1"]
    assert stores.dedup.seen_many(keys, places, 60) == first


def test_tenants_do_not_share_keys(stores: Stores) -> None:
    """Nor does one batch for several tenants mix them up."""
    keys = [("acme", "k"), ("other", "k"), ("acme", "k")]
    assert stores.dedup.seen_many(keys, ["1", "2", "3"], 60) == [None, None, "1"]


def test_a_large_batch_keeps_its_order(stores: Stores) -> None:
    """More than one script call and slot."""
    keys = [("acme", f"key-{n}") for n in range(1_200)]
    places = [str(n) for n in range(1_200)]
    assert stores.dedup.seen_many(keys, places, 60) == [None] * 1_200
    later = [f"later-{place}" for place in places]
    assert stores.dedup.seen_many(keys, later, 60) == places


def test_empty_batches_and_wrong_arguments(stores: Stores) -> None:
    """Nothing asked is nothing answered; lengths and ttl_s are checked."""
    assert stores.dedup.seen_many([], [], 60) == []
    with pytest.raises(ValueError, match="1 keys with 2 coordinates"):
        stores.dedup.seen_many([("acme", "k")], ["a", "b"], 60)
    with pytest.raises(ValueError, match="ttl_s"):
        stores.dedup.seen_many([("acme", "k")], ["a"], 0)
    with pytest.raises(ValueError, match="tenant"):
        stores.dedup.seen_many([("a}b", "k")], ["a"], 60)


def test_a_key_is_forgotten_after_its_ttl_and_never_stored_itself(
    valkey_client_alone: RedisClient,
) -> None:
    """The first sight starts the time, later ones do not extend it."""
    valkey_client_alone.run("FLUSHALL")
    dedup = RedisDedup(valkey_client_alone)
    dedup.seen_many([("acme", "order-1234")], ["t:0:1"], 100)
    dedup.seen_many([("acme", "order-1234")], ["t:0:2"], 5_000)
    (key,) = valkey_client_alone.run("KEYS", "*")
    assert b"order" not in key
    assert 90 <= valkey_client_alone.run("TTL", key) <= 100
