"""Segments in memory; see state/memory.py."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from schemas.segments import Expression
from state import keys
from state.segments import EVERYONE, Edit, Generation


class MemorySegments:
    """Segments as one set per shard and generation; see Segments. Nothing expires here."""

    def __init__(self) -> None:
        self._names: set[tuple[str, str]] = set()
        self._stored: dict[tuple[str, int, str, str], set[str]] = {}
        self._generations: dict[tuple[str, str], Generation] = {}

    def add(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """See Segments."""
        keys.checked_tenant(tenant)
        self._names.add((tenant, segment))
        return self._put(tenant, shards, segment, "", user_ids)

    def remove(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """See Segments."""
        return self._take(tenant, shards, segment, "", user_ids)

    def delete(self, tenant: str, shards: int, segment: str) -> None:
        """See Segments."""
        self._names.discard((tenant, segment))
        found = self._generations.pop((tenant, segment), None)
        for generation in ("", *((found.generation, found.previous) if found else ())):
            self.drop(tenant, shards, segment, generation)

    def members(self, tenant: str, shard: int, expression: Expression) -> list[str]:
        """See Segments."""
        return sorted(self._evaluate(tenant, shard, expression))

    def count(self, tenant: str, shards: int, expression: Expression) -> int:
        """See Segments."""
        return sum(len(self._evaluate(tenant, shard, expression)) for shard in range(shards))

    def exists(self, tenant: str, names: Iterable[str]) -> set[str]:
        """See Segments."""
        return {name for name in names if name == EVERYONE or (tenant, name) in self._names}

    def names(self, tenant: str) -> list[str]:
        """See Segments."""
        return sorted(name for of, name in self._names if of == tenant and name != EVERYONE)

    def edit(self, tenant: str, shards: int, edits: Sequence[Edit]) -> None:
        """See Segments."""
        for one in edits:
            self._put(tenant, shards, one.segment, one.generation, one.joining)
            self._take(tenant, shards, one.segment, one.generation, one.leaving)

    def stage(
        self, tenant: str, shards: int, segment: str, generation: str, user_ids: Iterable[str]
    ) -> None:
        """See Segments."""
        self._put(tenant, shards, segment, generation, user_ids)

    def switch(self, tenant: str, shards: int, segment: str, to: Generation) -> bool:
        """See Segments."""
        stored = self._generations.get((tenant, segment))
        previous = ""
        if stored is not None:
            is_same = stored.generation == to.generation
            if not is_same and stored.order > to.order:
                return False
            previous = stored.previous if is_same else stored.generation
        shard_sets = (self._set(tenant, n, segment, to.generation) for n in range(shards))
        members = sum(map(len, shard_sets))
        self._generations[tenant, segment] = msgspec.structs.replace(
            to, members=members, previous=previous
        )
        self._names.add((tenant, segment))
        return True

    def walk(self, tenant: str, shard: int, segment: str, *, step: int) -> Iterator[list[str]]:
        """See Segments."""
        found = sorted(self._set(tenant, shard, segment, ""))
        yield from (found[at : at + step] for at in range(0, len(found), step))

    def drop(self, tenant: str, shards: int, segment: str, generation: str) -> None:
        """See Segments."""
        for shard in range(shards):
            self._stored.pop((tenant, shard, segment, generation), None)

    def generations(
        self, tenant: str, names: Iterable[str] | None = None
    ) -> Mapping[str, Generation]:
        """See Segments."""
        asked = None if names is None else set(names)
        return {
            name: found
            for (of, name), found in sorted(self._generations.items(), key=lambda item: item[0])
            if of == tenant and (asked is None or name in asked)
        }

    def _put(
        self, tenant: str, shards: int, segment: str, generation: str, user_ids: Iterable[str]
    ) -> int:
        added = 0
        for user in set(user_ids):
            where = (tenant, keys.shard_of(user, shards), segment, generation)
            members = self._stored.setdefault(where, set())
            added += user not in members
            members.add(user)
        return added

    def _take(
        self, tenant: str, shards: int, segment: str, generation: str, user_ids: Iterable[str]
    ) -> int:
        removed = 0
        for user in set(user_ids):
            members = self._set(tenant, keys.shard_of(user, shards), segment, generation)
            removed += user in members
            members.discard(user)
        return removed

    def _set(self, tenant: str, shard: int, segment: str, generation: str) -> set[str]:
        return self._stored.get((tenant, shard, segment, generation), set())

    def _evaluate(self, tenant: str, shard: int, expression: Expression) -> set[str]:
        if isinstance(expression, str):
            found = self._generations.get((tenant, expression))
            return self._set(tenant, shard, expression, found.generation if found else "")
        left = self._evaluate(tenant, shard, expression.left)
        right = self._evaluate(tenant, shard, expression.right)
        if expression.operator == "&":
            return left & right
        return left | right if expression.operator == "|" else left - right
