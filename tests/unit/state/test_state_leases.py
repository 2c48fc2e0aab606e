"""Leases: the hot path seldom asks Redis and never gives out more than was leased."""

from hypothesis import given
from hypothesis import strategies as st

from state.memory_limits import MemoryRates
from state.rates import SHRINK_EVERY_MS, Leases

T0 = 1_700_000_000_000


class CountingRates(MemoryRates):
    """Rates in memory that note what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []
        self.granted = 0
        self.slowed: list[tuple[str, int]] = []

    def lease(self, key: str, rate_per_s: float, want: int, lease_ms: int, now_ms: int) -> int:
        self.asked.append((key, want))
        granted = super().lease(key, rate_per_s, want, lease_ms, now_ms)
        self.granted += granted
        return granted

    def slow_down(self, key: str, retry_after_ms: int, now_ms: int) -> None:
        self.slowed.append((key, retry_after_ms))
        super().slow_down(key, retry_after_ms, now_ms)


def test_a_steady_stream_costs_about_one_call_per_slice() -> None:
    """A message each ms for ten seconds: all granted, with under two calls per 100 ms."""
    rates = CountingRates()
    leases = Leases(rates, lease_ms=100)
    granted = sum(leases.take("k", 2_000, 1, T0 + ms) for ms in range(10_000))
    assert granted == 10_000
    assert len(rates.asked) < 200


def test_demand_above_the_rate_is_cut_to_the_rate() -> None:
    """Ten times too much, for ten seconds: the rate and two slices, in few calls."""
    rates = CountingRates()
    leases = Leases(rates, lease_ms=100)
    granted = sum(leases.take("k", 1_000, 10, T0 + ms) for ms in range(10_000))
    assert 9_900 <= granted <= 10_200
    assert len(rates.asked) <= 130


def test_a_process_that_needs_little_leaves_the_rest_to_others() -> None:
    """What is asked follows the demand, not the rate."""
    rates = CountingRates()
    leases = Leases(rates, lease_ms=100)
    for ms in range(0, 2_000, 50):
        leases.take("k", 100_000, 1, T0 + ms)
    assert max(want for _, want in rates.asked) <= 4


def test_what_is_left_of_a_slice_ends_with_it() -> None:
    """A lease cannot be saved up."""
    rates = CountingRates()
    leases = Leases(rates, lease_ms=100)
    leases.take("k", 1_000, 50, T0)
    leases.take("k", 1_000, 1, T0 + 100)
    assert leases.take("k", 1_000, 200, T0 + 10_000) == 100


def test_an_empty_bucket_is_not_asked_twice_within_a_slice() -> None:
    """Starving costs one call per slice."""
    rates = CountingRates()
    rates.slow_down("k", 60_000, T0)
    leases = Leases(rates, lease_ms=100)
    assert sum(leases.take("k", 1_000, 5, T0 + ms) for ms in range(100)) == 0
    assert len(rates.asked) == 1


def test_slowing_down_gives_up_the_slice_and_calls_once_for_all_in_flight() -> None:
    """A longer wait is passed on, an equal or shorter one is not repeated within a second."""
    rates = CountingRates()
    leases = Leases(rates, lease_ms=100)
    leases.take("k", 1_000, 1, T0)
    for n in range(100):
        leases.slow_down("k", 500, T0 + n // 10)
    leases.slow_down("k", 5_000, T0 + 20)
    assert leases.take("k", 1_000, 5, T0 + 21) == 0
    assert rates.slowed == [("k", 500), ("k", 5_000)]
    leases.slow_down("k", 0, T0 + 20 + SHRINK_EVERY_MS)
    assert len(rates.slowed) == 3


def test_memory_is_bounded_by_max_keys() -> None:
    """The key unused longest goes first; a key in use stays."""
    rates = CountingRates()
    leases = Leases(rates, lease_ms=1_000, max_keys=10)
    for n in range(100):
        leases.take(f"k{n}", 10, 1, T0)
        leases.slow_down(f"s{n}", 0, T0)
    assert len(leases._slices) == 10
    assert len(leases._slowed) == 10


@given(
    takes=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 300), st.sampled_from("ab")), max_size=40
    )
)
def test_never_more_is_granted_than_was_leased(takes: list[tuple[int, int, str]]) -> None:
    """Whatever the demand: grants are at most what Redis gave, and at most what was asked."""
    rates = CountingRates()
    leases = Leases(rates, lease_ms=100)
    now, granted = T0, 0
    for wait_ms, n, key in takes:
        now += wait_ms
        given_now = leases.take(key, 500, n, now)
        assert 0 <= given_now <= n
        granted += given_now
    assert granted <= rates.granted
