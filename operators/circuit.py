"""The circuit breaker: a provider that fails nearly everything is asked seldom until it recovers.

After M. Nygard, "Release It!", and the half-open state of Microsoft's "Circuit Breaker pattern".
"""

from collections.abc import Callable

from schemas.outcomes import Reason

REMEMBERED = 64
"""Answers that are looked at: the newest ones, whatever the rate."""
ENOUGH = 16
"""Fewer answers than this say nothing."""
OPEN_SHARE = 0.5
FORGET_AFTER_S = 30.0
"""Answers older than a silence of this length count no more."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 4.0
PROBES_TO_CLOSE = 3

FAILURES = frozenset(
    {
        Reason.PROVIDER_UNAVAILABLE,
        Reason.PROVIDER_TIMEOUT,
        Reason.NOT_CONNECTED,
        Reason.CONNECTION_LOST,
    }
)
"""What says that the provider is ill. A refusal of one message says that it is well."""

_MASK = (1 << REMEMBERED) - 1


class Breaker:
    """Closed: all pass. Open: one probe per wait, which doubles up to LONGEST_WAIT_S.

    It opens when half of the newest answers are failures. A probe that succeeds lets the next go
    at once; PROBES_TO_CLOSE of them in a row close it. A probe without an answer does not keep the
    next one back, so a provider that hangs is found well again as soon as it is.
    All times in seconds of one monotonic clock. jitter: gives a number in [0, 1).
    """

    __slots__ = ("_answers", "_at_s", "_bits", "_jitter", "_next_probe_s", "_opened_s",
                 "_successes", "_wait_s", "is_open")  # fmt: skip

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self.is_open = False
        self._bits = 0
        self._answers = 0
        self._at_s = 0.0
        self._opened_s = 0.0
        self._wait_s = FIRST_WAIT_S
        self._next_probe_s = 0.0
        self._successes = 0

    def admits(self, now_s: float) -> bool:
        """Tell whether a request may go now."""
        return not self.is_open or now_s >= self._next_probe_s

    def started(self, now_s: float) -> None:
        """Note a request that goes: when open, it is the probe of this wait."""
        if self.is_open:
            self._next_probe_s = now_s + self._jittered()

    def answered(self, reason: Reason, *, started_s: float, now_s: float) -> None:
        """Note what became of a request."""
        failed = reason in FAILURES
        if self.is_open:
            if started_s >= self._opened_s:  # what was sent before says nothing new
                self._probed(now_s, failed=failed)
            return
        if now_s - self._at_s > FORGET_AFTER_S:
            self._bits = self._answers = 0
        self._at_s = now_s
        self._bits = (self._bits << 1 | failed) & _MASK
        self._answers += 1
        if failed:
            seen = min(self._answers, REMEMBERED)
            if seen >= ENOUGH and self._bits.bit_count() >= OPEN_SHARE * seen:
                self._open(now_s)

    def _open(self, now_s: float) -> None:
        self.is_open = True
        self._opened_s = now_s
        self._successes = 0
        self._wait_s = FIRST_WAIT_S
        self._next_probe_s = now_s + self._jittered()

    def _probed(self, now_s: float, *, failed: bool) -> None:
        if failed:
            self._successes = 0
            self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)
            self._next_probe_s = now_s + self._jittered()
            return
        self._successes += 1
        self._next_probe_s = now_s
        if self._successes >= PROBES_TO_CLOSE:
            self.is_open = False
            self._bits = self._answers = 0

    def _jittered(self) -> float:
        """Give 0.75 to 1.25 of the wait: processes that opened together do not probe together."""
        return self._wait_s * (0.75 + 0.5 * self._jitter())
