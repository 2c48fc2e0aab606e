"""Recorded events through other rules: what would have been sent and suppressed."""

from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

import msgspec

from flows.rehearsal import Rehearsed
from flows.route import RouteSteps
from flows.route_steps import run_steps
from operators.work import Outbound
from schemas.packed import UNREADABLE
from schemas.pipeline import Chunk, Notice, Outcome, Timer
from schemas.stream import Message, Source
from schemas.topics import CHUNKS, EVENTS
from sinks.outcome_counts import TO_SEND, Decided

_CHUNK_TOPICS = frozenset(CHUNKS.values())
ROUTED = frozenset({*EVENTS.values(), *_CHUNK_TOPICS})
_encode = msgspec.msgpack.Encoder().encode


class Asked(msgspec.Struct):
    """What of an event tells whom it is about. users: those that it lists."""

    tenant: str = ""
    id: str = ""
    audience: dict[str, Any] = {}

    def users(self) -> list[str]:
        """Give the ids of listed users, none for what is not written as it should be."""
        listed = self.audience.get("users")
        return [u for u in listed if isinstance(u, str)] if isinstance(listed, list) else []


_read_event = msgspec.json.Decoder(Asked).decode
_read_chunk = msgspec.msgpack.Decoder(Chunk).decode
_read_notice = msgspec.msgpack.Decoder(Notice).decode


def asked_of(message: Message) -> Asked | None:
    """Tell whom a record is about; None for what did not enter route from outside.

    Chunks are route's own, made of events, but for those that a campaign's run released.
    """
    raw = message.value() or b""
    try:
        if message.topic() not in _CHUNK_TOPICS:
            return _read_event(raw)
        chunk = _read_chunk(raw)
        if chunk.shard < 0 or not chunk.high or chunk.held:
            return None
        notice = _read_notice(chunk.notice)
        return Asked(notice.tenant, notice.message_id)
    except UNREADABLE:
        return None


class Simulation:
    """One set of rules, over events in the order of their times.

    steps: route's, on ports that write nothing outside. business_ms: from Kafka's clock to that of
    policy. What is held comes back at its time, before anything later. decided: counts so far.
    """

    def __init__(self, steps: RouteSteps, *, business_ms: Callable[[int], int]) -> None:
        self._steps = steps
        self._business_ms = business_ms
        self._timers: list[tuple[int, int, str, bytes]] = []
        self._number = 0
        self.decided: Counter[Decided] = Counter()

    @property
    def held(self) -> int:
        """How many timers lie ahead."""
        return len(self._timers)

    def take(self, message: Message) -> None:
        """Run a record at its own time, after all that was due before."""
        taken_ms = message.timestamp()[1]
        at_ms = self._business_ms(taken_ms)
        self.run_until(at_ms)
        # Its own coordinates: a replay on Kafka is no duplicate of itself.
        source = Source(message.topic(), message.partition(), message.offset())
        self._run(Rehearsed(source, message.value() or b"", taken_ms), at_ms)

    def run_until(self, at_ms: int) -> None:
        """Let everything come back that is due by then."""
        while self._timers and self._timers[0][0] <= at_ms:
            due_ms, number, topic, value = heappop(self._timers)
            self._run(Rehearsed(Source(topic, -1, number), value, due_ms), due_ms)

    def _run(self, record: Rehearsed, at_ms: int) -> None:
        waiting: list[Any] = [record]
        while waiting:
            one = waiting.pop()
            if isinstance(one, Outbound):
                self._number += 1
                at = Source(one.topic, -2, self._number)
                one = Rehearsed(at, _encode(one.value), at_ms)
            deliveries, outs = run_steps(self._steps, [one], at_ms)
            for delivery in deliveries:
                self.decided[delivery.category, TO_SEND, ""] += 1
            waiting += reversed([*self._beside(outs)])

    def _beside(self, outs: list[Any]) -> Iterator[Outbound]:
        """Count outcomes, keep timers, and give the parts of an audience that come next."""
        for out in outs:
            kind = type(out)
            if kind is Outcome:
                if not out.delivery_id:
                    self.decided[out.category, out.status.value, out.reason.value] += 1
            elif kind is Timer and out.topic in ROUTED:
                self._number += 1
                heappush(self._timers, (out.due_at_ms, self._number, out.topic, out.value))
            elif kind is Outbound and out.topic in _CHUNK_TOPICS:
                yield out
