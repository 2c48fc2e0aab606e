"""Outcomes on their way into ClickHouse, block after block."""

import threading
from typing import Any

import pytest

from flows import clickhouse_commit as module
from flows.clickhouse_commit import OutcomeRows
from sinks.clickhouse import InsertError
from sinks.outcome_blocks import Prepared

BLOCK = 2
PATIENCE_S = 60.0


class Writer:
    """Inserts blocks; the first one fails once it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.inserted: list[Any] = []

    def prepare(self, rows: list[Any]) -> Prepared:
        made: Any = type("Prepared", (), {"rows": rows, "bad": ()})()
        return made  # type: ignore[no-any-return]  # as much of it as is looked at

    def insert(self, prepared: Prepared) -> int:
        rows: Any = prepared.rows
        if rows[0] == 0:
            assert self.go_on.wait(PATIENCE_S)
            raise InsertError("refused")
        self.inserted += rows
        return len(rows)


class Kafka:
    """Takes records and positions."""

    def __init__(self) -> None:
        self.committed: list[Any] = []

    def write(self, _records: list[Any]) -> None:
        pass

    def commit(self, positions: Any) -> None:
        self.committed.append(positions)


def test_no_block_is_inserted_after_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows would tell the next process that those of the failed one are there."""
    monkeypatch.setattr(module, "BLOCK_ROWS", BLOCK)
    writer, kafka = Writer(), Kafka()
    rows = OutcomeRows(writer, kafka, lambda letters: letters, now_ms=lambda: 0)  # type: ignore[arg-type]
    rows.write([0, 1])
    rows.write([2, 3])  # waits behind the first
    writer.go_on.set()
    with pytest.raises(InsertError, match="refused"):
        rows.commit({})
    rows.close()
    assert writer.inserted == []
    assert kafka.committed == []


def test_blocks_are_inserted_in_order_and_committed_after() -> None:
    """All of them."""
    writer, kafka = Writer(), Kafka()
    rows = OutcomeRows(writer, kafka, lambda letters: letters, now_ms=lambda: 0)  # type: ignore[arg-type]
    rows.write([1, 2])
    rows.commit({})
    rows.write([3])
    rows.commit({})
    rows.close()
    assert writer.inserted == [1, 2, 3]
    assert len(kafka.committed) == 2
