"""Counts about tokens and freezes: memory and Redis behave alike."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.pipeline import Platform
from state.errors import StateCorruptError
from state.memory_pruning import MemoryPruning
from state.pruning import PARTS, Answers, Counted, Credential, Freeze, RedisPruning
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

T0 = 1_700_000_000_000
WINDOW_MS = 600_000
PART_MS = WINDOW_MS // PARTS
IOS = Credential("acme", "ios", Platform.APNS)
WEB = Credential("acme", "web", Platform.WEBPUSH)
FROZEN = Freeze(*IOS, T0, 300, 120, "token_invalid")


def count(stores: Stores, answered: int, dead: int, at_ms: int = T0) -> Answers:
    """Count for IOS; give the window's sum."""
    one = Counted(IOS, Answers(answered, dead), WINDOW_MS)
    (window,) = stores.pruning.count_many([one], at_ms)
    return Answers(sum(a for a, _ in window), sum(d for _, d in window))


def test_counts_add_up(stores: Stores) -> None:
    """Over processes and parts of the window."""
    assert count(stores, 10, 1) == (10, 1)
    assert count(stores, 5, 5, T0 + PART_MS) == (15, 6)


def test_a_window_comes_in_parts_oldest_first(stores: Stores) -> None:
    """Ten of them; the last one is now's."""
    count(stores, 10, 1)
    one = Counted(IOS, Answers(5, 5), WINDOW_MS)
    (window,) = stores.pruning.count_many([one], T0 + 2 * PART_MS)
    assert window == [*[(0, 0)] * 7, (10, 1), (0, 0), (5, 5)]


def test_what_is_older_than_the_window_counts_no_more(stores: Stores) -> None:
    """Part by part."""
    count(stores, 10, 1)
    assert count(stores, 0, 0, T0 + (PARTS - 1) * PART_MS) == (10, 1)
    assert count(stores, 0, 0, T0 + PARTS * PART_MS) == (0, 0)


def test_a_clock_that_is_behind_adds_to_its_own_part(stores: Stores) -> None:
    """And does not see what lies ahead of it."""
    count(stores, 10, 1)
    assert count(stores, 3, 0, T0 - PART_MS) == (3, 0)
    assert count(stores, 0, 0, T0) == (13, 1)


def test_credentials_are_apart(stores: Stores) -> None:
    """In one call."""
    both = [Counted(IOS, Answers(4, 1), WINDOW_MS), Counted(WEB, Answers(7, 2), WINDOW_MS)]
    found = stores.pruning.count_many(both, T0)
    assert [window[-1] for window in found] == [(4, 1), (7, 2)]
    assert stores.pruning.count_many([], T0) == []


def test_another_window_starts_new_counts(stores: Stores) -> None:
    """Its parts are of another length."""
    count(stores, 10, 1)
    (window,) = stores.pruning.count_many([Counted(IOS, Answers(1, 1), 60_000)], T0)
    assert window == [*[(0, 0)] * 9, (1, 1)]


def test_a_freeze_stays_as_it_was_until_it_is_ended(stores: Stores) -> None:
    """Who comes later changes nothing."""
    stores.pruning.freeze(FROZEN)
    stores.pruning.freeze(Freeze(*IOS, T0 + 5, 1, 1, "token_expired"))
    assert stores.pruning.frozen() == [FROZEN]


def test_the_frozen_are_listed_by_name(stores: Stores) -> None:
    """None at first."""
    assert stores.pruning.frozen() == []
    web = Freeze(*WEB, T0, 9, 9, "")
    stores.pruning.freeze(web)
    stores.pruning.freeze(FROZEN)
    assert stores.pruning.frozen() == [FROZEN, web]


def test_resuming_ends_the_freeze_and_starts_new_counts(stores: Stores) -> None:
    """Of that credential only; a second time it was not frozen."""
    count(stores, 300, 120)
    stores.pruning.count_many([Counted(WEB, Answers(7, 2), WINDOW_MS)], T0)
    stores.pruning.freeze(FROZEN)
    assert stores.pruning.resume(IOS) is True
    assert stores.pruning.frozen() == []
    assert count(stores, 1, 0) == (1, 0)
    (window,) = stores.pruning.count_many([Counted(WEB, Answers(0, 0), WINDOW_MS)], T0)
    assert window[-1] == (7, 2)
    assert stores.pruning.resume(IOS) is False


def test_wrong_arguments_are_refused(stores: Stores) -> None:
    """A window has ten parts; a credential has all its parts and no braces."""
    with pytest.raises(ValueError, match="window_ms"):
        stores.pruning.count_many([Counted(IOS, Answers(1, 1), PARTS - 1)], T0)
    with pytest.raises(ValueError, match="braces"):
        stores.pruning.count_many([Counted(IOS._replace(app="a}"), Answers(1, 1), WINDOW_MS)], T0)
    with pytest.raises(ValueError, match="needs tenant, app"):
        stores.pruning.resume(IOS._replace(app=""))


steps = st.lists(
    st.tuples(
        st.integers(0, 3 * PART_MS), st.integers(0, 9), st.integers(0, 9), st.booleans()
    ),
    max_size=20,
)  # fmt: skip


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_every_store_counts_the_same(
    new_stores: Callable[[], Stores], steps: list[tuple[int, int, int, bool]]
) -> None:
    """Any mix of counts and resumes."""
    stores, model, now_ms = new_stores(), MemoryPruning(), T0
    for wait_ms, answered, dead, resumes in steps:
        now_ms += wait_ms
        one = Counted(IOS, Answers(answered, dead), WINDOW_MS)
        assert stores.pruning.count_many([one], now_ms) == model.count_many([one], now_ms)
        if resumes:
            assert stores.pruning.resume(IOS) == model.resume(IOS)


def test_counts_do_not_pile_up(valkey_client_alone: RedisClient) -> None:
    """Fields of old parts go, and the key when nothing comes any more."""
    valkey_client_alone.run("FLUSHALL")
    pruning = RedisPruning(valkey_client_alone)
    for part in range(3 * PARTS):
        pruning.count_many([Counted(IOS, Answers(1, 1), WINDOW_MS)], T0 + part * PART_MS)
    key = "{pruning:acme/ios/apns}"
    assert valkey_client_alone.run("HLEN", key) == 2 * PARTS + 1
    assert 0 < valkey_client_alone.run("PTTL", key) <= WINDOW_MS + PART_MS


def test_a_freeze_that_cannot_be_read_is_told(valkey_client_alone: RedisClient) -> None:
    """With its key."""
    valkey_client_alone.run("FLUSHALL")
    valkey_client_alone.run("HSET", "{pruning}", "acme/ios/apns", b"\xc1")
    with pytest.raises(StateCorruptError, match="pruning"):
        RedisPruning(valkey_client_alone).frozen()
    valkey_client_alone.run("FLUSHALL")
