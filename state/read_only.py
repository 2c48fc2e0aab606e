"""Ports that answer from live state and change nothing: for rehearsals."""

from collections.abc import Sequence

from state.caps import CapCheck, Caps
from state.dedup import Dedup
from state.gatherings import Closed, Closing, Joined, Joining, window_id
from state.progress import Mark, MemoryProgress
from state.quotas import DailyQuotas, check_taking


class ReadOnlyDedup:
    """Tells what was seen before; records nothing. See Dedup."""

    def __init__(self, dedup: Dedup) -> None:
        self._dedup = dedup

    def seen_many(
        self,
        idempotency_keys: Sequence[tuple[str, str]],
        coordinates: Sequence[str],
        ttl_s: int,
    ) -> list[str | None]:
        """See Dedup; keys that repeat within the batch are not told."""
        del ttl_s
        found = self._dedup.first_many(idempotency_keys)
        return [
            None if first == own else first for first, own in zip(found, coordinates, strict=True)
        ]

    def first_many(self, idempotency_keys: Sequence[tuple[str, str]]) -> list[str | None]:
        """See Dedup."""
        return self._dedup.first_many(idempotency_keys)


class ReadOnlyCaps:
    """Judges each message as if it came alone; counts none. See Caps."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps

    def admit_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        return self._caps.peek_many(tenant, shards, checks, now_ms)

    def peek_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        return self._caps.peek_many(tenant, shards, checks, now_ms)


class ReadOnlyQuotas:
    """Gives out what is left of each day's quota, to this rehearsal alone. See DailyQuotas."""

    def __init__(self, quotas: DailyQuotas) -> None:
        self._quotas = quotas
        self._used: dict[tuple[str, str], int] = {}

    def take_many(
        self, tenant: str, day: str, most: int, asked: Sequence[tuple[str, int]], now_ms: int
    ) -> list[int]:
        """See DailyQuotas. Nobody asks twice here, so no id is remembered."""
        del now_ms
        check_taking(most, asked)
        used = self.used(tenant, day)
        given: list[int] = []
        for _, wanted in asked:
            given.append(max(0, min(wanted, most - used)))
            used += given[-1]
        self._used[tenant, day] = used
        return given

    def used(self, tenant: str, day: str) -> int:
        """See DailyQuotas."""
        key = (tenant, day)
        if key not in self._used:
            self._used[key] = self._quotas.used(tenant, day)
        return self._used[key]


class UnboundedLeases:
    """Grants whatever is asked: a rate delays messages and decides about none."""

    def take(self, key: str, rate_per_s: float, n: int, now_ms: int) -> int:
        """Give n."""
        del key, rate_per_s, now_ms
        return n


class NoProgress(MemoryProgress):
    """Keeps no marks: what is rehearsed is no run. See Progress."""

    def note(self, marks: Sequence[Mark]) -> None:
        """Keep none."""


class NoGatherings:
    """Windows that nobody else is in: an event waits as it would, had it opened one."""

    def join_many(
        self, tenant: str, _shards: int, joinings: Sequence[Joining], _now_ms: int
    ) -> list[Joined]:
        """Open a window for each."""
        return [
            Joined(window_id(tenant, one), one.due_ms, is_open=True, arms=True) for one in joinings
        ]

    def close_many(
        self, _tenant: str, _shards: int, closings: Sequence[Closing], _now_ms: int
    ) -> list[Closed]:
        """Give nothing."""
        return [Closed(0, []) for _ in closings]
