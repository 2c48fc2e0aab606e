"""Caps, quotas and rates in memory; as memory.py."""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from state import keys
from state.caps import RECENT, REPLAY_MS, SUBWINDOWS, CapCheck, Limits, check_limits
from state.event_quotas import Taken
from state.event_quotas import check_taking as check_events
from state.keys import rate_key
from state.quotas import REMEMBERED_MS, check_taking
from state.rates import (
    LONGEST_HOLD_MS,
    MAX_SKEW_MS,
    RECOVERY_MS,
    SHRINK_EVERY_MS,
    SLOWEST,
    check_lease,
)


class _Exact:
    """The record of one user and name: times by message."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def knows(self, message_id: str) -> bool:
        return message_id in self._times

    def count(self, window_ms: int, now_ms: int) -> int:
        return sum(at > now_ms - window_ms for at in self._times.values())

    def record(self, message_id: str, name: str, limits: Limits, now_ms: int) -> None:
        del name  # the times serve all windows
        kept_ms = max(REPLAY_MS, *(window_ms for _, _, window_ms in limits))
        self._times = {m: at for m, at in self._times.items() if at > now_ms - kept_ms}
        self._times[message_id] = now_ms

    def again(self, message_id: str, now_ms: int) -> None:
        if message_id in self._times:
            self._times[message_id] = max(now_ms, self._times[message_id])


class _InSubwindows:
    """The record of one user and name: counts by window and part, and the latest messages."""

    def __init__(self) -> None:
        self._recent: list[str] = []
        self._counts: dict[int, dict[int, int]] = {}

    def knows(self, message_id: str) -> bool:
        return message_id in self._recent

    def count(self, window_ms: int, now_ms: int) -> int:
        first = (now_ms - window_ms + 1) // (window_ms // SUBWINDOWS)
        return sum(n for part, n in self._counts.get(window_ms, {}).items() if part >= first)

    def record(self, message_id: str, name: str, limits: Limits, now_ms: int) -> None:
        self._recent = [*self._recent, message_id][-RECENT:]
        for window_ms in {window_ms for of, _, window_ms in limits if of == name}:
            counts = self._counts.setdefault(window_ms, {})
            part = now_ms // (window_ms // SUBWINDOWS)
            counts[part] = counts.get(part, 0) + 1

    def again(self, message_id: str, now_ms: int) -> None:
        """Nothing: the parts do not tell messages apart."""


class MemoryCaps:
    """Caps in dicts; see Caps."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str, str], _Exact] = {}
        self._in_subwindows: dict[tuple[str, str, str], _InSubwindows] = {}

    def admit_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        keys.profile_keys(tenant, shards, [check.user_id for check in checks])
        for check in checks:
            check_limits(check.limits, exact=check.exact)
        return [self._admit(tenant, check, now_ms) for check in checks]

    def peek_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        keys.profile_keys(tenant, shards, [check.user_id for check in checks])
        for check in checks:
            check_limits(check.limits, exact=check.exact)
        return [self._judge(tenant, check, now_ms) for check in checks]

    def _admit(self, tenant: str, check: CapCheck, now_ms: int) -> bool | int:
        answer = self._judge(tenant, check, now_ms)
        if answer is not True:
            return answer
        records = {name: self._record(tenant, check, name) for name, _, _ in check.limits}
        if any(record.knows(check.message_id) for record in records.values()):
            for record in records.values():
                record.again(check.message_id, now_ms)
        else:
            for name, record in records.items():
                record.record(check.message_id, name, check.limits, now_ms)
        return True

    def _judge(self, tenant: str, check: CapCheck, now_ms: int) -> bool | int:
        records = {name: self._record(tenant, check, name) for name, _, _ in check.limits}
        if any(record.knows(check.message_id) for record in records.values()):
            return True
        for index, (name, limit, window_ms) in enumerate(check.limits):
            if records[name].count(window_ms, now_ms) >= limit:
                return index
        return True

    def _record(self, tenant: str, check: CapCheck, name: str) -> _Exact | _InSubwindows:
        where = (tenant, check.user_id, name)
        if check.exact:
            return self._exact.setdefault(where, _Exact())
        return self._in_subwindows.setdefault(where, _InSubwindows())


class MemoryDailyQuotas:
    """Quotas in dicts, for ever; see DailyQuotas."""

    def __init__(self) -> None:
        self._used: Counter[tuple[str, str]] = Counter()
        self._given: dict[tuple[str, str], tuple[int, int]] = {}

    def take_many(
        self, tenant: str, day: str, most: int, asked: Sequence[tuple[str, int]], now_ms: int
    ) -> list[int]:
        """See DailyQuotas."""
        check_taking(most, asked)
        hour, out = now_ms // REMEMBERED_MS, []
        for name, n in asked:
            known, at = self._given.get((tenant, name), (0, -1))
            if hour - at in {0, 1}:
                given = min(n, known)
            else:
                given = max(0, min(n, most - self._used[tenant, day]))
                self._used[tenant, day] += given
                self._given[tenant, name] = (given, hour)
            out.append(given)
        return out

    def used(self, tenant: str, day: str) -> int:
        """See DailyQuotas."""
        return self._used[tenant, day]


class MemoryEventQuotas:
    """Counters in a dict; see EventQuotas."""

    def __init__(self) -> None:
        self._used: Counter[tuple[str, str, str]] = Counter()

    def take(self, tenant: str, day: str, counters: Sequence[tuple[str, int]], n: int) -> Taken:
        """See EventQuotas."""
        check_events(counters, n)
        where = [(tenant, day, name) for name, _ in counters]
        most = [limit for _, limit in counters]
        pairs = list(zip(where, most, strict=True))
        lacks = [self._used[key] + n > limit for key, limit in pairs]
        short = lacks.index(True) if True in lacks else None
        if short is None:
            self._used.update(dict.fromkeys(where, n))
        return Taken([max(0, limit - self._used[key]) for key, limit in pairs], short)


class _Bucket(msgspec.Struct):
    tokens: float
    filled_to_ms: int
    share: float
    share_as_of_ms: int
    held_until_ms: int

    def share_at(self, now_ms: int) -> float:
        return min(1.0, self.share + max(0, now_ms - self.share_as_of_ms) / RECOVERY_MS)


class MemoryRates:
    """Token buckets in a dict; see Rates."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def lease(self, key: str, rate_per_s: float, want: int, lease_ms: int, now_ms: int) -> int:
        """See Rates."""
        check_lease(rate_per_s, lease_ms)
        bucket, now_ms = self._open(key, now_ms)
        rate_per_ms = rate_per_s / 1000 * bucket.share_at(now_ms)
        most = max(1.0, 2 * rate_per_ms * lease_ms)
        if bucket.tokens < 0:
            bucket.tokens = most
        gained = max(0, now_ms - bucket.filled_to_ms) * rate_per_ms
        tokens = min(most, bucket.tokens + gained)
        granted = 0
        if now_ms >= bucket.held_until_ms:
            granted = max(0, min(want, math.floor(tokens), math.ceil(tokens / 2)))
        bucket.tokens, bucket.filled_to_ms = tokens - granted, now_ms
        return granted

    def shares(self, keys: Sequence[str], now_ms: int) -> list[float]:
        """See Rates."""
        found = [self._buckets.get(rate_key(key)) for key in keys]
        return [1.0 if bucket is None else bucket.share_at(now_ms) for bucket in found]

    def slow_down(self, key: str, retry_after_ms: int, now_ms: int) -> None:
        """See Rates."""
        bucket, now_ms = self._open(key, now_ms)
        if bucket.share >= 1 or now_ms - bucket.share_as_of_ms >= SHRINK_EVERY_MS:
            bucket.share = max(SLOWEST, bucket.share_at(now_ms) / 2)
            bucket.share_as_of_ms = now_ms
        hold_ms = min(max(0, retry_after_ms), LONGEST_HOLD_MS)
        bucket.held_until_ms = max(bucket.held_until_ms, now_ms + hold_ms)

    def _open(self, key: str, now_ms: int) -> tuple[_Bucket, int]:
        """Give the bucket and the time that holds for it."""
        bucket = self._buckets.setdefault(rate_key(key), _Bucket(-1, now_ms, 1, now_ms, 0))
        if now_ms < bucket.filled_to_ms <= now_ms + MAX_SKEW_MS:
            now_ms = bucket.filled_to_ms
        return bucket, now_ms
