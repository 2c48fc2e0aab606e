"""High-water marks: memory and Redis behave alike."""

import pytest

from state.ledger import RedisLedger
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]


def test_a_mark_never_goes_back(stores: Stores) -> None:
    """A replay or a late writer cannot lower it."""
    stores.ledger.mark("g", "t", 0, 100)
    stores.ledger.mark("g", "t", 0, 99)
    assert stores.ledger.marks("g", "t", [0]) == {0: 100}
    stores.ledger.mark_many("g", {("t", 0): 101, ("t", 1): 0})
    assert stores.ledger.marks("g", "t", [0, 1, 2]) == {0: 101, 1: 0}


def test_offsets_compare_as_numbers(stores: Stores) -> None:
    """10 is above 9, and large offsets keep every digit."""
    stores.ledger.mark("g", "t", 0, 9)
    stores.ledger.mark("g", "t", 0, 10)
    stores.ledger.mark("g", "t", 1, 2**53 - 1)
    assert stores.ledger.marks("g", "t", [0, 1]) == {0: 10, 1: 2**53 - 1}


def test_groups_and_topics_are_apart(stores: Stores) -> None:
    """A mark belongs to one group, topic and partition."""
    stores.ledger.mark("g", "t", 0, 1)
    assert stores.ledger.marks("h", "t", [0]) == {}
    assert stores.ledger.marks("g", "u", [0]) == {}


def test_forgetting_drops_only_what_is_named(stores: Stores) -> None:
    """As when a topic was deleted and made anew."""
    stores.ledger.mark_many("g", {("t", 0): 1, ("t", 1): 2})
    stores.ledger.forget("g", [("t", 0), ("t", 9)])
    assert stores.ledger.marks("g", "t", [0, 1]) == {1: 2}


def test_empty_batches(stores: Stores) -> None:
    """Nothing asked is nothing done."""
    stores.ledger.mark_many("g", {})
    stores.ledger.forget("g", [])
    assert stores.ledger.marks("g", "t", []) == {}


def test_a_group_that_would_break_the_key_is_refused(valkey_client_alone: RedisClient) -> None:
    """A hash tag cannot hold braces."""
    with pytest.raises(ValueError, match="group"):
        RedisLedger(valkey_client_alone).mark("a}b", "t", 0, 1)
