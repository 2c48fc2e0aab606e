"""steps: how a function over a batch becomes a step of a flow."""

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from operators.steps import apply, fork, keep, to_process
from schemas.stream import Batch, Position, Positions

POSITIONS: Positions = {(0, "t", 1): Position(5)}


def split(items: list[int], now_ms: int) -> tuple[list[int], list[int]]:
    """Even ones go on; odd ones are decided."""
    return [n for n in items if n % 2 == 0], [n + now_ms for n in items if n % 2]


def forked(*batches: Batch) -> tuple[list[Batch], list[Batch]]:
    oks: list[Batch] = []
    outs: list[Batch] = []
    flow = Dataflow("test")
    streams = fork("split", op.input("in", flow, TestingSource(list(batches))), split)
    op.output("oks", streams.oks, TestingSink(oks))
    op.output("outs", streams.outs, TestingSink(outs))
    run_main(flow)
    return oks, outs


def test_what_goes_on_keeps_positions_and_what_is_decided_has_none() -> None:
    """Both keep time and generation."""
    oks, outs = forked(Batch([1, 2, 3], 100, 7, POSITIONS))
    assert oks == [Batch([2], 100, 7, POSITIONS)]
    assert outs == [Batch([101, 103], 100, 7)]


def test_an_empty_batch_goes_on() -> None:
    """Its positions are to be committed; the step is not asked."""
    assert forked(Batch([], 100, 7, POSITIONS)) == ([Batch([], 100, 7, POSITIONS)], [])


def test_a_batch_that_is_decided_as_a_whole_goes_on_empty() -> None:
    """The sink commits only in epochs in which something reached it."""
    oks, outs = forked(Batch([1], 100, 7, POSITIONS))
    assert (oks, len(outs)) == ([Batch([], 100, 7, POSITIONS)], 1)


def test_the_side_line_gives_only_what_there_is() -> None:
    """No empty batches."""
    assert forked(Batch([2], 100), Batch([4], 100))[1] == []


def test_apply_turns_items_into_others() -> None:
    """The rest of the batch stays; all goes to the process's one sink."""
    found: list[Any] = []
    flow = Dataflow("test")
    source = op.input("in", flow, TestingSource([Batch([1, 2], 100, 7, POSITIONS)]))
    doubled = apply("double", source, lambda items: [2 * n for n in items])
    op.output("out", to_process("key", doubled), TestingSink(found))
    run_main(flow)
    assert found == [("process", Batch([2, 4], 100, 7, POSITIONS))]


def test_what_is_kept_leaves_at_the_next_fork() -> None:
    """With the positions all the while; also when nothing else is left of the batch."""
    kept: list[Batch] = []
    oks: list[Batch] = []
    outs: list[Batch] = []
    flow = Dataflow("test")
    source = op.input("in", flow, TestingSource([Batch([1, 2, 4], 100, 7, POSITIONS)]))
    first = keep("first", source, split)
    second = keep("second", first, lambda items, _now_ms: ([], [str(n) for n in items]))
    op.output("kept", second, TestingSink(kept))
    streams = fork("third", second, split)
    op.output("oks", streams.oks, TestingSink(oks))
    op.output("outs", streams.outs, TestingSink(outs))
    run_main(flow)
    assert kept == [Batch([], 100, 7, POSITIONS, [101, "2", "4"])]
    assert oks == [Batch([], 100, 7, POSITIONS)]
    assert outs == [Batch([101, "2", "4"], 100, 7)]
