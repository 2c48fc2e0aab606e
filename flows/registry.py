"""registry: from registrations to profiles."""

# devices, users, preferences, dead tokens, definitions, segments ─ decode ─ definitions ─ lists ─ profiles ─► Redis (as it goes)
#                                                                      │                              └─────► ClickHouse
#                                                                      └────────────────────────────────────► dead letters

from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from operators.steps import Apply, Step, apply, fork, to_process
from schemas.stream import Batch


@dataclass(frozen=True)
class RegistryParts:
    """What registry is built from; flows/compose.py fills it in."""

    source: Source[Batch]
    decode: Step
    definitions: Apply
    lists: Apply
    profiles: Apply
    encode: Apply
    sink: Sink[Any]


def build(parts: RegistryParts) -> Dataflow:
    """Draw the graph."""
    flow = Dataflow("registry")
    records = op.input("registrations", flow, parts.source)
    # Batch[Message]
    changes = fork("decode", records, parts.decode)
    # Batch[Change | Definition | Removed | ListChange], beside it Batch[DeadLetter]
    undefined = apply("definitions", changes.oks, parts.definitions)
    # Batch[Change | ListChange]
    others = apply("lists", undefined, parts.lists)
    # Batch[Change]
    written = apply("profiles", others, parts.profiles)
    # Batch[DeviceRow | UserRow]
    letters = apply("encode", changes.outs, parts.encode)
    merged = op.merge("merged", written, letters)
    op.output("stores", to_process("process", merged), parts.sink)
    return flow
