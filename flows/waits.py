"""What a flow waits for: told once in the log, and all the while to metrics and probes."""

import threading
import time
from collections.abc import Callable
from contextvars import copy_context

import structlog

from schemas import metrics

_log = structlog.get_logger()


class _Wait:
    """Waits for one store, of any threads, side by side."""

    __slots__ = ("began_at", "counted_at", "waiters", "why")

    def __init__(self, why: str, now_s: float) -> None:
        self.began_at = self.counted_at = now_s
        self.waiters = 1
        self.why = why


class Waits:
    """The waits of a flow under way, by store. Implements state.patience.Watch.

    excuses: called at every failed attempt: while it waits, a flow is not stuck. Safe to share
    among threads.
    """

    def __init__(self, flow: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._flow = flow
        self._clock = clock
        self._context = copy_context()
        self._lock = threading.Lock()
        self._under_way: dict[str, _Wait] = {}
        self.excuses: list[Callable[[], None]] = []

    def needs(self, store: str) -> None:
        """Show this store in the metrics from the start."""
        metrics.WAITING_FOR.labels(self._flow, store).set(0)
        metrics.WAITED_SECONDS.labels(self._flow, store)

    def began(self, store: str, why: str) -> None:
        """Note that a wait begins."""
        with self._lock:
            wait = self._under_way.get(store)
            if wait is None:
                self._under_way[store] = _Wait(why, self._clock())
                metrics.WAITING_FOR.labels(self._flow, store).set(1)
            else:
                wait.waiters += 1
        if wait is None:
            self._say(_log.warning, "waiting", store=store, why=why)
        self._excuse()

    def goes_on(self, store: str, why: str) -> None:
        """Note that another attempt failed."""
        with self._lock:
            wait = self._under_way[store]
            wait.why = why
            self._count(store, wait)
        self._excuse()

    def ended(self, store: str, *, answered: bool) -> None:
        """Note that a wait has ended: the store answered, or was given up."""
        with self._lock:
            wait = self._under_way[store]
            self._count(store, wait)
            wait.waiters -= 1
            is_last = not wait.waiters
            if is_last:
                del self._under_way[store]
                metrics.WAITING_FOR.labels(self._flow, store).set(0)
            waited_s = round(wait.counted_at - wait.began_at, 3)
        self._excuse()
        if not answered:
            self._say(_log.error, "gave up waiting", store=store, waited_s=waited_s, why=wait.why)
        elif is_last:
            self._say(_log.info, "goes on", store=store, waited_s=waited_s)

    def lines(self) -> dict[str, str]:
        """Give why it waits, by store."""
        with self._lock:
            return {store: wait.why for store, wait in sorted(self._under_way.items())}

    def _say(self, level: Callable[..., object], event: str, **more: object) -> None:
        # What every line of the process bears is known in the thread that made this one.
        self._context.copy().run(level, event, **more)

    def _count(self, store: str, wait: _Wait) -> None:
        now_s = self._clock()
        metrics.WAITED_SECONDS.labels(self._flow, store).inc(now_s - wait.counted_at)
        wait.counted_at = now_s

    def _excuse(self) -> None:
        for excuse in self.excuses:
            excuse()
