"""High-water marks: memory and Redis behave alike."""

import pytest

from state.ledger import NotOwnerError, RedisLedger
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]


def test_a_mark_never_goes_back(stores: Stores) -> None:
    """A replay or a late writer cannot lower it."""
    stores.ledger.mark("g", {("t", 0): 100}, "me")
    stores.ledger.mark("g", {("t", 0): 99}, "me")
    assert stores.ledger.claim("g", "t", [0], "me") == {0: 100}
    stores.ledger.mark("g", {("t", 0): 101, ("t", 1): 0}, "me")
    assert stores.ledger.claim("g", "t", [0, 1, 2], "me") == {0: 101, 1: 0}


def test_offsets_compare_as_numbers(stores: Stores) -> None:
    """10 is above 9, and large offsets keep every digit."""
    stores.ledger.mark("g", {("t", 0): 9}, "me")
    stores.ledger.mark("g", {("t", 0): 10, ("t", 1): 2**53 - 1}, "me")
    assert stores.ledger.claim("g", "t", [0, 1], "me") == {0: 10, 1: 2**53 - 1}


def test_groups_and_topics_are_apart(stores: Stores) -> None:
    """A mark belongs to one group, topic and partition; so does a claim."""
    stores.ledger.mark("g", {("t", 0): 1}, "me")
    assert stores.ledger.claim("h", "t", [0], "other") == {}
    assert stores.ledger.claim("g", "u", [0], "other") == {}
    stores.ledger.mark("g", {("t", 0): 2}, "me")
    assert stores.ledger.claim("g", "t", [0], "me") == {0: 2}


def test_who_lost_a_partition_marks_nothing_more(stores: Stores) -> None:
    """A process that was frozen while another took over finds out before it sends."""
    assert stores.ledger.claim("g", "t", [0, 1], "old") == {}
    stores.ledger.mark("g", {("t", 0): 5, ("t", 1): 5}, "old")
    assert stores.ledger.claim("g", "t", [0], "new") == {0: 5}
    with pytest.raises(NotOwnerError, match="t:0"):
        stores.ledger.mark("g", {("t", 1): 9, ("t", 0): 9}, "old")
    stores.ledger.mark("g", {("t", 1): 6}, "old")
    stores.ledger.mark("g", {("t", 0): 7}, "new")
    assert stores.ledger.claim("g", "t", [0, 1], "new") == {0: 7, 1: 6}


def test_empty_batches(stores: Stores) -> None:
    """Nothing asked is nothing done."""
    stores.ledger.mark("g", {}, "me")
    assert stores.ledger.claim("g", "t", [], "me") == {}


def test_a_group_that_would_break_the_key_is_refused(valkey_client_alone: RedisClient) -> None:
    """A hash tag cannot hold braces."""
    with pytest.raises(ValueError, match="group"):
        RedisLedger(valkey_client_alone).mark("a}b", {("t", 0): 1}, "me")
