"""What a producer holds: events that wait, events under way, and what is due next."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from api.client.errors import ApiError, ClarionError, NotDeliveredError, UnreachableError
from api.client.events import AnyEvent, Result
from api.client.retrying import AGAIN, AGAIN_IF_SAFE, Retry


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    """How a producer batches, and what it holds at most.

    items, size_bytes: of one request. linger_s: how long an event waits for company. queue_items,
    queue_bytes: held in all, those under way included. within_s: an event that is not taken by
    then is given up.
    """

    items: int = 500
    size_bytes: int = 1_048_576
    linger_s: float = 0.02
    queue_items: int = 10_000
    queue_bytes: int = 67_108_864
    within_s: float = 120.0


class Item(NamedTuple):
    """One event. number: in the order of coming. future: the producer's own kind."""

    number: int
    event: AnyEvent
    line: bytes
    future: Any
    came_s: float


Outcome = Result | ClarionError
Settled = list[tuple[Item, Outcome]]


class Backlog:
    """The events of one producer; at most one request is under way, so that order is kept."""

    def __init__(self, batching: Batching, retry: Retry) -> None:
        self._batching = batching
        self._retry = retry
        self._waiting: deque[Item] = deque()
        self._under_way: list[Item] = []
        self._telling: list[Item] = []
        self._bytes = 0
        self._count = 0
        self._failures = 0
        self._not_before_s = 0.0

    @property
    def last_number(self) -> int:
        """The number of the newest event."""
        return self._count

    @property
    def is_under_way(self) -> bool:
        """Whether a request is under way."""
        return bool(self._under_way)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def is_settled(self, number: int) -> bool:
        """Tell whether every event up to this number has been told its outcome."""
        held = (self._telling, self._under_way, self._waiting)
        return all(not items or items[0].number > number for items in held)

    def told(self) -> None:
        """Note that the outcomes given last have been told."""
        self._telling = []

    def has_room(self, size: int) -> bool:
        """Tell whether an event of so many bytes may come in; into an empty queue any may."""
        held = len(self)
        fits = self._bytes + size <= self._batching.queue_bytes
        return not held or (held < self._batching.queue_items and fits)

    def add(self, event: AnyEvent, line: bytes, future: Any, now_s: float) -> None:
        """Take an event in."""
        self._count += 1
        self._bytes += len(line)
        self._waiting.append(Item(self._count, event, line, future, now_s))

    def wait_s(self, now_s: float, *, hurry: bool) -> float | None:
        """Seconds until a request is due, 0 for now, None while there is nothing to send.

        hurry: somebody waits for it, so events wait for no company.
        """
        if self._under_way or not self._waiting:
            return None
        full = (
            len(self._waiting) >= self._batching.items or self._bytes >= self._batching.size_bytes
        )
        linger_s = 0.0 if hurry or full else self._batching.linger_s
        due_s = max(self._waiting[0].came_s + linger_s, self._not_before_s)
        return max(0.0, due_s - now_s)

    def take(self) -> list[bytes]:
        """Give the lines of the next request, which are under way from now on."""
        filled = 0
        while self._waiting and len(self._under_way) < self._batching.items:
            filled += len(self._waiting[0].line) + 1
            if self._under_way and filled > self._batching.size_bytes:
                break
            self._under_way.append(self._waiting.popleft())
        return [item.line for item in self._under_way]

    def answered(self, results: Sequence[Result], now_s: float) -> Settled:
        """Settle what was answered; what may yet succeed goes back to the front, in order."""
        settled: Settled = []
        again: list[Item] = []
        for item, result in zip(self._under_way, results, strict=True):
            if result.is_transient and not self._is_late(item, now_s):
                again.append(item)
            else:
                settled.append((item, result))
        self._back(again, now_s, None)
        return self._gone(settled)

    def failed(self, error: ClarionError, now_s: float) -> Settled:
        """Settle a request that failed as a whole: sent again if that may help and is not late."""
        if not may_help(error):
            return self._gone([(item, error) for item in self._end()])
        again: list[Item] = []
        settled: Settled = []
        for item in self._under_way:
            if self._is_late(item, now_s):
                settled.append((item, _given_up(error)))
            else:
                again.append(item)
        self._back(again, now_s, getattr(error, "retry_after_s", None))
        return self._gone(settled)

    def abandon(self, error: ClarionError) -> Settled:
        """Give up everything."""
        items = [*self._end(), *self._waiting]
        self._waiting.clear()
        return self._gone([(item, error) for item in items])

    def _is_late(self, item: Item, now_s: float) -> bool:
        return now_s >= item.came_s + self._batching.within_s

    def _end(self) -> list[Item]:
        ended, self._under_way = self._under_way, []
        return ended

    def _back(self, again: list[Item], now_s: float, retry_after_s: float | None) -> None:
        self._under_way = []
        self._waiting.extendleft(reversed(again))
        if again:
            self._failures += 1
            self._not_before_s = now_s + self._retry.wait_s(self._failures, retry_after_s)
        else:
            self._failures = 0

    def _gone(self, settled: Settled) -> Settled:
        self._telling = [item for item, _ in settled]
        self._bytes -= sum(len(item.line) for item in self._telling)
        return settled


def may_help(error: ClarionError) -> bool:
    """Tell whether sending events again may help; they bear keys, so it does no harm."""
    if isinstance(error, ApiError):
        return error.status in AGAIN | AGAIN_IF_SAFE
    return isinstance(error, UnreachableError)


def _given_up(error: ClarionError) -> NotDeliveredError:
    found = NotDeliveredError(f"given up: {error}")
    found.__cause__ = error
    return found
