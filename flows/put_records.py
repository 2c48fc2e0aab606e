"""Records onto Kafka beside a flow's own, each acknowledged."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException, Producer

from flows.checkpoint import produce
from schemas.stream import Record

TIMEOUT_S = 30.0


class NotPutError(Exception):
    """Kafka did not take all records in time; any of them may be there."""


class PutRecords:
    """An idempotent producer. settings: librdkafka options. Connects at its first use."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = {
            **settings,
            "enable.idempotence": True,
            "message.timeout.ms": int(TIMEOUT_S * 1_000),
        }
        self._producer: Producer | None = None

    def __call__(self, records: Sequence[Record]) -> None:
        """Put records and wait until Kafka has them all. Raises NotPutError."""
        failures: list[str] = []

        def told(error: Any, _message: Any) -> None:
            if error is not None:
                failures.append(error.str())

        if self._producer is None:
            self._producer = Producer(self._settings)
        try:
            produce(self._producer, records, on_delivery=told)
            left = self._producer.flush(TIMEOUT_S + 1)
        except (KafkaException, BufferError) as error:
            raise NotPutError(str(error)) from error
        if left or failures:
            raise NotPutError(failures[0] if failures else "Kafka did not answer")
