"""A flow that copies one topic to another: `python -m tests.bench.copy_flow <JSON of Copy>`.

Built from the product's source, sink and checkpoint, it does nothing but commit.
"""

import json
import signal
import sys
import threading
import time
from datetime import timedelta
from typing import Any, NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from flows.checkpoint import Checkpoint, Committer, KafkaFlush
from flows.kafka import KafkaSink, KafkaSource
from flows.lanes import LanePlan, Lanes
from flows.transaction import KafkaTransaction
from operators.steps import apply, to_process
from schemas.stream import Message, Record


class Copy(NamedTuple):
    """From where to where, and how. once: exactly, in transactions; else at least."""

    client_options: dict[str, str]
    source: str
    target: str
    once: bool
    epoch_ms: int


def build(copy: Copy, checkpoint: Checkpoint, stop: threading.Event) -> Dataflow:
    """Draw the graph."""

    def copied(messages: list[Message]) -> list[Record]:
        return [Record(copy.target, None, message.value()) for message in messages]

    source = KafkaSource(
        checkpoint, now_ms=lambda: time.time_ns() // 1_000_000, stopped=stop.is_set
    )
    flow = Dataflow("copy")
    records = op.input("source", flow, source)
    op.output("sink", to_process("process", apply("copy", records, copied)), KafkaSink(checkpoint))
    return flow


def main() -> None:
    """Copy until SIGTERM."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    copy = Copy(**given)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Every target has a group of its own, so each run reads the source from its beginning.
    lanes = Lanes(
        [LanePlan(f"bench.{copy.target}", [copy.source])], copy.client_options, instance="0"
    )
    committer: Committer
    if copy.once:
        committer = KafkaTransaction(lanes, copy.client_options, transactional_id="bench-copy")
    else:
        committer = KafkaFlush(lanes, copy.client_options)
    checkpoint = Checkpoint("copy", lanes, committer)
    run_main(  # type: ignore[no-untyped-call]  # bytewax has no types here
        build(copy, checkpoint, stop), epoch_interval=timedelta(milliseconds=copy.epoch_ms)
    )
    lanes.close()


if __name__ == "__main__":
    main()
