"""Definitions by kind, tenant and name, and a view of them that flows keep at hand."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import uuid4

import msgspec

from schemas.definitions import Definition, Kind
from state.errors import StateCorruptError
from state.keys import definition_lease_key, definitions_key, definitions_mark_key
from state.leases import hold_lease, release_lease
from state.redis_client import Call, RedisClient, Script

REFRESH_S = 0.2
"""How old a view may be: a change is seen everywhere well within a second."""

T = TypeVar("T")


class Removed(NamedTuple):
    """A definition that was removed. at_ms: when Kafka took that."""

    kind: Kind
    tenant: str
    name: str
    at_ms: int


class Definitions(Protocol):
    """What people have defined. The later record wins, by Kafka's time: a replay changes nothing.

    All raise StateUnavailableError.
    """

    def apply(self, changes: Sequence[Definition | Removed]) -> None:
        """Store and remove, in this order. O(changes); one round trip."""
        ...

    def get(self, kind: Kind, tenant: str, name: str) -> Definition | None:
        """Give one. O(1); one round trip."""
        ...

    def all(self, kind: Kind, tenant: str) -> dict[str, Definition]:
        """Give a tenant's by name, sorted. O(definitions); one round trip."""
        ...

    def marks(self, kind: Kind, tenants: Sequence[str]) -> list[str]:
        """Give for each tenant a text that changes with every change; "" while there was none.

        O(tenants); one round trip.
        """
        ...

    def hold(self, kind: Kind, tenant: str, name: str, owner: str, *, ttl_s: float) -> bool:
        """Take or keep the right to change one; False when another has it. One round trip."""
        ...

    def release(self, kind: Kind, tenant: str, name: str, owner: str) -> None:
        """Give that right back, if one has it. One round trip."""
        ...


# KEYS: the tenant's hash of this kind, its mark. ARGV: name, Kafka's time, the definition or "" to
# remove it, a new mark. What is stored begins with its time and a blank.
_APPLY = Script(
    "definition",
    """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored and tonumber(string.match(stored, '^%d+')) > tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then
  if not stored then return 0 end
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  if stored == ARGV[3] then return 0 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('SET', KEYS[2], ARGV[4])
return 1
""",
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Definition).decode


class RedisDefinitions:
    """Definitions in Redis: a hash per tenant and kind; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def apply(self, changes: Sequence[Definition | Removed]) -> None:
        """See Definitions."""
        self._client.call(
            [
                Call(
                    _APPLY,
                    [
                        definitions_key(one.tenant, one.kind),
                        definitions_mark_key(one.tenant, one.kind),
                    ],
                    [
                        one.name,
                        one.at_ms,
                        b"" if isinstance(one, Removed) else _write(one),
                        uuid4().hex,
                    ],
                )
                for one in changes
            ]
        )

    def get(self, kind: Kind, tenant: str, name: str) -> Definition | None:
        """See Definitions."""
        blob = self._client.run("HGET", definitions_key(tenant, kind), name)
        return None if blob is None else _read(blob)

    def all(self, kind: Kind, tenant: str) -> dict[str, Definition]:
        """See Definitions."""
        found = self._client.run("HVALS", definitions_key(tenant, kind))
        return {one.name: one for one in sorted(map(_read, found), key=lambda one: one.name)}

    def marks(self, kind: Kind, tenants: Sequence[str]) -> list[str]:
        """See Definitions."""
        where = [definitions_mark_key(tenant, kind) for tenant in tenants]
        return [(blob or b"").decode() for blob in self._client.get_all(where, where)]

    def hold(self, kind: Kind, tenant: str, name: str, owner: str, *, ttl_s: float) -> bool:
        """See Definitions."""
        return hold_lease(
            self._client, definition_lease_key(tenant, kind, name), owner, ttl_s=ttl_s
        )

    def release(self, kind: Kind, tenant: str, name: str, owner: str) -> None:
        """See Definitions."""
        release_lease(self._client, definition_lease_key(tenant, kind, name), owner)


def _write(one: Definition) -> bytes:
    return b"%d %b" % (one.at_ms, _encode(one))


def _read(blob: bytes) -> Definition:
    try:
        return _decode(blob.partition(b" ")[2])
    except msgspec.MsgspecError as error:
        raise StateCorruptError(f"a definition cannot be read: {error}") from error


class Watched(Generic[T]):
    """All definitions of a kind, decoded, as they were at most refresh_s ago.

    tenants: whose. decode: makes what is used of a definition; one for which it raises ValueError
    is left out, and unreadable() is told. monotonic: seconds.
    """

    def __init__(
        self,
        definitions: Definitions,
        kind: Kind,
        tenants: Iterable[str],
        decode: Callable[[Definition], T],
        *,
        unreadable: Callable[[Definition, ValueError], None] = lambda _one, _error: None,
        refresh_s: float = REFRESH_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._definitions = definitions
        self._kind = kind
        self._tenants = sorted(tenants)
        self._decode = decode
        self._unreadable = unreadable
        self._refresh_s = refresh_s
        self._monotonic = monotonic
        self._marks = dict.fromkeys(self._tenants, "")
        self._known: dict[str, dict[str, T]] = {tenant: {} for tenant in self._tenants}
        self._fresh_until_s = float("-inf")

    def of(self, tenant: str) -> Mapping[str, T]:
        """Give a tenant's by name; nothing for an unknown tenant. Raises StateUnavailableError."""
        if self._monotonic() >= self._fresh_until_s:
            self.refresh()
        return self._known.get(tenant, {})

    def known(self, tenant: str) -> Mapping[str, T]:
        """Give what was read last, without a look at whether it changed; for any thread."""
        return self._known.get(tenant, {})

    def refresh(self) -> None:
        """Read what changed since: one round trip, and one for each tenant with a change."""
        marks = self._definitions.marks(self._kind, self._tenants)
        for tenant, mark in zip(self._tenants, marks, strict=True):
            if mark != self._marks[tenant]:
                self._known[tenant] = self._read(tenant)
                self._marks[tenant] = mark
        self._fresh_until_s = self._monotonic() + self._refresh_s

    def _read(self, tenant: str) -> dict[str, T]:
        known: dict[str, T] = {}
        for name, one in self._definitions.all(self._kind, tenant).items():
            try:
                known[name] = self._decode(one)
            except ValueError as error:
                self._unreadable(one, error)
        return known
