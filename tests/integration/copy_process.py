"""A flow of the product's own parts that copies a topic, and does nothing but commit.

In Kafka transactions, or at least once, as flows do whose store recognises what it has.

`python -m tests.integration.copy_process <JSON of Copy>`
"""

import json
import signal
import sys
import threading
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.checkpoint import Checkpoint, KafkaFlush
from flows.compose import Composer
from flows.kafka import KafkaSink
from flows.run import _run
from operators.steps import apply, to_process
from schemas.settings import load_settings
from schemas.stream import Message, Record


class Copy(NamedTuple):
    """From where to where, and as whom. name: of the group and the transactional ids."""

    bootstrap: str
    source: str
    target: str
    name: str
    instance: str
    options: dict[str, str]
    exactly_once: bool = True

    @property
    def group(self) -> str:
        """The consumer group of all instances."""
        return f"{self.name}.copy"

    @property
    def transactional_id(self) -> str:
        """The transactional id of this instance."""
        return f"{self.name}.copy.normal.{self.instance}"


def main() -> None:
    """Copy until SIGTERM."""
    copy = Copy(*json.loads(sys.argv[1]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings(
        kafka={
            "bootstrap": copy.bootstrap,
            "options": copy.options,
            "group_prefix": copy.name,
            "transactional_id_prefix": copy.name,
            "instance": copy.instance,
        },
        flow={"priorities": ["normal"], "epoch_ms": 20, "batch_size": 100},
    )

    def copied(messages: list[Message]) -> list[Record]:
        return [Record(copy.target, None, message.value()) for message in messages]

    composer = Composer(settings, stop.is_set)
    lanes = composer.one_lane("copy", [copy.source])
    checkpoint = (
        composer.transactional("copy", lanes)
        if copy.exactly_once
        else Checkpoint(
            "copy", lanes, KafkaFlush(lanes, composer.kafka(), patience=composer.patience)
        )
    )
    flow = Dataflow("copy")
    records = op.input("source", flow, composer.source(checkpoint))
    op.output("sink", to_process("process", apply("copy", records, copied)), KafkaSink(checkpoint))
    _run(composer.process("copy", flow, checkpoint))


if __name__ == "__main__":
    main()
