"""What lets a tenant's messages go to a provider: its circuit breaker, concurrency and pace."""

from collections.abc import Callable

from operators.circuit import FAILURES, Breaker
from operators.concurrency import AdaptiveLimit
from operators.provider_pace import ProviderPace
from schemas.outcomes import Reason
from schemas.pipeline import Answer, Delivery, Platform

URGENT_EXTRA = 8
"""Urgent messages find a place beyond the limit: an eighth of it and these."""
MAX_HOST_CHARACTERS = 100
_NO_ANSWER = frozenset({Reason.PROVIDER_TIMEOUT, Reason.CONNECTION_LOST})


class Gate:
    """One tenant on one platform in this process.

    most: requests under way at most. jitter: gives a number in [0, 1).
    All times in seconds of one monotonic clock. Not thread-safe.
    """

    __slots__ = ("breaker", "concurrency", "in_flight", "pace")

    def __init__(self, *, most: int, jitter: Callable[[], float]) -> None:
        self.breaker = Breaker(jitter)
        self.concurrency = AdaptiveLimit(most)
        self.pace = ProviderPace()
        self.in_flight = 0

    def admits(self, now_s: float, *, urgent: bool) -> bool:
        """Tell whether one more message may go now."""
        if urgent:
            limit = self.concurrency.limit
            return self.in_flight < limit + limit // 8 + URGENT_EXTRA and self.breaker.admits(now_s)
        return self.has_room and self.breaker.admits(now_s) and self.pace.admits(now_s)

    @property
    def has_room(self) -> bool:
        """Tell whether the limit on concurrency leaves room."""
        return self.in_flight < self.concurrency.limit

    def started(self, now_s: float) -> None:
        """Note a message that goes."""
        self.in_flight += 1
        self.breaker.started(now_s)
        self.pace.started(now_s)

    def answered(self, answer: Answer, *, started_s: float, now_s: float) -> bool:
        """Note an answer; True when the provider refused the rate, for the others to be told."""
        with_it = self.in_flight
        self.in_flight -= 1
        reason = answer.reason
        was_open = self.breaker.is_open
        self.breaker.answered(reason, started_s=started_s, now_s=now_s)
        if reason in _NO_ANSWER:
            self.concurrency.dropped(now_s)
        elif reason not in FAILURES and answer.provider_status:
            self.concurrency.answered(now_s - started_s, now_s, in_flight=with_it)
        if was_open and not self.breaker.is_open:
            self.concurrency.reset()
        return reason is Reason.THROTTLED and self.pace.refused(now_s)

    @property
    def reason(self) -> Reason:
        """Why a message had to wait."""
        return Reason.CIRCUIT_OPEN if self.breaker.is_open else Reason.PROVIDER_PACE


def gate_key(delivery: Delivery) -> str:
    """Name the gate that a delivery passes: its tenant's, for Web Push one for each push service.

    Browsers' push services fail one by one; APNs and FCM are one service each.
    """
    if delivery.platform is not Platform.WEBPUSH:
        return delivery.tenant
    host = delivery.token.partition("://")[2].partition("/")[0]
    return f"{delivery.tenant}/{host[:MAX_HOST_CHARACTERS]}"
