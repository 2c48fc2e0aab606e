"""outcomes: from decisions and feedback to rows."""

# outcomes, feedback ─ decode ─ hooks ─► ClickHouse
#                         └────────────► dead letters

from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from operators.steps import Apply, Step, apply, fork, to_process
from schemas.stream import Batch


@dataclass(frozen=True)
class OutcomesParts:
    """What outcomes is built from; flows/compose.py fills it in."""

    source: Source[Batch]
    decode: Step
    hooks: Step
    encode: Apply
    sink: Sink[Any]


def build(parts: OutcomesParts) -> Dataflow:
    """Draw the graph."""
    flow = Dataflow("outcomes")
    records = op.input("outcomes", flow, parts.source)
    # Batch[Message]
    rows = fork("decode", records, parts.decode)
    # Batch[Row], beside it Batch[DeadLetter]
    letters = apply("encode", rows.outs, parts.encode)
    told = fork("hooks", rows.oks, parts.hooks)
    merged = op.merge("merged", told.oks, told.outs, letters)
    op.output("clickhouse", to_process("process", merged), parts.sink)
    return flow
