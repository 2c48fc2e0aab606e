"""Leases and notes of segments, uploads and walks: memory and Redis behave alike."""

from typing import NamedTuple

import pytest

from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segment_work import MemorySegmentWork, Note, RedisSegmentWork, SegmentWork
from state.uploads import MemoryUploads, RedisUploads, Uploads
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]


class Both(NamedTuple):
    work: SegmentWork
    uploads: Uploads


@pytest.fixture
def both(stores: Stores) -> Both:
    if stores.client is None:
        return Both(MemorySegmentWork(), MemoryUploads())
    return Both(RedisSegmentWork(stores.client), RedisUploads(stores.client))


def test_a_lease_is_one_owners_until_it_is_given_back(both: Both) -> None:
    """For each tenant and each work its own."""
    assert both.work.hold("acme", "a", "me", ttl_s=60)
    assert both.work.hold("acme", "a", "me", ttl_s=60)
    assert not both.work.hold("acme", "a", "you", ttl_s=60)
    assert both.work.hold("acme", "", "you", ttl_s=60)
    assert both.work.hold("other", "a", "you", ttl_s=60)
    both.work.release("acme", "a", "you")
    assert not both.work.hold("acme", "a", "you", ttl_s=60)
    both.work.release("acme", "a", "me")
    assert both.work.hold("acme", "a", "you", ttl_s=60)


def test_the_last_note_counts(both: Both) -> None:
    """By tenant and name."""
    first, second = Note(1, 5, 6), Note(2, 7, 8, "failed", 5)
    both.work.note("acme", {"b": first, "a": first})
    both.work.note("acme", {"b": second})
    both.work.note("acme", {})
    assert both.work.notes("acme") == {"a": first, "b": second}
    assert both.work.notes("other") == {}


def test_uploads_are_noted_and_forgotten(both: Both) -> None:
    """With how many parts they have."""
    both.uploads.note("acme", "vip", {"2": 1, "1": 3})
    both.uploads.note("acme", "vip", {"2": 2})
    assert both.uploads.of("acme", "vip") == {"1": 3, "2": 2}
    both.uploads.forget("acme", "vip", "1")
    assert both.uploads.of("acme", "vip") == {"2": 2}
    assert both.uploads.of("acme", "other") == {}


def test_a_walk_meets_everybody(stores: Stores) -> None:
    """In steps, shard by shard; nobody in an empty one."""
    users = {f"user-{n}" for n in range(3_000)}
    stores.segments.add("acme", 2, "everyone", users)
    met = [
        user
        for shard in range(2)
        for step in stores.segments.walk("acme", shard, "everyone", step=100)
        for user in step
    ]
    assert set(met) == users
    assert [*stores.segments.walk("acme", 0, "nobody", step=10)] == []


def test_a_lease_ends_by_itself(valkey_client_alone: RedisClient) -> None:
    """When its owner has died."""
    valkey_client_alone.run("FLUSHALL")
    work = RedisSegmentWork(valkey_client_alone)
    work.hold("acme", "a", "me", ttl_s=60)
    assert 0 < valkey_client_alone.run("PTTL", "{acme:segments}:l:a") <= 60_000


def test_deleting_a_segment_leaves_no_key(valkey_client_alone: RedisClient) -> None:
    """Neither members nor notes."""
    from state.segments import Generation  # noqa: PLC0415 - only here

    valkey_client_alone.run("FLUSHALL")
    segments = RedisSegments(valkey_client_alone)
    for n in range(2):
        segments.stage("acme", 4, "s", f"g{n}", ["a", "b"])
        segments.switch("acme", 4, "s", Generation(n, f"g{n}", "list"))
    RedisSegmentWork(valkey_client_alone).note("acme", {"s": Note(1, 2, 3)})
    RedisUploads(valkey_client_alone).note("acme", "s", {"g1": 1})
    segments.delete("acme", 4, "s")
    assert valkey_client_alone.run("KEYS", "*") == []
