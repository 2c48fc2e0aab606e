"""Records onto topics, and definitions that flows have by the time the call returns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from confluent_kafka import KafkaException, Producer

from api.waiting import wait_until
from schemas.definitions import (
    MAX_DEFINITION_BYTES,
    Definition,
    DefinitionRecord,
    Kind,
    definition_key,
)
from schemas.stream import Record
from schemas.topics import DEFINITIONS
from state.definitions import Definitions
from state.errors import StateError

TIMEOUT_S = 15.0
LEASE_S = 60.0
"""How long a writer has the right to change a definition: longer than a change may take."""


class PublishError(Exception):
    """Kafka did not take it, or the registry does not follow; the message says what to do."""


class ConflictError(Exception):
    """Someone else has changed the definition meanwhile."""


class Publisher:
    """An idempotent producer. settings: librdkafka options. Close it, or use it as a context."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._where = str(settings.get("bootstrap.servers", ""))
        self._producer = Producer(
            {
                **settings,
                "enable.idempotence": True,
                "message.timeout.ms": int(TIMEOUT_S * 1_000),
                "log_level": 0,
            }
        )

    def put(self, records: Sequence[Record]) -> None:
        """Put records on their topics and wait until Kafka has them all. Raises PublishError."""
        failures: list[str] = []

        def told(error: Any, _message: Any) -> None:
            if error is not None:
                failures.append(error.str())

        try:
            for record in records:
                self._producer.produce(record.topic, record.value, record.key, on_delivery=told)
            left = self._producer.flush(TIMEOUT_S + 1)
        except (KafkaException, BufferError) as error:
            raise PublishError(f"{self._where}: {error}") from error
        if left or failures:
            raise PublishError(f"{self._where}: {failures[0] if failures else 'no answer'}")


class DefinitionWriter:
    """Writes definitions as records, and waits until the registry has put them into Redis.

    Of several who change one at once, one comes after the other, so that each sees what the one
    before it has done. wait_s: for the registry; 0 waits for Kafka alone.
    """

    def __init__(
        self, publisher: Publisher, definitions: Definitions, *, wait_s: float = TIMEOUT_S
    ) -> None:
        self._publisher = publisher
        self._definitions = definitions
        self._wait_s = wait_s

    def put(
        self,
        kind: Kind,
        tenant: str,
        name: str,
        body: Mapping[str, Any],
        *,
        over: int | None = None,
    ) -> int:
        """Define; give the new version. over: the version that it must replace, 0 for none.

        Raises ConflictError, PublishError, StateError.
        """
        with self._alone(kind, tenant, name):
            return self._put(kind, tenant, name, body, over)

    def _put(
        self, kind: Kind, tenant: str, name: str, body: Mapping[str, Any], over: int | None
    ) -> int:
        version = self._version(kind, tenant, name, over)
        record = DefinitionRecord(
            kind=kind,
            tenant=tenant,
            name=name,
            version=version + 1,
            updated_at=datetime.now(UTC),
            body=dict(body),
        )
        raw = record.to_json()
        if len(raw) > MAX_DEFINITION_BYTES:
            raise PublishError(
                f"{kind} {name!r} has {len(raw)} bytes: use at most {MAX_DEFINITION_BYTES}"
            )
        self._publisher.put([Record(DEFINITIONS, record.key, raw)])
        self._await(kind, tenant, name, lambda now: now is not None and now.version > version)
        return version + 1

    def remove(self, kind: Kind, tenant: str, name: str, *, over: int | None = None) -> None:
        """Remove a definition. over: as for put. Raises ConflictError, PublishError, StateError."""
        with self._alone(kind, tenant, name):
            self._version(kind, tenant, name, over)
            self._publisher.put([Record(DEFINITIONS, definition_key(kind, tenant, name), None)])
            self._await(kind, tenant, name, lambda now: now is None)

    def _version(self, kind: Kind, tenant: str, name: str, over: int | None) -> int:
        """Give the version there is, 0 for none. Raises ConflictError when it must be another."""
        known = self._definitions.get(kind, tenant, name)
        version = known.version if known is not None else 0
        if over is not None and version != over:
            raise ConflictError(f"{kind} {name!r} is at version {version} by now, not {over}")
        return version

    @contextmanager
    def _alone(self, kind: Kind, tenant: str, name: str) -> Iterator[None]:
        """Have the right to change it. Raises ConflictError when others keep it."""
        owner = uuid4().hex

        def is_mine() -> bool:
            return self._definitions.hold(kind, tenant, name, owner, ttl_s=LEASE_S)

        if not wait_until(is_mine, timeout_s=TIMEOUT_S):
            raise ConflictError(f"{kind} {name!r} is being changed by others: try again")
        try:
            yield
        finally:
            # What is done is done; if Redis is away now, time takes the lease.
            with suppress(StateError):
                self._definitions.release(kind, tenant, name, owner)

    def _await(
        self, kind: Kind, tenant: str, name: str, holds: Callable[[Definition | None], bool]
    ) -> None:
        if not self._wait_s:
            return

        def is_there() -> bool:
            return holds(self._definitions.get(kind, tenant, name))

        if not wait_until(is_there, timeout_s=self._wait_s):
            raise PublishError(
                f"{kind} {name!r} is on its topic, but the registry flow has not taken it"
                f" within {self._wait_s:.0f} s: is `clarion flows run registry` running?"
            )
