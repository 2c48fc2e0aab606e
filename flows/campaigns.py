"""campaigns: from ticks to slices of audiences."""

# campaigns ─ tick ─► chunks (to route), timers (the next tick), outcomes, dead letters

from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from operators.steps import Apply, Step, apply, fork, to_process
from schemas.stream import Batch


@dataclass(frozen=True)
class CampaignsParts:
    """What campaigns is built from; flows/compose.py fills it in."""

    source: Source[Batch]
    tick: Step
    encode: Apply
    sink: Sink[Any]


def build(parts: CampaignsParts) -> Dataflow:
    """Draw the graph."""
    flow = Dataflow("campaigns")
    records = op.input("runs", flow, parts.source)
    # Batch[Message]
    ticked = fork("tick", records, parts.tick)
    # beside it Batch[Outbound | Timer | Outcome | DeadLetter]
    decided = op.merge("decided", ticked.oks, ticked.outs)
    encoded = apply("encode", decided, parts.encode)
    # Batch[Record]
    op.output("kafka", to_process("process", encoded), parts.sink)
    return flow
