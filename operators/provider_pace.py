"""Slower when a provider says "too fast": a share of the rate, shared by all processes."""

from collections import deque

REMEMBERED_S = 10
SLOWEST_PER_S = 1.0
HALVE_EVERY_S = 1.0
"""Refusals within this time count as one: they were all in flight at once."""


class ProviderPace:
    """What one process may send of one tenant: without limit until a provider refuses.

    share: of the rate that this process had when the first refusal came; state/rates keeps it for
    all processes, halves it at refusals and lets it grow back to 1, where the limit ends.
    Urgent messages go before their turn and are paid for by the others.
    All times in seconds of one monotonic clock.
    """

    __slots__ = ("_base_per_s", "_counts", "_filled_s", "_halved_s", "_second", "_tokens", "share")

    def __init__(self) -> None:
        self.share = 1.0
        self._counts: deque[int] = deque([0], maxlen=REMEMBERED_S)
        self._second = 0
        self._base_per_s = 0.0
        self._tokens = 0.0
        self._filled_s = 0.0
        self._halved_s = -HALVE_EVERY_S

    @property
    def rate_per_s(self) -> float | None:
        """Messages per second that may go now, None without a limit."""
        if self.share >= 1.0:
            return None
        return max(SLOWEST_PER_S, self.share * self._base_per_s)

    def admits(self, now_s: float) -> bool:
        """Tell whether a message may go now."""
        rate_per_s = self.rate_per_s
        if rate_per_s is None:
            return True
        # At most a tenth of a second's worth at once, so that it stays even.
        most = max(1.0, rate_per_s / 10)
        self._tokens = min(most, self._tokens + (now_s - self._filled_s) * rate_per_s)
        self._filled_s = now_s
        return self._tokens >= 1.0

    def started(self, now_s: float) -> None:
        """Note a message that goes."""
        second = int(now_s)
        if second != self._second:
            for _ in range(min(second - self._second, REMEMBERED_S)):
                self._counts.append(0)
            self._second = second
        self._counts[-1] += 1
        if self.share < 1.0:
            self._tokens -= 1.0

    def refused(self, now_s: float) -> bool:
        """Note a refusal; True when the share was halved, for the others to be told."""
        if now_s - self._halved_s < HALVE_EVERY_S:
            return False
        self._halved_s = now_s
        self.follow(self.share / 2, now_s)
        return True

    def follow(self, share: float, now_s: float) -> None:
        """Take on the share that all processes have."""
        if share < 1.0 and self.share >= 1.0:
            # The fullest of the last seconds, as the newest one has only begun.
            self._base_per_s = max(SLOWEST_PER_S, float(max(self._counts)))
            self._tokens, self._filled_s = 0.0, now_s
        self.share = min(1.0, share)
