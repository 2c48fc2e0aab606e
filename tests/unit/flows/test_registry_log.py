"""Partitions merged into the order in which Kafka took their records."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from flows import registry_log
from flows.registry_log import Part, RegistryLog, StalledError, _Merge
from schemas.stream import Source
from tests.unit.operators.builders import FakeMessage

ONE, TWO = ("users", 0), ("devices", 3)


def record(part: Part, offset: int, at_ms: int) -> Any:
    return FakeMessage(b"", Source(*part, offset), at_ms=at_ms)


def end(part: Part, offset: int) -> Any:
    return record(part, offset, 0)


def merge(ends: Mapping[Part, int], at: dict[Part, int] | None = None) -> tuple[_Merge, Any]:
    stands = at or dict.fromkeys(ends, 0)
    return _Merge(ends, stands), stands


def given(merged: _Merge, most: int = 100) -> list[tuple[str, int]]:
    return [(message.topic(), message.offset()) for message in merged.give(most)]


def test_records_come_by_time_across_partitions() -> None:
    """And by offset within one, whatever its clocks said."""
    merged, _ = merge({ONE: 3, TWO: 2})
    for message in (record(ONE, 0, 10), record(ONE, 1, 30), record(ONE, 2, 5)):
        merged.take(message, is_end=False)
    for message in (record(TWO, 0, 20), record(TWO, 1, 25)):
        merged.take(message, is_end=False)
    assert given(merged) == [
        ("users", 0), ("devices", 0), ("devices", 1), ("users", 1), ("users", 2),
    ]  # fmt: skip


def test_nothing_is_given_past_a_partition_of_which_nothing_is_known() -> None:
    """Its next record may be the earliest."""
    merged, _ = merge({ONE: 2, TWO: 2})
    merged.take(record(ONE, 0, 10), is_end=False)
    assert given(merged) == []
    merged.take(record(TWO, 0, 5), is_end=False)
    assert given(merged) == [("devices", 0)]
    merged.take(end(TWO, 2), is_end=True)
    assert given(merged) == [("users", 0)]
    assert list(merged.missing) == [ONE]


def test_what_lies_beyond_the_end_is_not_taken() -> None:
    """It tells that the end was passed: compaction and transactions leave gaps."""
    merged, at = merge({ONE: 5})
    merged.take(record(ONE, 2, 10), is_end=False)
    merged.take(record(ONE, 7, 11), is_end=False)
    assert not merged.missing
    assert given(merged) == [("users", 2)]
    assert at == {ONE: 5}


def test_a_partition_may_end_without_a_record() -> None:
    """All that was left of it are gaps."""
    merged, at = merge({ONE: 5, TWO: 1}, {ONE: 3, TWO: 1})
    assert list(merged.missing) == [ONE]
    merged.take(end(ONE, 5), is_end=True)
    assert (given(merged), at) == ([], {ONE: 5, TWO: 1})


def test_batches_have_a_size() -> None:
    """The rest waits."""
    merged, at = merge({ONE: 4})
    for offset in range(4):
        merged.take(record(ONE, offset, offset), is_end=False)
    assert [len(given(merged, 3)) for _ in range(3)] == [3, 1, 0]
    assert at == {ONE: 4}


class Paces:
    """A consumer that gives one partition fast and another slowly, and obeys."""

    def __init__(self, slow_after: int) -> None:
        self.paused: set[Part] = set()
        self.most_ahead = 0
        self._left = {ONE: list(range(50)), TWO: list(range(50))}
        self._turns, self._slow_after = 0, slow_after

    def assign(self, parts: Any) -> None:
        assert len(parts) == 2

    def unassign(self) -> None:
        """Nothing to do."""

    def pause(self, parts: Any) -> None:
        self.paused |= {(tp.topic, tp.partition) for tp in parts}

    def resume(self, parts: Any) -> None:
        self.paused -= {(tp.topic, tp.partition) for tp in parts}

    def consume(self, _most: int, _timeout_s: float) -> list[Any]:
        self._turns += 1
        found = []
        for part, offsets in self._left.items():
            if part in self.paused or (part == TWO and self._turns < self._slow_after):
                continue
            found += [SimpleNamespace(**_message(part, offset)) for offset in offsets[:5]]
            del offsets[:5]
        self.most_ahead = max(self.most_ahead, len(self._left[TWO]) - len(self._left[ONE]))
        return found


def _message(part: Part, offset: int) -> dict[str, Any]:
    return {
        "topic": lambda: part[0],
        "partition": lambda: part[1],
        "offset": lambda: offset,
        "timestamp": lambda: (1, offset),
        "error": lambda: None,
    }


def log_of(consumer: Any) -> RegistryLog:
    log = RegistryLog({}, group="g")
    log.at, log._consumer = {ONE: 0, TWO: 0}, consumer
    return log


def test_who_is_ahead_waits_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is held stays bounded, whatever comes first."""
    monkeypatch.setattr(registry_log, "HELD", 20)
    consumer = Paces(slow_after=30)
    batches = list(log_of(consumer).read(["users", "devices"], {ONE: 50, TWO: 50}, batch=10))
    assert consumer.most_ahead <= 20
    assert [len(batch) for batch in batches] == [10] * 10
    times = [message.timestamp()[1] for batch in batches for message in batch]
    assert times == sorted(times)


def test_a_partition_that_gives_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than waited for in silence."""
    monkeypatch.setattr(registry_log, "STALLED_S", 0.0)
    consumer = Paces(slow_after=10**9)
    with pytest.raises(StalledError, match="devices/3"):
        list(log_of(consumer).read(["users", "devices"], {ONE: 50, TWO: 50}, batch=10))
