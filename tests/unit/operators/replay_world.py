"""A world for replays: topics, a clock, the shared state, and a route process that may die.

What a run of route writes counts only once it is committed, together with the positions read; a
run that is not committed leaves nothing behind but what it did to the shared state. That is what
a Kafka transaction makes of a crash (docs/decisions/0002-exactly-once.md).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Outcome, Priority, Timer
from schemas.stream import Record, Source
from schemas.tenant import Tenant
from schemas.topics import CHUNKS, DELIVERIES, EVENTS, OUTCOMES, TIMERS
from tests.contract.state_stores import Stores
from tests.unit.operators.builders import NOW_MS, FakeMessage
from tests.unit.operators.route_chain import route_parts, run_chain

READ = (*EVENTS.values(), *CHUNKS.values())
SENT = frozenset(DELIVERIES.values())
MINUTE_MS = 60_000
LONGEST_OUTAGE_MS = 40 * MINUTE_MS  # shorter than any cap's window
Cap = tuple[str, str, str]
"""Tenant, user and the name of a cap."""

_outcome = msgspec.msgpack.Decoder(Outcome).decode
_delivery = msgspec.msgpack.Decoder(Delivery).decode
_timer = msgspec.msgpack.Decoder(Timer).decode


@dataclass(frozen=True)
class Turn:
    """A run of route. fate: commit, abort (the same process again) or crash (a new one)."""

    topics: tuple[str, ...]
    size: int
    fate: str
    wait_ms: int


class Refusal(NamedTuple):
    """A message that a cap held back, when it was committed. before: whom it had let through."""

    cap: Cap
    limit: tuple[int, int]
    at_ms: int
    before: dict[str, int]


@dataclass
class World:
    """tenants, stores: shared by all processes. chunk_users: small, so that audiences split."""

    stores: Stores
    tenants: Mapping[str, Tenant]
    chunk_users: int = 2
    now_ms: int = NOW_MS
    logs: defaultdict[str, list[FakeMessage]] = field(default_factory=lambda: defaultdict(list))
    committed: Counter[str] = field(default_factory=Counter)
    timers: list[Timer] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    sent: list[Delivery] = field(default_factory=list)
    admitted_at_ms: dict[tuple[Cap, str], int] = field(default_factory=dict)
    passed: defaultdict[Cap, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    refusals: list[Refusal] = field(default_factory=list)
    dirty: dict[str, int] = field(default_factory=dict)
    """Topic -> the offset up to which a run that was not committed has touched the state."""
    clean_ms: int = NOW_MS
    """When last nothing was touched that is not committed."""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new process: all that the old one had in memory is gone."""
        self._parts = route_parts(self.stores, self.tenants, chunk_users=self.chunk_users)

    def put(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Append a record to a topic."""
        log = self.logs[topic]
        log.append(FakeMessage(value, Source(topic, 0, len(log)), key, self.now_ms))

    def waiting(self, topic: str) -> Sequence[FakeMessage]:
        """Give what is not committed yet."""
        return self.logs[topic][self.committed[topic] :]

    def run(self, topics: Sequence[str], size: int, *, commit: bool) -> list[Record]:
        """Process up to `size` records of each topic as one batch; count it, or leave no trace."""
        batch = [message for topic in topics for message in self.waiting(topic)[:size]]
        records = run_chain(self._parts, batch, self.now_ms)
        self._note(records, commit=commit)
        for message in batch:
            topic, after = message.topic(), message.offset() + 1
            self.dirty[topic] = max(after, self.dirty.get(topic, 0))
            if commit:
                self.committed[topic] = after
        self.dirty = {t: to for t, to in self.dirty.items() if to > self.committed[t]}
        return records

    def fire(self) -> None:
        """Put what is due on its topic."""
        due = [timer for timer in self.timers if timer.due_at_ms <= self.now_ms]
        self.timers = [timer for timer in self.timers if timer.due_at_ms > self.now_ms]
        for timer in sorted(due, key=lambda timer: timer.due_at_ms):
            if timer.topic in SENT:
                self.sent.append(_delivery(timer.value))
            else:
                self.put(timer.topic, timer.value, timer.key)

    def turn(self, turn: Turn) -> None:
        """Wait and run as a turn says; an outage that would last too long ends before."""
        if not self.dirty:
            self.clean_ms = self.now_ms
        elif self.now_ms + turn.wait_ms - self.clean_ms > LONGEST_OUTAGE_MS:
            self.run(tuple(self.dirty), 1_000, commit=True)
            self.clean_ms = self.now_ms
        self.now_ms += turn.wait_ms
        self.fire()
        self.run(turn.topics, turn.size, commit=turn.fate == "commit")
        if turn.fate == "crash":
            self.restart()

    def drain(self) -> None:
        """Run to the end of all topics and timers."""
        for _ in range(10_000):
            self.fire()
            topic = next((topic for topic in READ if self.waiting(topic)), None)
            if topic is not None:
                self.run([topic], 50, commit=True)
            elif self.timers:
                self.now_ms = max(self.now_ms, min(timer.due_at_ms for timer in self.timers))
            else:
                return
        raise AssertionError("never comes to an end")

    def _note(self, records: Sequence[Record], *, commit: bool) -> None:
        timers = [_timer(r.value or b"") for r in records if r.topic == TIMERS]
        sent = [_delivery(r.value or b"") for r in records if r.topic in SENT]
        held = [_delivery(timer.value) for timer in timers if timer.topic in SENT]
        outcomes = [_outcome(r.value or b"") for r in records if r.topic == OUTCOMES]
        for delivery in (*sent, *held):
            self._passed(delivery, commit=commit)
        if not commit:
            return
        self.sent += sent
        self.timers += timers
        self.outcomes += outcomes
        for record in records:
            if record.topic in READ:
                self.put(record.topic, record.value or b"", record.key)
        for outcome in outcomes:
            if outcome.reason is Reason.FREQUENCY_CAP:
                self._refused(outcome)

    def _passed(self, delivery: Delivery, *, commit: bool) -> None:
        """Note a message that the caps let through, also in a run that does not count."""
        if delivery.priority is Priority.CRITICAL:  # never counted
            return
        for name in (delivery.category, "quota:daily"):
            cap = (delivery.tenant, delivery.user_id, name)
            self.passed[cap][delivery.message_id] = self.now_ms
            if commit:
                self.admitted_at_ms[cap, delivery.message_id] = self.now_ms

    def _refused(self, outcome: Outcome) -> None:
        name, _, rule = outcome.detail.rpartition(": ")
        most, _, window = rule.partition(" in ")
        cap = (outcome.tenant, outcome.user_id, name)
        limit = (int(most), 1_000 * int(window.removesuffix(" s")))
        self.refusals.append(Refusal(cap, limit, self.now_ms, dict(self.passed[cap])))

    def decisions(self) -> dict[tuple[str, str, str], Counter[str]]:
        """Count by tenant, message and user what became final: reasons, and "sent" per device."""
        found: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        for outcome in self.outcomes:
            if outcome.status is not Status.DEFERRED:
                key = (outcome.tenant, outcome.message_id, outcome.user_id)
                found[key][outcome.reason] += 1
        for delivery in self.sent:
            found[delivery.tenant, delivery.message_id, delivery.user_id]["sent"] += 1
        return found
