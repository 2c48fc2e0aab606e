"""A rate that one process keeps for itself: a token bucket of two seconds' worth."""

from math import ceil

BURST_S = 2.0


class LocalRate:
    """A token bucket; starts full. rate_per_s: above 0; now_s: from any clock that goes on."""

    __slots__ = ("_as_of_s", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._tokens = max(1.0, rate_per_s * BURST_S)
        self._as_of_s = now_s

    def left(self, rate_per_s: float, now_s: float) -> float:
        """Give how much may be taken now; below 0 after a cost that was more than there was."""
        gained = max(0.0, now_s - self._as_of_s) * rate_per_s
        self._rate_per_s, self._as_of_s = rate_per_s, now_s
        self._tokens = min(max(1.0, rate_per_s * BURST_S), self._tokens + gained)
        return self._tokens

    def spend(self, cost: float) -> None:
        """Take, also more than there is: what comes next waits for it."""
        self._tokens -= cost

    def empty(self) -> None:
        """Take all: somebody who knows better says that nothing is left."""
        self._tokens = min(0.0, self._tokens)

    def wait_s(self) -> int:
        """Give in how many whole seconds one more may be taken, at least 1."""
        return max(1, ceil((1.0 - self._tokens) / self._rate_per_s))
