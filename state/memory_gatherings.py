"""Gatherings in memory; as memory.py."""

from collections.abc import Sequence

import msgspec

from state.gatherings import (
    ARMING,
    FULL_BYTES,
    KEPT_MS,
    Closed,
    Closing,
    Joined,
    Joining,
    window_id,
)


class _Window(msgspec.Struct):
    id: str
    due_ms: int
    opened_ms: int
    items: dict[str, bytes] = {}
    taken_by: str = ""


class MemoryGatherings:
    """Windows in dicts; see Gatherings. What was gathered is kept for ever."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str, str], _Window] = {}
        self._all: dict[tuple[str, str, str, str], _Window] = {}
        self._known: dict[tuple[str, str, str, str], tuple[Joined, int]] = {}

    def join_many(
        self, tenant: str, shards: int, joinings: Sequence[Joining], now_ms: int
    ) -> list[Joined]:
        """See Gatherings."""
        del shards
        return [self._join(tenant, one, now_ms) for one in joinings]

    def close_many(
        self, tenant: str, shards: int, closings: Sequence[Closing], now_ms: int
    ) -> list[Closed]:
        """See Gatherings."""
        del shards
        return [self._close(tenant, one, now_ms) for one in closings]

    def _join(self, tenant: str, one: Joining, now_ms: int) -> Joined:
        where = (tenant, one.user_id, one.name)
        window = self._open.get(where)
        known, at = self._known.get((*where, one.item_id), (None, 0))
        if known is not None and now_ms // KEPT_MS - at in {0, 1}:
            is_open = window is not None and window.id == known.window_id
            return known._replace(is_open=is_open)
        if window is None or window.due_ms <= now_ms:
            window = _Window(window_id(tenant, one), one.due_ms, now_ms)
            self._open[where] = self._all[*where, window.id] = window
        elif one.slide_ms:
            latest_ms = min(now_ms + one.slide_ms, window.opened_ms + one.longest_ms)
            window.due_ms = max(window.due_ms, latest_ms)
        window.items[one.item_id] = one.item
        size_bytes = sum(map(len, window.items.values()))
        is_full = len(window.items) >= one.max_items or size_bytes >= FULL_BYTES
        if is_full:
            window.due_ms = now_ms
            del self._open[where]
        arms = is_full or len(window.items) <= ARMING
        joined = Joined(window.id, window.due_ms, not is_full, arms)
        self._known[*where, one.item_id] = (joined, now_ms // KEPT_MS)
        return joined

    def _close(self, tenant: str, one: Closing, now_ms: int) -> Closed:
        where = (tenant, one.user_id, one.name)
        window = self._open.get(where)
        if window is not None and window.id == one.window_id:
            if window.due_ms > now_ms:
                return Closed(window.due_ms, [])
            del self._open[where]
        found = self._all.get((*where, one.window_id))
        if found is None or (one.by and found.taken_by not in {"", one.by}):
            return Closed(0, [])
        found.taken_by = one.by or found.taken_by
        return Closed(0, list(found.items.items()))
