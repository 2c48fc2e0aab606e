"""deliver: from deliveries to a provider, one process per platform."""

# deliveries ─ decode ─ hooks ─ send ─ settle ─► outcomes
#                                         └────► timers (retries), dead tokens, dead letters

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from operators.steps import Apply, Step, apply, fork, keep, to_process
from schemas.stream import Batch


@dataclass(frozen=True)
class DeliverParts:
    """What deliver is built from; flows/compose.py fills it in.

    send: hands a batch to the platform's sink and gives what has settled, in order.
    """

    platform: str
    source: Source[Batch]
    decode: Step
    hooks: Step
    send: Callable[[Batch], list[Batch]]
    settle: Step
    encode: Apply
    sink: Sink[Any]


def build(parts: DeliverParts) -> Dataflow:
    """Draw the graph."""
    flow = Dataflow(f"deliver_{parts.platform}")
    records = op.input("deliveries", flow, parts.source)
    # Batch[Message]
    deliveries = keep("decode", records, parts.decode)
    # Batch[(Delivery, Source)], with dead letters: they wait for the batch's answers, as its
    # positions do
    hooked = keep("hooks", deliveries, parts.hooks)
    # with outcomes
    answered = op.flat_map("send", hooked, parts.send)
    # Batch[Settled]
    settled = fork("settle", answered, parts.settle)
    # Batch[Outcome], beside it Batch[Timer | TokenDeath | DeadLetter | Outcome]
    decided = op.merge("decided", settled.oks, settled.outs)
    encoded = apply("encode", decided, parts.encode)
    # Batch[Record]
    op.output("kafka", to_process("process", encoded), parts.sink)
    return flow
