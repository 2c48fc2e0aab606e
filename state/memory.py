"""The ports in memory: for tests, and as the specification that the Redis versions match.

Nothing is bounded or shared between processes here. See the ports for what each method means.
"""

from collections.abc import Mapping, Sequence

import msgspec

from schemas.definitions import Definition, Kind
from state import keys
from state.dedup import check_seen
from state.definitions import Removed
from state.ledger import NotOwnerError
from state.memory_segments import MemorySegments
from state.profiles import Change, Profile, next_version
from state.tokens import Claim, Owner, TokenClaim

__all__ = [
    "MemoryDedup",
    "MemoryDefinitions",
    "MemoryLedger",
    "MemoryProfiles",
    "MemorySegments",
    "MemoryTokens",
]


class MemoryProfiles:
    """Profiles in a dict; see Profiles."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], Profile] = {}

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Profile | None]:
        """See Profiles."""
        keys.profile_keys(tenant, shards, user_ids)
        return [self._stored.get((tenant, user)) for user in user_ids]

    def update_many(
        self, tenant: str, shards: int, changes: Mapping[str, Change]
    ) -> dict[str, Profile | None]:
        """See Profiles."""
        keys.profile_keys(tenant, shards, list(changes))
        result: dict[str, Profile | None] = {}
        for user, change in changes.items():
            old = self._stored.get((tenant, user))
            result[user] = new = next_version(user, old, change(old))
            if new is None:
                self._stored.pop((tenant, user), None)
            else:
                self._stored[tenant, user] = new
        return result


class _Owned(msgspec.Struct, frozen=True):
    owner: Owner
    at_ms: int
    left: Owner | None


class MemoryTokens:
    """Token owners in a dict; see Tokens."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], _Owned] = {}

    def claim_many(
        self, tenant: str, claims: Sequence[TokenClaim | tuple[str, str, str, int]]
    ) -> list[Claim]:
        """See Tokens."""
        keys.checked_tenant(tenant)
        return [self._claim(tenant, TokenClaim(*claim)) for claim in claims]

    def _claim(self, tenant: str, claim: TokenClaim) -> Claim:
        own = Owner(claim.user_id, claim.device_id)
        at_ms, left = claim.at_ms, None
        last = self._stored.get((tenant, claim.token))
        if last is not None and last.owner == own:
            at_ms, left = max(at_ms, last.at_ms), last.left
        elif last is not None:
            left = last.owner
            if at_ms <= last.at_ms:
                return Claim(left, won=False)
        self._stored[tenant, claim.token] = _Owned(own, at_ms, left)
        return Claim(left, won=True)

    def release_many(
        self, tenant: str, releases: Sequence[TokenClaim | tuple[str, str, str, int]]
    ) -> list[bool]:
        """See Tokens."""
        keys.checked_tenant(tenant)
        return [self._release(tenant, TokenClaim(*release)) for release in releases]

    def _release(self, tenant: str, release: TokenClaim) -> bool:
        last = self._stored.get((tenant, release.token))
        own = Owner(release.user_id, release.device_id)
        if last is None or last.owner != own or last.at_ms > release.at_ms:
            return False
        del self._stored[tenant, release.token]
        return True

    def owners(self, tenant: str, tokens: Sequence[str]) -> list[Owner | None]:
        """See Tokens."""
        keys.checked_tenant(tenant)
        found = [self._stored.get((tenant, token)) for token in tokens]
        return [None if owned is None else owned.owner for owned in found]


class MemoryDefinitions:
    """Definitions in a dict; see Definitions."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], dict[str, Definition]] = {}
        self._marks: dict[tuple[str, str], int] = {}
        self._leases: dict[tuple[str, str, str], str] = {}

    def apply(self, changes: Sequence[Definition | Removed]) -> None:
        """See Definitions."""
        for one in changes:
            where = (keys.checked_tenant(one.tenant), one.kind)
            stored = self._stored.setdefault(where, {})
            last = stored.get(one.name)
            if (last is not None and last.at_ms > one.at_ms) or last == one:
                continue
            if isinstance(one, Definition):
                stored[one.name] = one
            elif stored.pop(one.name, None) is None:
                continue
            self._marks[where] = self._marks.get(where, 0) + 1

    def get(self, kind: Kind, tenant: str, name: str) -> Definition | None:
        """See Definitions."""
        return self._stored.get((tenant, kind), {}).get(name)

    def all(self, kind: Kind, tenant: str) -> dict[str, Definition]:
        """See Definitions."""
        return dict(sorted(self._stored.get((tenant, kind), {}).items()))

    def marks(self, kind: Kind, tenants: Sequence[str]) -> list[str]:
        """See Definitions."""
        return [str(self._marks.get((tenant, kind), "")) for tenant in tenants]

    def hold(self, kind: Kind, tenant: str, name: str, owner: str, *, ttl_s: float) -> bool:  # noqa: ARG002 - ends only when it is given back
        """See Definitions."""
        return self._leases.setdefault((kind, tenant, name), owner) == owner

    def release(self, kind: Kind, tenant: str, name: str, owner: str) -> None:
        """See Definitions."""
        if self._leases.get((kind, tenant, name)) == owner:
            del self._leases[kind, tenant, name]


class MemoryDedup:
    """Idempotency keys in a dict, which never forgets; see Dedup."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], str] = {}

    def seen_many(
        self,
        idempotency_keys: Sequence[tuple[str, str]],
        coordinates: Sequence[str],
        ttl_s: int,
    ) -> list[str | None]:
        """See Dedup."""
        check_seen(idempotency_keys, coordinates, ttl_s)
        found: list[str | None] = []
        for (tenant, key), own in zip(idempotency_keys, coordinates, strict=True):
            first = self._stored.setdefault((keys.checked_tenant(tenant), key), own)
            found.append(None if first == own else first)
        return found

    def first_many(self, idempotency_keys: Sequence[tuple[str, str]]) -> list[str | None]:
        """See Dedup."""
        return [self._stored.get((keys.checked_tenant(t), key)) for t, key in idempotency_keys]


class MemoryLedger:
    """Marks in a dict; see Ledger."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str, int], int] = {}
        self._owners: dict[tuple[str, str, int], str] = {}

    def claim(
        self, group: str, topic: str, partitions: Sequence[int], owner: str
    ) -> dict[int, int]:
        """See Ledger."""
        for partition in partitions:
            self._owners[group, topic, partition] = owner
        return {
            partition: self._stored[group, topic, partition]
            for partition in partitions
            if (group, topic, partition) in self._stored
        }

    def mark(self, group: str, marks: Mapping[tuple[str, int], int], owner: str) -> None:
        """See Ledger."""
        for topic, partition in marks:
            if self._owners.setdefault((group, topic, partition), owner) != owner:
                raise NotOwnerError(f"{topic}:{partition} of group {group} was claimed by another")
        for (topic, partition), offset in marks.items():
            stored = self._stored.get((group, topic, partition), offset)
            self._stored[group, topic, partition] = max(stored, offset)
