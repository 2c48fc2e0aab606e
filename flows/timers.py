"""timers: from due times to topics."""

# timers ─ wheel ─ release ─► the topic that each timer names

from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from operators.steps import Apply, Step, apply, fork, to_process
from schemas.stream import Batch


@dataclass(frozen=True)
class TimersParts:
    """What timers is built from; flows/compose.py fills it in."""

    source: Source[Batch]
    release: Step
    encode: Apply
    sink: Sink[Any]


def build(parts: TimersParts) -> Dataflow:
    """Draw the graph."""
    flow = Dataflow("timers")
    due = op.input("wheel", flow, parts.source)
    # Batch[Timer | DeadLetter]
    released = fork("release", due, parts.release)
    decided = op.merge("decided", released.oks, released.outs)
    encoded = apply("encode", decided, parts.encode)
    # Batch[Record]
    op.output("kafka", to_process("process", encoded), parts.sink)
    return flow
