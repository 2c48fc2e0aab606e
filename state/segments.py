"""Segments: named sets of users, kept per shard, combined by set algebra inside the shard.

A name means the users whose own records name it, until something else is put up under it: an
uploaded list, a rule or a query. Those live in generations. A new one is built beside the one that
counts and switched to in one write, so that nobody ever reads half of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from schemas.segments import Expression

EVERYONE = "everyone"
"""The segment that the registry keeps all users of a tenant in; nobody else may write it."""
STAGED_S = 86_400
"""How long a generation may take to be built; what was left half-way is gone after that."""
REPLACED_S = 600
"""How long a generation that was replaced can still be read by who had begun with it."""


class Generation(msgspec.Struct, frozen=True):
    """What counts under a name. generation: letters, digits and `-`.

    order: of two, the higher one counts; milliseconds. kind: list, rule or query. version: of the
    definition. at_ms: when it was switched to. members: as many as there were then. previous: the
    generation before.
    """

    order: int
    generation: str
    kind: str
    version: int = 0
    at_ms: int = 0
    members: int = 0
    previous: str = ""


class Edit(NamedTuple):
    """Who joins and who leaves a segment; "" for the users' own records."""

    segment: str
    joining: Sequence[str] = ()
    leaving: Sequence[str] = ()
    generation: str = ""


class Segments(Protocol):
    """Segments by tenant. One exists from its first add, or switch, until its delete."""

    def add(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """Put users into a segment, which exists from then on; how many were not in it.

        No user at all makes an empty segment. O(users); one round trip.
        Raises StateUnavailableError, as all of these do.
        """
        ...

    def remove(self, tenant: str, shards: int, segment: str, user_ids: Iterable[str]) -> int:
        """Take users out of a segment; how many were in it. O(users); one round trip."""
        ...

    def delete(self, tenant: str, shards: int, segment: str) -> None:
        """Forget a segment. O(users), freed in the background; two round trips."""
        ...

    def members(self, tenant: str, shard: int, expression: Expression) -> list[str]:
        """Give the users of one shard whom the expression means, sorted by code point.

        A segment that does not exist is empty. O(members of all segments named, in the shard),
        atomic; two round trips.
        """
        ...

    def count(self, tenant: str, shards: int, expression: Expression) -> int:
        """Count the users whom the expression means, over all shards.

        O(shards) for one segment, else O(members of all segments named); two round trips.
        """
        ...

    def exists(self, tenant: str, names: Iterable[str]) -> set[str]:
        """Give those of the names that exist; EVERYONE always does. O(names); one round trip."""
        ...

    def names(self, tenant: str) -> list[str]:
        """Give all names but EVERYONE, sorted. O(segments); one round trip."""
        ...

    def edit(self, tenant: str, shards: int, edits: Sequence[Edit]) -> None:
        """Let users join and leave many segments, or generations of them; names are not noted.

        O(users); one round trip.
        """
        ...

    def stage(
        self, tenant: str, shards: int, segment: str, generation: str, user_ids: Iterable[str]
    ) -> None:
        """Put users into a generation that is being built; it vanishes unless switched to in time.

        O(users); one round trip.
        """
        ...

    def switch(self, tenant: str, shards: int, segment: str, to: Generation) -> bool:
        """Let a generation count from now on; False, and nothing changes, when a later one does.

        Its members and previous are filled in here. The one before stays readable for REPLACED_S.
        May be repeated. O(shards); five round trips.
        """
        ...

    def walk(self, tenant: str, shard: int, segment: str, *, step: int) -> Iterator[list[str]]:
        """Give the users of a segment of users' records in one shard, about `step` at once.

        Whoever is in it all the time comes; others may, and one may come twice. One round trip a
        step.
        """
        ...

    def drop(self, tenant: str, shards: int, segment: str, generation: str) -> None:
        """Forget a generation that does not count. O(users) in the background; one round trip."""
        ...

    def generations(
        self, tenant: str, names: Iterable[str] | None = None
    ) -> Mapping[str, Generation]:
        """Give what counts under these names, or under all; names of users' records are left out.

        O(names); one round trip.
        """
        ...
