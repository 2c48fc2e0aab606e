"""An audience in slices: any share of it, released now, and the rest later, nobody twice.

A user's place is their shard, and within it one of PLACES by a hash. A run goes through the shards
from one of its own, and within a shard from a place of its own: so another run has another canary.
Whoever joins the audience ahead of the cursor is released; behind it they are not.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from zlib import crc32

PLACES = 65_536
"""Places in a shard; a power of two."""


class Piece(NamedTuple):
    """A part of a shard: its places from `low` up to but not including `high`."""

    shard: int
    low: int
    high: int


def length_of(shards: int) -> int:
    """Give how many places a tenant's audience has in all."""
    return shards * PLACES


def pieces(run_id: str, shards: int, start: int, end: int) -> Iterator[Piece]:
    """Give the parts of shards that lie from cursor `start` up to but not including `end`."""
    first = crc32(run_id.encode())
    for index in range(start // PLACES, -(-end // PLACES) if start < end else 0):
        low = max(start - index * PLACES, 0)
        high = min(end - index * PLACES, PLACES)
        yield Piece((first + index) % shards, low, high)


def within(users: Iterable[str], run_id: str, shards: int, low: int, high: int) -> list[str]:
    """Give those of a shard's users whose places lie from `low` up to but not including `high`."""
    if low <= 0 and high >= PLACES:
        return list(users)
    turn = crc32(b"place" + run_id.encode())
    # The shard took the hash's remainder; the place is made of what is left of it.
    return [
        user for user in users if low <= (crc32(user.encode()) // shards + turn) % PLACES < high
    ]
