"""Who builds which segments now, and what the last attempt came to."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from state.errors import StateCorruptError
from state.keys import segment_lease_key, segment_notes_key
from state.leases import hold_lease, release_lease
from state.redis_client import RedisClient

RULES = ""
"""What is leased for all rules of a tenant, which are built in one pass."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """The last attempt to build a segment. error: empty when it went well.

    version: of the definition. at_ms: when it began. took_ms: how long it took. since_ms: when the
    last one that went well began, or 0.
    """

    version: int
    at_ms: int
    took_ms: int
    error: str = ""
    since_ms: int = 0


class SegmentWork(Protocol):
    """Leases and notes, by tenant. Every method raises StateUnavailableError.

    A lease keeps work from being done twice at once; when it is lost all the same, what is built
    is right nevertheless.
    """

    def hold(self, tenant: str, what: str, owner: str, *, ttl_s: float) -> bool:
        """Take or keep a lease; False when another has it. One round trip."""
        ...

    def release(self, tenant: str, what: str, owner: str) -> None:
        """Give a lease back, if one has it. One round trip."""
        ...

    def note(self, tenant: str, notes: Mapping[str, Note]) -> None:
        """Note attempts, by segment. One round trip."""
        ...

    def notes(self, tenant: str) -> dict[str, Note]:
        """Give the last attempts, by segment. One round trip."""
        ...


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


class RedisSegmentWork:
    """Leases and notes in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def hold(self, tenant: str, what: str, owner: str, *, ttl_s: float) -> bool:
        """See SegmentWork."""
        return hold_lease(self._client, segment_lease_key(tenant, what), owner, ttl_s=ttl_s)

    def release(self, tenant: str, what: str, owner: str) -> None:
        """See SegmentWork."""
        release_lease(self._client, segment_lease_key(tenant, what), owner)

    def note(self, tenant: str, notes: Mapping[str, Note]) -> None:
        """See SegmentWork."""
        pairs = [value for name, note in notes.items() for value in (name, _encode(note))]
        if pairs:
            self._client.run("HSET", segment_notes_key(tenant), *pairs)

    def notes(self, tenant: str) -> dict[str, Note]:
        """See SegmentWork."""
        where = segment_notes_key(tenant)
        found = self._client.run("HGETALL", where)
        try:
            return {name.decode(): _decode(note) for name, note in sorted(found.items())}
        except msgspec.MsgspecError as error:
            raise StateCorruptError(f"{where!r} holds no notes: {error}") from None


class MemorySegmentWork:
    """Leases and notes in memory; see the port. A lease ends only when it is given back."""

    def __init__(self) -> None:
        self._leases: dict[tuple[str, str], str] = {}
        self._notes: dict[tuple[str, str], Note] = {}

    def hold(self, tenant: str, what: str, owner: str, *, ttl_s: float) -> bool:  # noqa: ARG002 - see the class
        """See SegmentWork."""
        return self._leases.setdefault((tenant, what), owner) == owner

    def release(self, tenant: str, what: str, owner: str) -> None:
        """See SegmentWork."""
        if self._leases.get((tenant, what)) == owner:
            del self._leases[tenant, what]

    def note(self, tenant: str, notes: Mapping[str, Note]) -> None:
        """See SegmentWork."""
        self._notes.update({(tenant, name): note for name, note in notes.items()})

    def notes(self, tenant: str) -> dict[str, Note]:
        """See SegmentWork."""
        return {name: note for (of, name), note in sorted(self._notes.items()) if of == tenant}
