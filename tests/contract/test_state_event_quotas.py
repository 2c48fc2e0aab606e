"""Quotas of events: memory and Redis behave alike, and as a simple model says."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.event_quotas import EventQuotas, RedisEventQuotas, Taken
from state.memory_limits import MemoryEventQuotas
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]


def quotas_of(stores: Stores) -> EventQuotas:
    return MemoryEventQuotas() if stores.client is None else RedisEventQuotas(stores.client)


def test_all_or_none_is_taken(stores: Stores) -> None:
    """From every counter; which one had not enough is said."""
    quotas = quotas_of(stores)
    both = [("tenant", 10), ("key a", 4)]
    assert quotas.take("acme", "mon", both, 3) == Taken([7, 1], None)
    assert quotas.take("acme", "mon", both, 2) == Taken([7, 1], 1)
    assert quotas.take("acme", "mon", both, 8) == Taken([7, 1], 0)
    assert quotas.take("acme", "mon", both, 1) == Taken([6, 0], None)
    assert quotas.take("acme", "mon", both, 0) == Taken([6, 0], None)


def test_days_tenants_and_counters_are_counted_apart(stores: Stores) -> None:
    """Each has its own; one that was lowered has nothing left."""
    quotas = quotas_of(stores)
    assert quotas.take("acme", "mon", [("tenant", 5)], 5) == Taken([0], None)
    assert quotas.take("acme", "tue", [("tenant", 5)], 5) == Taken([0], None)
    assert quotas.take("rival", "mon", [("tenant", 5)], 5) == Taken([0], None)
    assert quotas.take("acme", "mon", [("key a", 5)], 5) == Taken([0], None)
    assert quotas.take("acme", "mon", [("tenant", 3)], 1) == Taken([0], 0)


def test_what_cannot_be_is_refused(stores: Stores) -> None:
    """Nothing negative."""
    for most, n in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="must not be negative"):
            quotas_of(stores).take("acme", "mon", [("tenant", most)], n)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=12), st.integers(0, 20))
def test_no_more_is_given_than_there_is(
    new_stores: Callable[[], Stores], asked: list[tuple[bool, int]], most: int
) -> None:
    """Over any order of two keys, the tenant's quota and each key's hold to the last event."""
    quotas, used = quotas_of(new_stores()), {"tenant": 0, "a": 0, "b": 0}
    for is_a, n in asked:
        names = {"tenant": most, "a" if is_a else "b": 8}
        fits = all(used[name] + n <= limit for name, limit in names.items())
        taken = quotas.take("acme", "mon", list(names.items()), n)
        assert (taken.short is None) == fits
        if fits:
            for name in names:
                used[name] += n
        assert taken.left == [limit - used[name] for name, limit in names.items()]
