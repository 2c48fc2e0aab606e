"""Daily quotas: memory and Redis behave alike, and as a simple model says."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.quotas import REMEMBERED_MS
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

T0 = 1_700_000_000_000


def take(
    stores: Stores, most: int, *asked: tuple[str, int], day: str = "mon", now_ms: int = T0
) -> list[int]:
    return stores.quotas.take_many("acme", day, most, asked, now_ms)


def test_a_quota_is_given_out_to_the_last(stores: Stores) -> None:
    """In order, within a batch and across batches."""
    assert take(stores, 5, ("a", 2), ("b", 2), ("c", 2)) == [2, 2, 1]
    assert take(stores, 5, ("d", 1)) == [0]
    assert take(stores, 7, ("e", 3)) == [2]


def test_a_replay_takes_what_it_took(stores: Stores) -> None:
    """Also when the quota is used up, the day is another, and it asks for more."""
    assert take(stores, 3, ("a", 2), ("b", 2)) == [2, 1]
    assert take(stores, 3, ("b", 2), ("a", 2)) == [1, 2]
    assert take(stores, 3, ("a", 9), day="tue", now_ms=T0 + REMEMBERED_MS) == [2]
    assert take(stores, 3, ("c", 9), day="tue") == [3]


def test_days_and_tenants_are_counted_apart(stores: Stores) -> None:
    """Each has a quota of its own."""
    assert take(stores, 1, ("a", 1)) == take(stores, 1, ("b", 1), day="tue") == [1]
    assert stores.quotas.take_many("other", "mon", 1, [("a", 1)], T0) == [1]
    assert take(stores, 1) == []


def test_what_cannot_be_is_refused(stores: Stores) -> None:
    """Nothing negative."""
    for most, n in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="must not be negative"):
            take(stores, most, ("a", n))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 4)), max_size=5), max_size=8
    ),
    st.integers(0, 9),
)
def test_what_is_given_is_the_models(
    new_stores: Callable[[], Stores], batches: list[list[tuple[str, int]]], most: int
) -> None:
    """First come, first served; who comes again gets the same; never more than there is."""
    stores, given_to = new_stores(), dict[str, int]()
    for asked in batches:
        wanted = []
        for name, n in asked:
            if name not in given_to:
                given_to[name] = min(n, most - sum(given_to.values()))
            wanted.append(min(n, given_to[name]))
        assert take(stores, most, *asked) == wanted
