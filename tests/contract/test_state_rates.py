"""Shared rates: memory and Redis behave alike."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.memory_limits import MemoryRates
from state.rates import MAX_SKEW_MS, RECOVERY_MS, SHRINK_EVERY_MS, RedisRates
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

T0 = 1_700_000_000_000


def run(stores: Stores, rate: float, seconds: int, *, start_ms: int = T0, turns: int = 1) -> int:
    """Ask for far too much, `turns` times each 100 ms; how much was granted."""
    step = 100 // turns
    times = range(start_ms, start_ms + seconds * 1000, step)
    return sum(stores.rates.lease("k", rate, 10**6, 100, now) for now in times)


def test_the_first_grant_is_one_slice(stores: Stores) -> None:
    """100 ms of 1,000 per second, however much is wanted; less when less is wanted."""
    assert stores.rates.lease("k", 1_000, 10**6, 100, T0) == 100
    assert stores.rates.lease("other", 1_000, 7, 100, T0) == 7


def test_shares_are_told_without_changing_them(stores: Stores) -> None:
    """Full unless slowed down; half after one refusal, grown back after the recovery time."""
    assert stores.rates.shares(["k", "other"], T0) == [1.0, 1.0]
    stores.rates.lease("k", 1_000, 10, 100, T0)
    stores.rates.slow_down("k", 0, T0)
    assert stores.rates.shares(["k", "other"], T0) == [0.5, 1.0]
    assert stores.rates.shares(["k"], T0 + RECOVERY_MS // 4) == [0.75]
    assert stores.rates.shares(["k"], T0 + RECOVERY_MS) == [1.0]


def test_one_process_gets_the_full_rate_and_no_more(stores: Stores) -> None:
    """Ten seconds at 1,000 per second: 10,000, give or take the two slices of the bucket."""
    assert 10_000 <= run(stores, 1_000, 10) <= 10_200


def test_a_slow_rate_grants_whole_messages(stores: Stores) -> None:
    """One message every four seconds."""
    assert run(stores, 0.25, 40) in {10, 11}


def test_processes_that_ask_in_turn_share_the_rate(stores: Stores) -> None:
    """Each of four gets a quarter, within a tenth."""
    shares = [0] * 4
    for turn in range(400):
        granted = stores.rates.lease("k", 1_000, 10**6, 100, T0 + turn * 25)
        shares[turn % 4] += granted
    assert all(2_250 <= share <= 2_850 for share in shares)


def test_keys_are_apart(stores: Stores) -> None:
    """One key used up leaves the other full."""
    run(stores, 100, 1)
    assert stores.rates.lease("other", 100, 10, 100, T0) == 10


def test_a_clock_behind_takes_part_and_adds_nothing(stores: Stores) -> None:
    """Time does not run backwards: no message is granted twice for the same time."""
    stores.rates.lease("k", 1_000, 10**6, 100, T0)
    early = [stores.rates.lease("k", 1_000, 10**6, 100, T0 - 900 + n) for n in range(20)]
    assert sum(early) <= 100


def test_a_clock_far_ahead_does_not_stop_the_rate(stores: Stores) -> None:
    """One call from the future beyond MAX_SKEW_MS, then the others go on."""
    stores.rates.lease("k", 1_000, 10**6, 100, T0 + MAX_SKEW_MS + 60_000)
    assert run(stores, 1_000, 2) >= 1_900


def test_slowing_down_holds_then_halves_then_recovers(stores: Stores) -> None:
    """Nothing while held; about half the rate after it; the full rate a minute later."""
    run(stores, 1_000, 1)
    stores.rates.slow_down("k", 2_000, T0 + 1_000)
    assert run(stores, 1_000, 2, start_ms=T0 + 1_000) == 0
    assert 500 <= run(stores, 1_000, 1, start_ms=T0 + 3_000) <= 750
    assert 1_000 <= run(stores, 1_000, 1, start_ms=T0 + 3_000 + RECOVERY_MS) <= 1_200


def test_refusals_in_flight_together_halve_once(stores: Stores) -> None:
    """A hundred answers within a second are one sign, not a hundred."""
    for n in range(100):
        stores.rates.slow_down("k", 0, T0 + n)
    assert 500 <= run(stores, 1_000, 1, start_ms=T0 + 100) <= 700


def test_refusals_over_time_shrink_further_but_not_to_nothing(stores: Stores) -> None:
    """Eight refusals a second apart leave at least 1/64 of the rate."""
    for n in range(12):
        stores.rates.slow_down("k", 0, T0 + n * SHRINK_EVERY_MS)
    granted = run(stores, 6_400, 1, start_ms=T0 + 11 * SHRINK_EVERY_MS)
    assert 100 <= granted <= 400


@pytest.mark.parametrize(("rate", "lease_ms"), [(0, 100), (-1, 100), (float("nan"), 100), (1, 0)])
def test_wrong_arguments_are_refused(stores: Stores, rate: float, lease_ms: int) -> None:
    """A rate and a lease are above 0."""
    with pytest.raises(ValueError, match="above 0"):
        stores.rates.lease("k", rate, 1, lease_ms, T0)


def test_wanting_nothing_gets_nothing(stores: Stores) -> None:
    """Zero and less."""
    assert stores.rates.lease("k", 10, 0, 100, T0) == 0
    assert stores.rates.lease("k", 10, -5, 100, T0) == 0


steps = st.lists(
    st.tuples(
        st.sampled_from(["lease", "lease", "lease", "slow_down"]),
        st.integers(0, 3_000),
        st.integers(0, 500),
    ),
    max_size=30,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rate=st.sampled_from([0.5, 3, 120, 2_500]), steps=steps)
def test_every_store_grants_the_same(
    new_stores: Callable[[], Stores], rate: float, steps: list[tuple[str, int, int]]
) -> None:
    """Any mix of leases and refusals; and never more than rate * time + two slices."""
    stores, model = new_stores(), MemoryRates()
    now, granted = T0, 0
    for kind, wait_ms, amount in steps:
        now += wait_ms
        args: tuple[Any, ...] = (rate, amount, 100) if kind == "lease" else (amount,)
        answer = getattr(stores.rates, kind)("k", *args, now)
        assert answer == getattr(model, kind)("k", *args, now)
        granted += answer or 0
    assert granted <= rate * (now - T0) / 1000 + max(1, 2 * rate * 0.1) + 1e-6


def test_a_bucket_goes_when_a_full_one_would_be_the_same(valkey_client_alone: RedisClient) -> None:
    """One message an hour is remembered for an hour, also through a refusal."""
    valkey_client_alone.run("FLUSHALL")
    rates = RedisRates(valkey_client_alone)
    rates.lease("k", 1 / 3600, 1, 100, T0)
    rates.slow_down("k", 0, T0)
    assert 3_500_000 < valkey_client_alone.run("PTTL", "{rate:k}") <= 3_600_001
