"""Builds segments: rules over all profiles of a tenant, queries over what ClickHouse knows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from operators.segment_rules import QUERY, RULE, LiveSegment, edit_of
from schemas.segment_definition import SegmentBody
from state.errors import StateConflictError
from state.profiles import MAX_ATTEMPTS, Profile, Profiles
from state.segments import EVERYONE, Generation, Segments

STEP = 500


class Queries(Protocol):
    """Runs a definition's query, read-only and for one tenant."""

    def users(self, tenant: str, body: SegmentBody) -> Iterator[list[str]]:
        """Give the ids in blocks. Raises QueryError and AwayError, also midway."""
        ...


class QueryError(Exception):
    """A query was refused, failed or gave something else than user ids; the message says what."""


class AwayError(Exception):
    """What answers queries cannot do so now; nothing is known to be wrong with the query."""


class LostError(Exception):
    """Someone else builds it by now, or the process is to end: it is given up."""


class SegmentBuilder:
    """Builds generations and switches to them.

    keep_on: called between two steps; raises LostError to give up. now_ms: by the wall clock;
    policy_ms: by the clock that ages go by.
    """

    def __init__(
        self,
        *,
        profiles: Profiles,
        segments: Segments,
        queries: Queries,
        now_ms: Callable[[], int],
        policy_ms: Callable[[], int],
    ) -> None:
        self._profiles = profiles
        self._segments = segments
        self._queries = queries
        self._now_ms = now_ms
        self._policy_ms = policy_ms

    def build_rules(
        self, tenant: str, shards: int, *, rules: Sequence[LiveSegment], keep_on: Callable[[], None]
    ) -> int:
        """Judge all users of a tenant by some rules; give how many they were.

        The registry judges each profile that changes by the same rules from the moment they are
        defined. Here each profile is looked at once more after it was judged, so that of two who
        judge it the one that saw it last has the last word. A generation that counts already is
        set right in place. O(users); four round trips per STEP of them.
        """
        count = 0
        for shard in range(shards):
            for users in self._segments.walk(tenant, shard, EVERYONE, step=STEP):
                keep_on()
                self._judge(tenant, shards, rules, users)
                count += len(users)
        for rule in rules:
            to = Generation(
                order=rule.at_ms,
                generation=rule.generation,
                kind=RULE,
                version=rule.version,
                at_ms=self._now_ms(),
            )
            self._segments.switch(tenant, shards, rule.name, to)
        return count

    def _judge(
        self, tenant: str, shards: int, rules: Sequence[LiveSegment], users: list[str]
    ) -> None:
        found = dict(zip(users, self._profiles.get_many(tenant, shards, users), strict=True))
        for _ in range(MAX_ATTEMPTS):
            self._edit(tenant, shards, rules, found)
            again = self._profiles.get_many(tenant, shards, list(found))
            found = {
                user: profile
                for (user, before), profile in zip(found.items(), again, strict=True)
                if profile != before
            }
            if not found:
                return
        raise StateConflictError(f"{len(found)} profiles of tenant {tenant!r} kept changing")

    def _edit(
        self,
        tenant: str,
        shards: int,
        rules: Iterable[LiveSegment],
        profiles: Mapping[str, Profile | None],
    ) -> None:
        now_ms = self._policy_ms()
        self._segments.edit(
            tenant,
            shards,
            [
                edit_of(rule, rule.matches, profiles, now_ms)
                for rule in rules
                if rule.matches is not None
            ],
        )

    def build_query(
        self, tenant: str, shards: int, *, segment: LiveSegment, keep_on: Callable[[], None]
    ) -> int:
        """Run a query into a new generation and switch to it; give how many ids it gave.

        Raises QueryError, AwayError, LostError; what was staged until then is dropped.
        """
        began_ms = self._now_ms()
        generation = f"{began_ms:013d}-q{segment.version}"
        count = 0
        try:
            for users in self._queries.users(tenant, segment.body):
                keep_on()
                self._segments.stage(tenant, shards, segment.name, generation, users)
                count += len(users)
            keep_on()
        except (QueryError, AwayError, LostError):
            self._segments.drop(tenant, shards, segment.name, generation)
            raise
        to = Generation(
            order=max(began_ms, segment.at_ms),
            generation=generation,
            kind=QUERY,
            version=segment.version,
            at_ms=began_ms,
        )
        self._segments.switch(tenant, shards, segment.name, to)
        return count
