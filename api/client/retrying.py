"""When to repeat a request, and how long to wait before it."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

MAX_RETRY_AFTER_S = 3_600.0
AGAIN = frozenset({429, 503})
"""Statuses of requests that were not taken, and may be repeated whatever they ask for."""
AGAIN_IF_SAFE = frozenset({408, 500, 502, 504})
"""Statuses that leave open whether it was done: repeated where twice is the same as once."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long.

    attempts: in all, the first included. base_s: the longest first wait; it doubles up to
    longest_s. within_s: no further attempt begins later than this after the first.
    """

    attempts: int = 5
    base_s: float = 0.2
    longest_s: float = 10.0
    within_s: float = 60.0

    def wait_s(
        self,
        attempt: int,
        retry_after_s: float | None,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> float:
        """Seconds to wait after an attempt that failed.

        attempt: 1-based. retry_after_s: the server's wish, or None. Full jitter: anything from 0 to
        the bound, so that clients do not come back together; after the server's wish, not instead.
        Source: AWS Architecture Blog, "Exponential Backoff And Jitter"; RFC 9110 §10.2.3.
        """
        bound_s = min(self.longest_s, self.base_s * 2.0 ** min(attempt - 1, 30))
        return (retry_after_s or 0.0) + draw(0.0, bound_s)


def retry_after_s(text: str | None, now_s: float) -> float | None:
    """Read Retry-After: seconds or a date. now_s: epoch seconds. None when absent or unreadable."""
    if not text:
        return None
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait_s = (moment - datetime.fromtimestamp(now_s, UTC)).total_seconds()
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)
