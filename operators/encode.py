"""Decisions to records: what goes to which topic, under which key."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from operators.oversize import MAX_RAW_BYTES, MAX_RECORD_BYTES, fitting, instead_of
from operators.pace import delivery_key
from operators.work import Outbound
from schemas.pipeline import DeadLetter, Delivery, Outcome, Timer, TokenDeath
from schemas.registry import registry_key
from schemas.stream import Record
from schemas.topics import DELIVERIES, OUTCOMES, TOKEN_DEATHS

__all__ = ["MAX_RAW_BYTES", "Encode"]

_encode = msgspec.msgpack.Encoder().encode


class Encode:
    """Turns structs into records.

    dead_letters: the topic that this flow's dead letters go to; what is longer than MAX_RAW_BYTES
    is cut, and what is too large for any record becomes one, with an outcome. timer: puts a timer
    on its slot, see flows/timer_wheel. watch: sees all that was decided, for metrics and logs.
    """

    def __init__(
        self,
        *,
        dead_letters: str,
        timer: Callable[[Timer], Record],
        watch: Callable[[Sequence[Any]], None] = lambda _items: None,
    ) -> None:
        self._watch = watch
        self._dead_letters = dead_letters
        self._of: dict[type, Callable[[Any], Record]] = {
            Delivery: _delivery,
            Outcome: _outcome,
            Outbound: _outbound,
            TokenDeath: _token_death,
            Timer: timer,
            DeadLetter: self._dead_letter,
            Record: lambda record: record,
        }

    def __call__(self, items: list[Any]) -> list[Record]:
        """Encode a batch of anything that a step decided."""
        self._watch(items)
        of = self._of
        records = [of[type(item)](item) for item in items]
        for record in records:
            value = record[2]
            if value is not None and len(value) > MAX_RECORD_BYTES:
                return self._without_giants(items, records)
        return records

    def _without_giants(self, items: list[Any], records: list[Record]) -> list[Record]:
        """Put something else in the place of what is too large for a record."""
        kept: list[Record] = []
        for item, record in zip(items, records, strict=True):
            if len(record.value or b"") > MAX_RECORD_BYTES:
                kept += self(instead_of(item, record))
            else:
                kept.append(record)
        return kept

    def _dead_letter(self, letter: DeadLetter) -> Record:
        return Record(self._dead_letters, None, _encode(fitting(letter)))


def _delivery(item: Delivery) -> Record:
    return Record(DELIVERIES[item.platform, item.priority], delivery_key(item), _encode(item))


def _outcome(item: Outcome) -> Record:
    return Record(OUTCOMES, None, _encode(item))


def _outbound(item: Outbound) -> Record:
    return Record(item.topic, item.key, _encode(item.value))


def _token_death(item: TokenDeath) -> Record:
    key = registry_key(item.tenant, item.user_id, item.device_id)
    return Record(TOKEN_DEATHS, key, _encode(item))
