"""Keys: one slot per user, stable over releases, nothing readable that must not be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from state import keys


def test_a_users_shard_never_changes() -> None:
    """Fixed values: another hash would lose every stored profile."""
    assert [keys.shard_of(u, 256) for u in ("u1", "zoë", "", "user-42")] == [118, 20, 0, 115]


@settings(max_examples=50)
@given(user=st.text(max_size=20), shards=st.integers(1, 1000))
def test_everything_about_a_user_is_in_one_slot(user: str, shards: int) -> None:
    """Profile, segments, caps and scratch keys, whatever the user id holds."""
    shard = keys.shard_of(user, shards)
    tag = keys.shard_tag("acme", shard)
    together = [
        *keys.profile_keys("acme", shards, [user]),
        keys.segment_key("acme", shard, "buyers"),
        keys.scratch_key("acme", shard, 3),
        keys.cap_key(tag, user, "offers", exact=True),
        keys.cap_key(tag, user, "offers", exact=False),
    ]
    assert len({key_slot(key.encode()) for key in together}) == 1
    assert keys.shards_of([user], shards) == [shard]


@settings(max_examples=50)
@given(texts=st.lists(st.text(), min_size=1))
def test_equal_buckets_are_equal_slots(texts: list[str]) -> None:
    """Tokens of one bucket can go into one script call."""
    made = [keys.hashed_key("acme", "t", text) for text in texts]
    by_bucket: dict[int, set[int]] = {}
    for key in made:
        by_bucket.setdefault(keys.bucket(key), set()).add(key_slot(key))
    assert all(len(slots) == 1 for slots in by_bucket.values())
    assert max(by_bucket) < keys.BUCKETS


def test_caps_of_different_names_and_users_do_not_meet() -> None:
    """The length of the user id is no trick: "a" with "b:c" is not "a:b" with "c"."""
    first = keys.cap_key("{t:0}", "a", "b:c", exact=True)
    assert first != keys.cap_key("{t:0}", "a:b", "c", exact=True)


@pytest.mark.parametrize("bad", ["", "a{", "}"])
def test_rate_and_ledger_keys_refuse_braces(bad: str) -> None:
    """They would end the hash tag early."""
    with pytest.raises(ValueError, match="braces"):
        keys.rate_key(bad)
    with pytest.raises(ValueError, match="braces"):
        keys.ledger_key(bad)
