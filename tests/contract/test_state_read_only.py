"""Ports that only read: they answer as the others would, and leave no trace."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.caps import CapCheck
from state.read_only import ReadOnlyCaps, ReadOnlyDedup, ReadOnlyQuotas, UnboundedLeases
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

T0 = 1_700_000_000_000
DAY_MS = 86_400_000
LIMITS = (
    (("a", 1, 1_000),),
    (("a", 3, 5_000), ("all", 4, 9_000)),
    (("b", 2, 800), ("b", 4, 4_000)),
)
both_ways = pytest.mark.parametrize("exact", [True, False], ids=["exact", "subwindows"])
bounded = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def trace(stores: Stores) -> dict[bytes, Any]:
    """Give all that Redis holds, with when it expires; nothing in memory."""
    if stores.client is None:
        return {}
    keys = stores.client.run("KEYS", "*")
    return {
        key: (stores.client.run("DUMP", key), stores.client.run("PEXPIRETIME", key)) for key in keys
    }


@both_ways
@bounded
@given(
    before=st.lists(st.tuples(st.sampled_from("uv"), st.integers(0, 9), st.integers(0, 2))),
    asked=st.lists(st.tuples(st.sampled_from("uv"), st.integers(0, 12), st.integers(0, 2))),
    later_ms=st.integers(0, 6_000),
)
def test_caps_peeked_at_answer_as_if_each_came_alone(
    new_stores: Callable[[], Stores],
    before: list[tuple[str, int, int]],
    asked: list[tuple[str, int, int]],
    later_ms: int,
    *,
    exact: bool,
) -> None:
    """The answer that admit_many gives next, for any history; nothing is counted or kept longer."""
    stores = new_stores()
    history = [CapCheck(u, f"m{n}-{rule}", LIMITS[rule], exact) for u, n, rule in before]
    for step, check in enumerate(history):
        stores.caps.admit_many("acme", 4, [check], T0 + step)
    now_ms = T0 + later_ms
    checks = [CapCheck(u, f"m{n}-{rule}", LIMITS[rule], exact) for u, n, rule in asked]
    left = trace(stores)
    port = ReadOnlyCaps(stores.caps)
    peeked = port.admit_many("acme", 4, checks, now_ms)
    assert port.peek_many("acme", 4, checks, now_ms) == peeked
    assert trace(stores) == left
    if checks:
        assert stores.caps.admit_many("acme", 4, checks[:1], now_ms) == peeked[:1]


@both_ways
def test_wrong_limits_are_refused_as_ever(stores: Stores, *, exact: bool) -> None:
    """By name."""
    with pytest.raises(ValueError, match="'a'"):
        stores.caps.peek_many("acme", 4, [CapCheck("u", "m", (("a", -1, DAY_MS),), exact)], T0)


def test_keys_are_looked_up_and_not_recorded(stores: Stores) -> None:
    """The first's coordinates where there is one; a key that is asked about stays unknown."""
    stores.dedup.seen_many([("acme", "k")], ["t/0/1"], 60)
    left = trace(stores)
    port = ReadOnlyDedup(stores.dedup)
    asked = [("acme", "k"), ("acme", "new"), ("other", "k")]
    assert port.seen_many(asked, ["t/0/9"] * 3, 60) == ["t/0/1", None, None]
    assert port.first_many(asked) == ["t/0/1", None, None]
    assert port.seen_many([("acme", "k")], ["t/0/1"], 60) == [None]
    assert port.seen_many([], [], 60) == []
    assert trace(stores) == left
    assert stores.dedup.seen_many([("acme", "new")], ["t/0/9"], 60) == [None]


def test_a_quota_is_given_out_to_the_rehearsal_alone(stores: Stores) -> None:
    """From what is left of the day; the day keeps it."""
    stores.quotas.take_many("acme", "mon", 10, [("m", 7)], T0)
    left = trace(stores)
    port = ReadOnlyQuotas(stores.quotas)
    assert port.take_many("acme", "mon", 10, [("x", 2), ("y", 2)], T0) == [2, 1]
    assert port.take_many("acme", "mon", 10, [("z", 2)], T0) == [0]
    assert port.take_many("acme", "tue", 10, [("z", 2)], T0) == [2]
    assert trace(stores) == left
    assert stores.quotas.used("acme", "mon") == 7
    assert stores.quotas.take_many("acme", "mon", 10, [("n", 9)], T0) == [3]


def test_rates_are_not_asked() -> None:
    """They delay, and decide about nothing."""
    assert UnboundedLeases().take("acme/all", 0.1, 1_000, T0) == 1_000
