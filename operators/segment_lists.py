"""Uploaded segments on the registry's way: their records, and what each does to the stores."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from schemas.decode import BadMessageError
from schemas.segment_lists import ListHead, ListPart, head_key, part_key, split_list_key
from schemas.stream import Message
from schemas.tenant import Tenant, shards_of
from state.segments import Edit, Generation, Segments
from state.uploads import Uploads

LIST = "list"
"""The kind of generation that an upload is."""

_decode_part = msgspec.msgpack.Decoder(ListPart).decode
_decode_head = msgspec.msgpack.Decoder(ListHead).decode


class PutUp(NamedTuple):
    """From at_ms on, by Kafka's time, the upload is the segment."""

    head: ListHead
    at_ms: int


class TakenDown(NamedTuple):
    """The list is gone since at_ms."""

    tenant: str
    segment: str
    at_ms: int


class PartCleared(NamedTuple):
    """A part of an upload that nobody needs any more was removed from the topic."""

    tenant: str
    segment: str
    upload: str
    number: int


ListChange = ListPart | PutUp | TakenDown | PartCleared


def decode_list(message: Message) -> ListChange:
    """Read a record of the topic `segments`. Raises BadMessageError and msgspec's errors."""
    names, value = split_list_key(message.key()), message.value()
    tenant, segment, *of_part = names
    at_ms = message.timestamp()[1]
    if not of_part:
        if value is None:
            return TakenDown(tenant, segment, at_ms)
        head = _decode_head(value)
        _check_key(message, head_key(head.tenant, head.segment))
        return PutUp(head, at_ms)
    if value is None:
        return PartCleared(tenant, segment, of_part[0], int(of_part[1]))
    part = _decode_part(value)
    _check_key(message, part_key(part.tenant, part.segment, part.upload, part.number))
    return part


def _check_key(message: Message, expected: bytes) -> None:
    if message.key() != expected:
        raise BadMessageError(f"the record key must be {expected.decode()[:200]}, as the body says")


class WriteLists:
    """Applies uploads and passes on the rest.

    Each write is idempotent, and the topic has one order: a replayed batch leaves the same state.
    """

    def __init__(
        self, tenants: Mapping[str, Tenant], *, segments: Segments, uploads: Uploads
    ) -> None:
        self._tenants = tenants
        self._segments = segments
        self._uploads = uploads

    def __call__(self, changes: list[Any]) -> list[Any]:
        """Write what is of lists, in order: a handful of round trips each."""
        rest = []
        for change in changes:
            if isinstance(change, ListPart):
                self._part(change)
            elif isinstance(change, PutUp):
                self._put_up(change)
            elif isinstance(change, TakenDown):
                self._take_down(change)
            elif isinstance(change, PartCleared):
                if not change.number:  # the last one to go
                    self._uploads.forget(*change[:3])
            else:
                rest.append(change)
        return rest

    def _part(self, part: ListPart) -> None:
        tenant, segment = part.tenant, part.segment
        shards = shards_of(self._tenants, tenant)
        if part.mode == "replace":
            self._segments.stage(tenant, shards, segment, part.upload, part.users)
        else:
            self._change(part, shards)
        # Last: whoever waits for the upload looks at this.
        self._uploads.note(tenant, segment, {part.upload: part.number + 1})

    def _change(self, part: ListPart, shards: int) -> None:
        tenant, segment = part.tenant, part.segment
        counting = self._segments.generations(tenant, [segment]).get(segment)
        if counting is None or counting.generation != part.base:
            return  # replaced since: nobody reads what it was added to
        joining, leaving = (part.users, ()) if part.mode == "add" else ((), part.users)
        edit = Edit(segment, joining, leaving, generation=part.base)
        self._segments.edit(tenant, shards, [edit])

    def _put_up(self, change: PutUp) -> None:
        head, at_ms = change
        to = Generation(order=at_ms, generation=head.upload, kind=LIST, at_ms=at_ms)
        shards = shards_of(self._tenants, head.tenant)
        self._segments.switch(head.tenant, shards, head.segment, to)

    def _take_down(self, change: TakenDown) -> None:
        tenant, segment, at_ms = change
        counting = self._segments.generations(tenant, [segment]).get(segment)
        if counting is not None and counting.kind == LIST and counting.order <= at_ms:
            self._segments.delete(tenant, shards_of(self._tenants, tenant), segment)
