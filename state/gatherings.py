"""Gatherings: windows in which a user's messages wait to be looked at together."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec

from state import keys
from state.gathering_scripts import CLOSE, JOIN
from state.redis_client import Call, RedisClient, batches, spread

KEPT_MS = 2 * 86_400_000
"""How long what was gathered, and who joined, is remembered after its window."""
FULL_BYTES = 131_072
"""Items of a window that are larger together close it."""
ARMING = 3
"""The first items of a window set its timer, each: one whose epoch is done again may not return."""


class Joining(NamedTuple):
    """An item for a user's window of this name.

    due_ms: when a window that it opens closes. slide_ms: above 0, the window closes so long after
    its last item, but at most longest_ms after its first. max_items: so many close it at once.
    """

    user_id: str
    name: str
    item_id: str
    item: bytes
    due_ms: int
    max_items: int
    slide_ms: int = 0
    longest_ms: int = 0


class Joined(NamedTuple):
    """Where an item went. due_ms: as of its joining. arms: it is to set the window's timer."""

    window_id: str
    due_ms: int
    is_open: bool
    arms: bool


class Closing(NamedTuple):
    """Look into a window. by: who takes its items, alone; empty takes nothing away from others."""

    user_id: str
    name: str
    window_id: str
    by: str = ""


class Closed(NamedTuple):
    """What is in a window. later_ms: not 0 when it closes only then. items: in order of joining."""

    later_ms: int
    items: list[tuple[str, bytes]]


class Gatherings(Protocol):
    """Windows by user and name."""

    def join_many(
        self, tenant: str, shards: int, joinings: Sequence[Joining], now_ms: int
    ) -> list[Joined]:
        """Put items into the open windows of their names, in order, each atomically.

        Without an open window, or when its time has come, the item opens one. A window closes when
        it is due, with its max_items-th item, or with FULL_BYTES of items. An item that joined
        within KEPT_MS is known by its id: it changes nothing and gets the answer it got, but for
        is_open. O(joinings); one round trip, at most 256 a script call (clustered: of one shard).
        Raises StateUnavailableError.
        """
        ...

    def close_many(
        self, tenant: str, shards: int, closings: Sequence[Closing], now_ms: int
    ) -> list[Closed]:
        """Close windows that are due and give their items.

        Who takes a window's items (`by`) gets the same ones each time it asks, for KEPT_MS; nobody
        else gets any. Asked without `by` they are given to all. A window that is not there has
        none. O(items); round trips as above. Raises StateUnavailableError.
        """
        ...


_PER_CALL = 256
_encode = msgspec.msgpack.Encoder().encode


class RedisGatherings:
    """Gatherings in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def join_many(
        self, tenant: str, shards: int, joinings: Sequence[Joining], now_ms: int
    ) -> list[Joined]:
        """See Gatherings."""
        tags = keys.shards_of([one.user_id for one in joinings], shards)
        groups = batches(tags, clustered=self._client.clustered, at_most=_PER_CALL)
        calls = []
        for group in groups:
            where: list[str] = []
            told: list[tuple[str, str, int, int, int, int]] = []
            for at in group:
                one = joinings[at]
                where += _keys(keys.shard_tag(tenant, tags[at]), one.user_id, one.name, now_ms)
                told.append(
                    (one.item_id, window_id(tenant, one), one.due_ms, one.slide_ms,
                     one.longest_ms, one.max_items)
                )  # fmt: skip
            about = _encode((now_ms, KEPT_MS, FULL_BYTES, ARMING, told))
            calls.append(Call(JOIN, where, [about, *(joinings[at].item for at in group)]))
        found = spread(groups, self._client.call(calls), len(joinings))
        return [
            Joined(name.decode(), int(due_ms), bool(is_open), bool(arms))
            for name, due_ms, is_open, arms in found
        ]

    def close_many(
        self, tenant: str, shards: int, closings: Sequence[Closing], now_ms: int
    ) -> list[Closed]:
        """See Gatherings."""
        tags = keys.shards_of([one.user_id for one in closings], shards)
        groups = batches(tags, clustered=self._client.clustered, at_most=_PER_CALL)
        calls = []
        for group in groups:
            where = [
                keys.gathering_key(
                    keys.shard_tag(tenant, tags[at]), closings[at].user_id, closings[at].name
                )
                for at in group
            ]
            told = [(closings[at].window_id, closings[at].by) for at in group]
            calls.append(Call(CLOSE, where, [_encode((now_ms, KEPT_MS, told))]))
        found = spread(groups, self._client.call(calls), len(closings))
        return [_closed(answer) for answer in found]


def window_id(tenant: str, one: Joining) -> str:
    """Name the window that this item would open: the same in a replay."""
    text = f"{tenant}\x00{one.user_id}\x00{one.name}\x00{one.item_id}"
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _keys(tag: str, user_id: str, name: str, now_ms: int) -> list[str]:
    pointer = keys.gathering_key(tag, user_id, name)
    bucket = now_ms // KEPT_MS
    return [pointer, f"{pointer}:k{bucket}", f"{pointer}:k{bucket - 1}"]


def _closed(answer: list[Any]) -> Closed:
    later_ms, *flat = answer
    items = []
    for name, packed in zip(flat[::2], flat[1::2], strict=True):
        place, _, item = packed.partition(b":")
        items.append((int(place), name.decode(), item))
    return Closed(int(later_ms), [(name, item) for _, name, item in sorted(items)])
