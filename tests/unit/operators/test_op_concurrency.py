"""The limit on requests under way, against a provider with a latency curve."""

import heapq
import random

import pytest

from operators.concurrency import FIRST, LEAST, AdaptiveLimit


class Provider:
    """Answers in base_s while at most `knee` are under way, beyond that in proportion."""

    def __init__(self, knee: int, base_s: float, seed: int = 1) -> None:
        self.knee, self.base_s = knee, base_s
        self._random = random.Random(seed)  # noqa: S311 - noise, not secrets

    def takes_s(self, in_flight: int) -> float:
        crowded = max(1.0, in_flight / self.knee)
        return self.base_s * crowded * self._random.uniform(0.7, 1.3)


def drive(limit: AdaptiveLimit, provider: Provider, seconds: float, *, start_s: float = 0.0,
          demand: int = 10_000) -> list[int]:  # fmt: skip
    """Keep as many under way as limit and demand allow; give the limit after each answer."""
    under_way: list[tuple[float, float]] = []
    seen = []
    now_s = start_s
    while now_s < start_s + seconds:
        while len(under_way) < min(limit.limit, demand):
            took_s = provider.takes_s(len(under_way) + 1)
            heapq.heappush(under_way, (now_s + took_s, took_s))
        now_s, took_s = heapq.heappop(under_way)
        limit.answered(took_s, now_s, in_flight=len(under_way) + 1)
        seen.append(limit.limit)
    return seen


@pytest.mark.parametrize("knee", [60, 150, 400])
def test_it_settles_near_the_knee(knee: int) -> None:
    """Whatever the knee: most of the time between two thirds and twice and a half of it."""
    seen = drive(AdaptiveLimit(1_000), Provider(knee, 0.05), 25)
    settled = sorted(seen[len(seen) // 3 :])
    low, high = settled[len(settled) // 20], settled[-len(settled) // 20]
    assert 0.66 * knee <= low
    assert high <= 2.5 * knee


def test_it_follows_a_knee_that_moves() -> None:
    """A provider that loses three quarters of its servers gets about a quarter of the load."""
    limit = AdaptiveLimit(1_000)
    drive(limit, Provider(400, 0.05), 10)
    before = limit.limit
    drive(limit, Provider(100, 0.05), 40, start_s=10)
    assert limit.limit < before / 2


def test_a_fast_provider_gets_all() -> None:
    """Nothing slows down: the limit goes up to the most."""
    limit = AdaptiveLimit(1_000)
    drive(limit, Provider(100_000, 0.05), 10)
    assert limit.limit == 1_000


def test_little_demand_moves_nothing() -> None:
    """What was never used says nothing about more."""
    limit = AdaptiveLimit(1_000)
    drive(limit, Provider(100_000, 0.05), 10, demand=20)
    assert limit.limit == FIRST


def test_requests_without_answer_shrink_it_to_the_least() -> None:
    """Timeouts take a tenth each window, never below the least."""
    limit = AdaptiveLimit(1_000)
    limit.dropped(0.0)
    assert limit.limit == int(FIRST * 0.9)
    for second in range(1, 200):
        for _ in range(LEAST):
            limit.answered(0.05, second, in_flight=1)
        limit.dropped(second + 0.5)
    assert limit.limit == LEAST


def test_most_below_the_least_is_kept() -> None:
    """A small window stays small."""
    limit = AdaptiveLimit(10)
    assert limit.limit == 10
    limit.dropped(0.0)
    assert limit.limit == 10
