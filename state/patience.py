"""Waiting for a store that cannot serve now: in one place, bounded, and told to whoever watches."""

import random
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
PATIENCE_S = 210.0
"""Kafka takes the partitions of a consumer that has not polled for 300 s (max.poll.interval.ms);
the last attempt, a ClickHouse insert of 60 s, has to end before that."""

T = TypeVar("T")


class Watch(Protocol):
    """Is told of waits, by any thread."""

    def began(self, store: str, why: str) -> None:
        """Note that a wait begins; several may run side by side."""
        ...

    def goes_on(self, store: str, why: str) -> None:
        """Note that another attempt failed."""
        ...

    def ended(self, store: str, *, answered: bool) -> None:
        """Note that a wait has ended: the store answered, or was given up."""
        ...


class Patience:
    """Repeats what a store cannot do now until it can, with jittered waits.

    limit_s: how long one wait lasts, and all waits together since the last renew(). stopped: asked
    after each wait of LONGEST_WAIT_S at most; True ends it. Safe to share among threads.
    """

    def __init__(
        self,
        *,
        limit_s: float = PATIENCE_S,
        stopped: Callable[[], bool] = lambda: False,
        watch: Watch | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit_s = limit_s
        self._stopped = stopped
        self._watch = watch
        self._clock = clock
        self._sleep = sleep
        self._renewed_at: float | None = None
        self._ended = False
        self.cut_short: list[Exception] = []
        """What was raised because the flow is to stop; it might have passed."""

    def renew(self) -> None:
        """Note that the flow has turned: Kafka's clock starts anew, so this one does, too."""
        self._renewed_at = self._clock()

    def end(self) -> None:
        """Wait no more, in any thread: the process ends."""
        self._ended = True

    def is_to_stop(self) -> bool:
        """Tell whether it waits no more because the flow or the process ends."""
        return self._ended or self._stopped()

    def keep(
        self, store: str, attempt: Callable[[], T], *, passing: Callable[[Exception], bool]
    ) -> T:
        """Attempt until it works; attempt must be safe to repeat after a lost answer.

        passing: tells whether waiting may help. Raises what was raised when it may not, when the
        patience is used up, and when the flow was told to stop.
        """
        began_at = 0.0
        wait_s = 0.0
        while True:
            try:
                answer = attempt()
            except Exception as error:
                if not wait_s:
                    began_at = self._clock()
                may_pass = passing(error)
                is_to_stop = self.is_to_stop()
                if not may_pass or is_to_stop or self._is_used_up(began_at):
                    if may_pass and is_to_stop:
                        self.cut_short.append(error)
                    if wait_s:
                        self._tell_end(store, answered=False)
                    raise
                self._tell(store, str(error), is_first=not wait_s)
            else:
                if wait_s:
                    self._tell_end(store, answered=True)
                return answer
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s or FIRST_WAIT_S)
            # Jittered, so that a store that comes back is not met by all processes at once.
            self._sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _is_used_up(self, began_at: float) -> bool:
        since = began_at if self._renewed_at is None else min(began_at, self._renewed_at)
        return self._clock() - since >= self.limit_s

    def _tell(self, store: str, why: str, *, is_first: bool) -> None:
        if self._watch is not None:
            (self._watch.began if is_first else self._watch.goes_on)(store, why)

    def _tell_end(self, store: str, *, answered: bool) -> None:
        if self._watch is not None:
            self._watch.ended(store, answered=answered)


FAIL_FAST = Patience(limit_s=0.0)
"""Raises at the first failure."""
