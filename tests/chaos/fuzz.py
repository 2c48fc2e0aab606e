"""Fuzzed records into flows, and what must have become of each.

    fuzz = Fuzz(seed=1, count=100_000, stages={"route", "registry"})
    fuzz.put(producer)                  # a confluent_kafka Producer
    ...                                 # until the flows' lag is 0
    problems = fuzz.problems(read)      # read: topic -> its committed values
    assert not problems, problems[:20]

Every record ends as a dead letter with its coordinates, or as what its event was decided to be;
the good ones beside it are not touched. The same seed gives the same records.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any

import msgspec

from schemas import topics
from schemas.outcomes import Reason
from schemas.packed import UNREADABLE
from schemas.pipeline import DeadLetter, Delivery, Outcome, Platform, Priority
from tests.chaos.fuzz_events import fuzzed_event
from tests.chaos.fuzz_input import SECRET, End, Fuzzed, Seed
from tests.chaos.fuzz_packed import PACKED_TOPICS, fuzzed_record

MAX_ERROR_BYTES = 2_200
QUEUE_FULL_WAIT_S = 0.1
FLUSH_TIMEOUT_S = 120.0
EVENTS = frozenset(topics.EVENTS.values())
ROUTE = EVENTS | frozenset(topics.CHUNKS.values())
BECOMES_MESSAGES = ROUTE | {topics.TIMERS}
_STAGES: dict[str, str] = (
    dict.fromkeys(ROUTE, "route")
    | dict.fromkeys(topics.REGISTRY, "registry")
    | {topics.OUTCOMES: "outcomes", topics.FEEDBACK: "outcomes", topics.TIMERS: "timers"}
    | {name: f"deliver.{platform}" for (platform, _), name in topics.DELIVERIES.items()}
)
_DEAD: dict[str, str] = {
    "route": topics.DEAD_ROUTE,
    "registry": topics.DEAD_REGISTRY,
    "outcomes": topics.DEAD_OUTCOMES,
    "timers": topics.DEAD_TIMERS,
} | {f"deliver.{platform}": topics.DEAD_DELIVERIES[platform] for platform in Platform}

_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_outcome = msgspec.msgpack.Decoder(Outcome).decode
_delivery = msgspec.msgpack.Decoder(Delivery).decode
At = tuple[str, int, int]


def stage_of(topic: str) -> str:
    """Give the flow that reads a topic."""
    return _STAGES[topic]


def records(
    seed: int,
    count: int,
    *,
    dear: float = 0.012,
    good_share: float = 0.25,
    packed_share: float = 0.2,
    stages: Collection[str] = (*_DEAD,),
    priorities: Collection[Priority] = (Priority.NORMAL, Priority.HIGH),
) -> Iterator[Fuzzed]:
    """Make records, good ones among them. dear: how many of the bad events are megabytes large.

    stages: the flows that run; only topics that one of them reads are written to.
    """
    rng = Random(seed)  # noqa: S311 - tests need the same records again, not secrets
    packed = [name for name in PACKED_TOPICS if stage_of(name) in stages]
    events = [topics.EVENTS[priority] for priority in priorities]
    for number in range(count):
        one = Seed(rng, number)
        if packed and rng.random() < packed_share:
            yield fuzzed_record(one, rng.choice(packed))
        else:
            yield fuzzed_event(one, rng.choice(events), dear=dear, good_share=good_share)


class Fuzz:
    """A run of fuzzed records: puts them, and tells afterwards what went wrong.

    most_bytes: what the topics of events take; larger records are left out, as the broker would
    refuse them. more: as for records().
    """

    def __init__(
        self,
        *,
        seed: int,
        count: int,
        stages: Collection[str],
        most_bytes: int = 12_000_000,
        **more: Any,
    ) -> None:
        self._make = partial(records, seed, count, stages=stages, **more)
        self._stages = tuple(stages)
        self._most_bytes = most_bytes
        self._placed: list[tuple[At, Fuzzed]] = []
        self._failed: list[str] = []

    def put(self, producer: Any) -> None:
        """Produce all records and wait until the broker has them. Raises RuntimeError."""
        for fuzzed in self._make():
            if len(fuzzed.value or b"") < self._most_bytes:
                self._produce(producer, fuzzed)
        left = producer.flush(FLUSH_TIMEOUT_S)
        if left or self._failed:
            raise RuntimeError(
                f"{left} records unsent, {len(self._failed)} failed: {self._failed[:3]}"
            )

    def note(self, fuzzed: Fuzzed, at: At) -> None:
        """Remember where a record lies; its bytes are not kept."""
        self._placed.append((at, fuzzed._replace(key=None, value=None)))

    def good_on(self, topic: str) -> int:
        """Count the good records that were put on a topic."""
        return sum(at[0] == topic and one.end is End.READ for at, one in self._placed)

    def problems(self, read: Callable[[str], Iterable[bytes]]) -> list[str]:
        """Read what the flows have written, and say what is missing, doubled or unclear."""
        letters: Counter[At] = Counter()
        found: list[str] = list(self._failed)
        for stage in self._stages:
            for value in read(_DEAD[stage]):
                letter = _letter(value)
                letters[letter.topic, letter.partition, letter.offset] += 1
                found += unclear(letter.error, letter.topic)
        ends = self._ends(read, found) if "route" in self._stages else {}
        found += [f"{at}: {count} dead letters" for at, count in letters.items() if count > 1]
        for at, fuzzed in self._placed:
            if problem := verdict(fuzzed, at, letters, ends):
                found.append(problem)
        return found

    def _ends(
        self, read: Callable[[str], Iterable[bytes]], found: list[str]
    ) -> dict[str, set[str]]:
        """Give the reasons of outcomes by message, "sent" for a delivery."""
        ends: dict[str, set[str]] = {}
        ids: Counter[str] = Counter()
        handed: Counter[tuple[str, int, int]] = Counter()
        for value in read(topics.OUTCOMES):
            try:
                outcome = _outcome(value)
            except UNREADABLE:
                continue  # one of ours
            ids[outcome.outcome_id] += 1
            ends.setdefault(outcome.message_id, set()).add(outcome.reason)
            if outcome.reason in {Reason.BAD_EVENT, Reason.RENDER_ERROR}:
                found += unclear(outcome.detail, outcome.message_id)
        for name in topics.DELIVERIES.values():
            for value in read(name):
                try:
                    delivery = _delivery(value)
                except UNREADABLE:
                    continue
                ends.setdefault(delivery.message_id, set()).add("sent")
                handed[delivery.delivery_id, delivery.attempt, delivery.holds] += 1
        found += [f"delivery {name} {count} times" for name, count in handed.items() if count > 1]
        found += [f"outcome {name} {count} times" for name, count in ids.items() if count > 1]
        return ends

    def _produce(self, producer: Any, fuzzed: Fuzzed) -> None:
        def placed(error: Any, message: Any) -> None:
            if error is not None:
                self._failed.append(f"{fuzzed.kind}: {error}")
            else:
                self.note(fuzzed, (message.topic(), message.partition(), message.offset()))

        while True:
            try:
                producer.produce(fuzzed.topic, fuzzed.value, fuzzed.key, on_delivery=placed)
            except BufferError:
                producer.poll(QUEUE_FULL_WAIT_S)
            else:
                producer.poll(0)
                return


def verdict(fuzzed: Fuzzed, at: At, letters: Counter[At], ends: dict[str, set[str]]) -> str:
    """Say what is wrong with a record's end, "" when nothing is."""
    fault = ""
    if letters[at]:
        if fuzzed.end is End.READ:
            fault = "a dead letter of a good record"
        elif at[0] in ROUTE and Reason.BAD_EVENT not in ends.get("/".join(map(str, at)), ()):
            # A chunk whose tenant was removed is told by its message.
            fault = "" if at[0] not in EVENTS else "a dead letter without an outcome"
    elif fuzzed.end is End.LETTER:
        fault = "no dead letter"
    elif fuzzed.end is End.READ and at[0] in BECOMES_MESSAGES:
        # What was mutated may have another id, too.
        reasons = ends.get(fuzzed.message_id, set())
        if not reasons:
            fault = "neither outcome nor delivery"
        elif fuzzed.reason and fuzzed.reason not in reasons:
            fault = f"{sorted(reasons)} instead of {fuzzed.reason}"
    return fault and f"{fuzzed.kind} at {at}: {fault}"


def unclear(text: str, where: str) -> list[str]:
    """Say what is wrong with an error's text: empty, long, not printable, or it tells a secret."""
    faults = []
    if not text.strip():
        faults.append(f"{where}: no text")
    if len(text.encode()) > MAX_ERROR_BYTES:
        faults.append(f"{where}: {len(text)} characters")
    if SECRET in text:
        faults.append(f"{where}: tells a secret: {text[:200]}")
    return faults
