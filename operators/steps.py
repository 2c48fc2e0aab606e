"""How policy becomes a step: a pure function over a batch, with what it decided beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream

from schemas.stream import Batch

Step = Callable[[list[Any], int], tuple[list[Any], list[Any]]]
"""(items, now_ms) -> (what goes on, what was decided: outcomes, timers, chunks, dead letters)."""

Apply = Callable[[list[Any]], list[Any]]
"""items -> as many or as few others; nothing beside."""


@dataclass(frozen=True)
class Forked:
    """Two streams: what goes on, and what was decided on the way."""

    oks: Stream[Batch]
    outs: Stream[Batch]


@operator
def fork(step_id: str, up: Stream[Batch], step: Step) -> Forked:  # noqa: ARG001 - bytewax names the scope by step_id
    """Apply a step to every batch.

    The main line passes on a batch for each that came, even an empty one, as the sink commits
    only in epochs in which something reached it. The side line passes on only what there is.
    """

    def run(batch: Batch) -> tuple[Batch, list[Batch]]:
        oks, outs = step(batch.items, batch.now_ms) if batch.items else ([], [])
        if batch.beside:
            batch, outs = batch.alone(), [*batch.beside, *outs]
        return batch.main(oks), [batch.side(outs)] if outs else []

    pairs = op.map("step", up, run)
    return Forked(op.map("oks", pairs, itemgetter(0)), op.flat_map("outs", pairs, itemgetter(1)))


@operator
def keep(step_id: str, up: Stream[Batch], step: Step) -> Stream[Batch]:  # noqa: ARG001 - as above
    """Apply a step to every batch; what it decides stays beside the items, up to the next fork.

    For what stands before a wait: an epoch that is committed meanwhile must not hold what was
    decided about records whose positions it does not hold.
    """

    def run(batch: Batch) -> Batch:
        if not batch.items:
            return batch
        oks, outs = step(batch.items, batch.now_ms)
        kept = batch.main(oks)
        kept.beside = [*batch.beside, *outs]
        return kept

    return op.map("step", up, run)


@operator
def apply(step_id: str, up: Stream[Batch], step: Apply) -> Stream[Batch]:  # noqa: ARG001 - as above
    """Turn every batch's items into others."""
    return op.map("step", up, lambda batch: batch.main(step(batch.items)))


@operator
def to_process(step_id: str, up: Stream[Batch]) -> KeyedStream[Batch]:  # noqa: ARG001 - as above
    """Key every batch for the process's one sink partition."""
    return op.map("key", up, lambda batch: ("process", batch))
