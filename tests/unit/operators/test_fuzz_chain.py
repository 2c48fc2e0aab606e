"""Fuzzed records through the flows' own steps, in this process."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from random import Random
from typing import Any

import msgspec
import pytest

from flows.timer_record import decode_timer
from operators.deliveries import decode_deliveries
from operators.encode import Encode
from operators.feedback import ReadOutcomes
from operators.oversize import MAX_RECORD_BYTES
from operators.profile_writer import WriteProfiles
from operators.registration import decode_registrations
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import DeadLetter, Delivery, Platform
from schemas.stream import Record, Source
from schemas.tenant import Tenant
from schemas.topics import (
    CHUNKS,
    DEAD_OUTCOMES,
    DEAD_REGISTRY,
    DEAD_ROUTE,
    DELIVERIES,
    OUTCOMES,
    TIMERS,
)
from sinks.outcome_blocks import prepare
from state.memory import MemoryDedup
from state.profiles import Device, Profile
from tests.chaos import fuzz_events
from tests.chaos.fuzz import Fuzz, records, stage_of
from tests.chaos.fuzz_input import FUZZ_TENANT, TENANT, USERS, End, Fuzzed, Seed
from tests.contract.state_stores import Stores, in_memory
from tests.unit.operators.builders import NOW_MS, FakeMessage
from tests.unit.operators.examples import is_thorough
from tests.unit.operators.route_chain import on_the_wheel, route_parts, run_chain

COUNT = 50_000 if is_thorough() else 2_000
BATCH = 25
MOST_OUT_BYTES = 12_000_000
"""What one event may become: a hundred chunks of a text of a hundred kilobytes."""
MOST_CALLS = 120_000
"""Of Python functions, for one event of any kind, but the crowds that it may ask for."""
SENT = frozenset(DELIVERIES.values())
CHUNKED = frozenset(CHUNKS.values())


class Flows:
    """route, registry, outcomes and the decoders of deliver and timers, over memory."""

    def __init__(self) -> None:
        self.stores: Stores = in_memory()
        tenants = {TENANT: Tenant.model_validate(FUZZ_TENANT)}
        people = {f"u{n}": _known(f"u{n}") for n in range(USERS)}
        self.stores.profiles.update_many(TENANT, 4, people)
        self._route = route_parts(self.stores, tenants)
        self._write = WriteProfiles(
            tenants,
            profiles=self.stores.profiles,
            tokens=self.stores.tokens,
            segments=self.stores.segments,
        )
        self._run: dict[str, Callable[[list[Any]], list[Record]]] = {
            "route": self._routed,
            "registry": self._registry,
            "outcomes": self._outcomes,
            "timers": self._timers,
            "deliver.fcm": lambda batch: _letters(decode_deliveries(batch, NOW_MS)[1], "dead.fcm"),
        }
        self.written: list[Record] = []
        self.offsets: Counter[str] = Counter()

    def take(self, fuzzed: Sequence[Fuzzed], fuzz: Fuzz | None = None) -> list[Record]:
        """Run a batch, each record in its flow; give what came of it."""
        batches: dict[str, list[Any]] = {}
        for one in fuzzed:
            at = (one.topic, 0, self.offsets[one.topic])
            self.offsets[one.topic] += 1
            batches.setdefault(stage_of(one.topic), []).append(
                FakeMessage(one.value, Source(*at), one.key)
            )
            if fuzz is not None:
                fuzz.note(one, at)
        made = [record for stage, batch in batches.items() for record in self._run[stage](batch)]
        self.written += made
        return made

    def read(self, topic: str) -> list[bytes]:
        """Give the values written to a topic."""
        return [record.value or b"" for record in self.written if record.topic == topic]

    def _routed(self, batch: list[Any]) -> list[Record]:
        """Run route over a batch, and over the chunks that it makes."""
        made: list[Record] = []
        while batch:
            records_made = run_chain(self._route, batch, NOW_MS)
            made += records_made
            batch = []
            for record in records_made:
                if record.topic in CHUNKED:
                    at = Source(record.topic, 1, self.offsets[record.topic])
                    self.offsets[record.topic] += 1
                    batch.append(FakeMessage(record.value, at, record.key))
        return made

    def _registry(self, batch: list[Any]) -> list[Record]:
        changes, letters = decode_registrations(batch, NOW_MS)
        self._write(changes)
        return _letters(letters, DEAD_REGISTRY)

    def _outcomes(self, batch: list[Any]) -> list[Record]:
        rows, letters = ReadOutcomes(MemoryDedup())(batch, NOW_MS)
        bad = prepare(rows, {}).bad
        letters += [DeadLetter(*one[:3], one.why, b"", NOW_MS) for one in bad]
        return _letters(letters, DEAD_OUTCOMES)

    def _timers(self, batch: list[Any]) -> list[Record]:
        letters = []
        for message in batch:
            try:
                decode_timer(message.value() or b"")
            except UNREADABLE as error:
                at = (TIMERS, 0, message.offset())
                letters.append(DeadLetter(*at, fault_of(error), b"", NOW_MS))
        return _letters(letters, "dead.timers")


def _letters(letters: list[Any], topic: str) -> list[Record]:
    return Encode(dead_letters=topic, timer=on_the_wheel)(letters)


def _known(user: str) -> Callable[[Profile | None], Profile]:
    device = Device("d", Platform.FCM, "web", f"token-of-{user}", 1)
    return lambda _old: Profile(user, 0, devices=(device,))


STAGES = ("route", "registry", "outcomes", "timers", "deliver.fcm")


def test_every_fuzzed_record_ends_with_a_clear_reason() -> None:
    """No step raises; a dead letter or an outcome for each; what is good beside them is sent."""
    flows = Flows()
    fuzz = Fuzz(seed=7, count=COUNT, stages=STAGES)
    stream = fuzz._make()
    good: set[str] = set()
    drawn: set[str] = set()
    while batch := list(islice(stream, BATCH)):
        good |= {one.message_id for one in batch if one.kind == "good"}
        drawn |= {one.kind for one in batch} | {one.reason for one in batch}
        flows.take(batch, fuzz)
    assert fuzz.problems(flows.read) == []
    decode = msgspec.msgpack.Decoder(Delivery).decode
    sent = Counter(decode(r.value or b"").message_id for r in flows.written if r.topic in SENT)
    assert {name: sent[name] for name in good} == dict.fromkeys(good, 1)
    assert len(good) > COUNT // 8
    assert drawn >= {make.__name__ for make in fuzz_events.CHEAP}
    assert drawn >= {"scheduled", "ttl_expired", "unknown_segment", "render_error"}


def test_no_record_is_larger_than_a_broker_takes() -> None:
    """And none becomes more than some megabytes of others."""
    flows = Flows()
    for one in records(3, COUNT // 40, dear=0.5, good_share=0.0, stages=STAGES):
        made = flows.take([one])
        sizes = [len(record.value or b"") for record in made]
        assert max(sizes, default=0) <= MAX_RECORD_BYTES, one.kind
        assert sum(sizes) <= MOST_OUT_BYTES, one.kind
        flows.written.clear()


@pytest.mark.parametrize("make", fuzz_events.DEAR, ids=lambda make: make.__name__)
def test_a_bad_event_costs_a_bounded_number_of_steps(make: Any) -> None:
    """However large it is, nothing is looked at for longer than it takes to refuse it."""
    rng = Random(5)  # noqa: S311 - the same events again
    flows = Flows()
    for number in range(4):
        value, end, _ = make(Seed(rng, number))
        if end is not End.LETTER:
            continue
        one = Fuzzed(make.__name__, "events.normal", None, value, end)
        assert _calls(lambda one=one: flows.take([one])) < MOST_CALLS


def _calls(run: Callable[[], Any]) -> int:
    """Count the calls of Python functions."""
    count = 0

    def note(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def test_the_same_seed_gives_the_same_records() -> None:
    """A finding can be seen again."""
    assert list(records(11, 300)) == list(records(11, 300))


def test_a_lost_record_is_a_problem() -> None:
    """The check sees a missing letter, a missing outcome and a secret that was told."""
    flows = Flows()
    fuzz = Fuzz(seed=2, count=200, stages=STAGES)
    flows.take(list(fuzz._make()), fuzz)
    assert fuzz.problems(flows.read) == []
    letter = next(r for r in flows.written if r.topic == DEAD_ROUTE)
    flows.written.remove(letter)
    assert len(fuzz.problems(flows.read)) == 1
    flows.written += [letter, letter]
    assert "2 dead letters" in fuzz.problems(flows.read)[0]
    flows.written.remove(letter)
    told = msgspec.msgpack.decode(letter.value or b"", type=DeadLetter)
    leak = msgspec.structs.replace(told, error="found s3cr3t-0f-4-user", offset=10**6)
    flows.written.append(Record(DEAD_ROUTE, None, msgspec.msgpack.encode(leak)))
    assert "tells a secret" in fuzz.problems(flows.read)[0]
    flows.written = [r for r in flows.written if r.topic != OUTCOMES]
    assert any("neither outcome" in problem for problem in fuzz.problems(flows.read))
