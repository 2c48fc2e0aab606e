"""Records that may still be on their way: memory and Redis behave alike."""

import pytest

from state import keys
from state.pending import KEEP_MS, MemoryPending, Pending, PendingRecords, RedisPending
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

SHARDS = 4
OLD, NEW = Pending(1, b"{}"), Pending(2, b"")


@pytest.fixture
def pending(stores: Stores) -> PendingRecords:
    """Give the port on each store."""
    return MemoryPending() if stores.client is None else RedisPending(stores.client)


def test_what_was_put_is_found(pending: PendingRecords) -> None:
    """By tenant, kind and user."""
    users = [f"user {n}" for n in range(600)]
    assert pending.swap_many("acme", SHARDS, "u", dict.fromkeys(users, (None, OLD))) == [True] * 600
    assert pending.get_many("acme", SHARDS, "u", [*users, "zoë"]) == [OLD] * 600 + [None]
    assert pending.get_many("acme", SHARDS, "p", users[:1]) == [None]
    assert pending.get_many("rival", SHARDS, "u", users[:1]) == [None]
    assert pending.get_many("acme", SHARDS, "u", []) == []


def test_what_someone_else_changed_stays(pending: PendingRecords) -> None:
    """Each is put by itself: those that are as expected, and no others."""
    pending.swap_many("acme", SHARDS, "u", {"a": (None, OLD)})
    swaps = {"a": (None, NEW), "b": (None, NEW), "c": (OLD, NEW)}
    assert pending.swap_many("acme", SHARDS, "u", swaps) == [False, True, False]
    assert pending.get_many("acme", SHARDS, "u", list("abc")) == [OLD, NEW, None]
    assert pending.swap_many("acme", SHARDS, "u", {"a": (OLD, NEW)}) == [True]
    assert pending.get_many("acme", SHARDS, "u", ["a"]) == [NEW]


def test_redis_forgets_them(stores: Stores) -> None:
    """Every key ends by itself."""
    if stores.client is None:
        pytest.skip("memory forgets none")
    RedisPending(stores.client).swap_many("acme", SHARDS, "u", {"a": (None, OLD)})
    where = keys.pending_key(keys.shard_tag("acme", keys.shard_of("a", SHARDS)), "u", "a")
    assert 0 < stores.client.run("PTTL", where) <= KEEP_MS
