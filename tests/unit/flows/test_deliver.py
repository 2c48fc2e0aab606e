"""deliver's graph: what leaves together."""

from typing import Any

from bytewax.testing import TestingSink, TestingSource, run_main

from flows import deliver
from schemas.pipeline import Platform
from schemas.stream import Batch, Position, Positions

AT: Positions = {(0, "deliveries.fcm.high", 0): Position(3)}


class HeldUp:
    """Sends that are answered only when the last batch comes. written: by the sink."""

    def __init__(self, written: list[tuple[str, Batch]]) -> None:
        self._written = written
        self._held: list[Batch] = []
        self.written_before: list[Any] = []

    def exchange(self, batch: Batch) -> list[Batch]:
        """Give what was held."""
        if batch.positions:
            self._held.append(batch)
        if batch.now_ms < 3:
            return [Batch([], batch.now_ms)]
        self.written_before = _items(self._written)
        return self._held


def _items(written: list[tuple[str, Batch]]) -> list[Any]:
    return sorted(item for _key, batch in written for item in batch.items)


def test_what_was_decided_before_the_send_leaves_with_its_positions() -> None:
    """A letter without its position would come again after a crash, or go with an abort."""
    written: list[tuple[str, Batch]] = []
    sends = HeldUp(written)
    batches = [Batch(["bad", "good", "muted"], 1, 0, AT), Batch([], 2), Batch([], 3)]
    parts = deliver.DeliverParts(
        platform=Platform.FCM,
        source=TestingSource(batches),
        decode=lambda items, _now_ms: ([i for i in items if i != "bad"], ["letter"]),
        hooks=lambda items, _now_ms: ([i for i in items if i != "muted"], ["suppressed"]),
        send=sends.exchange,
        settle=lambda items, _now_ms: ([f"{item} sent" for item in items], []),
        encode=lambda items: items,
        sink=TestingSink(written),
    )
    run_main(deliver.build(parts))
    assert sends.written_before == []
    assert _items(written) == ["good sent", "letter", "suppressed"]
    assert [batch.positions for _key, batch in written if batch.positions] == [AT]
