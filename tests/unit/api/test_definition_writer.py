"""Who changes a definition while others do."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from api.publishing import ConflictError, DefinitionWriter, PublishError
from operators.define import Define
from operators.registration import decode_registrations
from schemas.definitions import Kind
from schemas.stream import Record, Source
from schemas.topics import DEFINITIONS
from state.memory import MemoryDefinitions
from tests.unit.operators.builders import NOW_MS, FakeMessage


class Crowd:
    """A publisher at which writers meet, if two of them come at the same time."""

    def __init__(self, definitions: MemoryDefinitions) -> None:
        self._define = Define(definitions)
        self._barrier = Barrier(2)
        self.met = False
        self.records: list[Record] = []

    def put(self, records: Sequence[Record]) -> None:
        with suppress(BrokenBarrierError):
            self._barrier.wait(0.3)
            self.met = True
        for record in records:
            self.records.append(record)
            message: Any = FakeMessage(
                record.value, Source(DEFINITIONS, 0, len(self.records)), record.key, NOW_MS
            )
            self._define(decode_registrations([message], NOW_MS)[0])


def test_two_who_saw_the_same_version_do_not_both_change_it() -> None:
    """The second one waits for the first, and then sees that it is too late."""
    definitions = MemoryDefinitions()
    crowd: Any = Crowd(definitions)
    writer = DefinitionWriter(crowd, definitions)

    def put(number: int) -> int | None:
        try:
            return writer.put(Kind.SEGMENT, "acme", "vip", {"by": number}, over=0)
        except ConflictError:
            return None

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(put, range(2)))
    assert sorted(found, key=str) == [1, None]
    assert (crowd.met, len(crowd.records)) == (False, 1)


def test_a_failure_lets_the_next_one_try() -> None:
    """The right to change it is given back, whatever became of it."""
    definitions = MemoryDefinitions()

    class Away:
        def put(self, _records: Sequence[Record]) -> None:
            raise PublishError("no broker")

    away: Any = Away()
    writer = DefinitionWriter(away, definitions)
    for _ in range(2):
        with pytest.raises(PublishError):
            writer.put(Kind.SEGMENT, "acme", "vip", {})
    assert definitions.hold(Kind.SEGMENT, "acme", "vip", "me", ttl_s=1)
