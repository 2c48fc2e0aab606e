"""Profiles: memory and Redis behave alike."""

from collections.abc import Callable

import msgspec
import pytest

from schemas.pipeline import Platform
from state.errors import StateConflictError, StateCorruptError
from state.keys import profile_keys
from state.profiles import Change, Device, Profile, QuietHours, RedisProfiles
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

SHARDS = 8
FULL = Profile(
    user_id="zoë",
    version=0,
    locale="nl-NL",
    time_zone="Europe/Amsterdam",
    devices=(Device("d1", Platform.APNS, "shop", "ab" * 32, 1_700_000_000_000, "sandbox"),),
    opted_out_categories=("offers",),
    opted_out_platforms=("fcm",),
    quiet_hours=QuietHours(1320, 420),
    country="NL",
    attributes={"plan": "gold", "score": 1.5, "tags": ["a", None]},
    updated_at_ms=5,
    preferences_at_ms=4,
)


def always(profile: Profile | None) -> Change:
    return lambda _old: profile


def renamed(locale: str) -> Change:
    def change(old: Profile | None) -> Profile | None:
        return None if old is None else msgspec.structs.replace(old, locale=locale)

    return change


def test_a_profile_comes_back_as_it_was_written(stores: Stores) -> None:
    """Every field survives; the version is 1."""
    written = stores.profiles.update_many("acme", SHARDS, {"zoë": always(FULL)})
    assert written == {"zoë": msgspec.structs.replace(FULL, version=1)}
    assert stores.profiles.get_many("acme", SHARDS, ["zoë"]) == [written["zoë"]]


def test_answers_keep_the_order_asked_with_none_for_strangers(stores: Stores) -> None:
    """Users of all shards, repeated and unknown ones included."""
    users = [f"u{n}" for n in range(40)]
    stores.profiles.update_many("acme", SHARDS, {u: always(Profile(u, 0)) for u in users})
    asked = ["nobody", *reversed(users), "u3", "u3"]
    found = stores.profiles.get_many("acme", SHARDS, asked)
    assert [None if p is None else p.user_id for p in found] == [None, *asked[1:]]


def test_nothing_asked_is_nothing_answered(stores: Stores) -> None:
    """Empty batches are fine."""
    assert stores.profiles.get_many("acme", SHARDS, []) == []
    assert stores.profiles.update_many("acme", SHARDS, {}) == {}


def test_tenants_do_not_see_each_other(stores: Stores) -> None:
    """The same user id in two tenants is two users."""
    stores.profiles.update_many("acme", SHARDS, {"zoë": always(FULL)})
    assert stores.profiles.get_many("other", SHARDS, ["zoë"]) == [None]


def test_the_version_counts_changes_only(stores: Stores) -> None:
    """A change that changes nothing is not written."""
    stores.profiles.update_many("acme", SHARDS, {"u": always(Profile("u", 0))})
    second = stores.profiles.update_many("acme", SHARDS, {"u": renamed("fr")})["u"]
    third = stores.profiles.update_many("acme", SHARDS, {"u": renamed("fr")})["u"]
    assert second is not None
    assert (second.version, second.locale) == (2, "fr")
    assert third == second


def test_none_deletes_and_the_next_profile_starts_at_version_1(stores: Stores) -> None:
    """A change to None removes the profile."""
    stores.profiles.update_many("acme", SHARDS, {"u": always(Profile("u", 0, "nl"))})
    assert stores.profiles.update_many("acme", SHARDS, {"u": always(None)}) == {"u": None}
    assert stores.profiles.get_many("acme", SHARDS, ["u"]) == [None]
    again = stores.profiles.update_many("acme", SHARDS, {"u": always(Profile("u", 7))})["u"]
    assert again == Profile("u", 1)


def test_a_profile_of_another_user_is_refused(stores: Stores) -> None:
    """A mixed-up change does not write under the wrong id."""
    with pytest.raises(ValueError, match="'u' gave a profile of 'zoë'"):
        stores.profiles.update_many("acme", SHARDS, {"u": always(FULL)})
    assert stores.profiles.get_many("acme", SHARDS, ["u", "zoë"]) == [None, None]


@pytest.mark.parametrize("tenant", ["", "a}b", "a{b", "a:b", "a b", "a\n"])
def test_a_tenant_that_would_break_the_key_is_refused(stores: Stores, tenant: str) -> None:
    """A hash tag cannot hold braces, colons or blanks."""
    with pytest.raises(ValueError, match="tenant"):
        stores.profiles.get_many(tenant, SHARDS, ["u"])


def test_shards_below_1_are_refused(stores: Stores) -> None:
    """There is at least one shard."""
    with pytest.raises(ValueError, match="shards"):
        stores.profiles.get_many("acme", 0, ["u"])


def test_a_change_sees_what_another_wrote_in_between(valkey_client_alone: RedisClient) -> None:
    """A conflict asks the change again, so both changes take effect; others are written once."""
    profiles, other = RedisProfiles(valkey_client_alone), RedisProfiles(valkey_client_alone)
    valkey_client_alone.run("FLUSHALL")
    profiles.update_many("acme", SHARDS, {u: always(Profile(u, 0)) for u in ("u", "v")})
    seen: list[int] = []

    def change(old: Profile | None) -> Profile | None:
        assert old is not None
        seen.append(old.version)
        if len(seen) == 1:
            other.update_many("acme", SHARDS, {"u": renamed("de")})
        return msgspec.structs.replace(old, country="DE")

    done = profiles.update_many("acme", SHARDS, {"u": change, "v": renamed("es")})
    assert done == {
        "u": Profile("u", 3, locale="de", country="DE"),
        "v": Profile("v", 2, locale="es"),
    }
    assert seen == [1, 2]
    assert profiles.get_many("acme", SHARDS, ["u", "v"]) == list(done.values())


def test_a_profile_deleted_and_made_anew_in_between_is_a_conflict(
    valkey_client_alone: RedisClient,
) -> None:
    """The same version number of another profile does not pass for what was read."""
    profiles, other = RedisProfiles(valkey_client_alone), RedisProfiles(valkey_client_alone)
    valkey_client_alone.run("FLUSHALL")
    profiles.update_many("acme", SHARDS, {"u": always(Profile("u", 0, locale="old"))})
    calls: list[str] = []

    def change(old: Profile | None) -> Profile | None:
        assert old is not None
        calls.append(old.locale)
        if len(calls) == 1:
            other.update_many("acme", SHARDS, {"u": always(None)})
            other.update_many("acme", SHARDS, {"u": always(Profile("u", 0, locale="new"))})
        return msgspec.structs.replace(old, country="DE")

    profiles.update_many("acme", SHARDS, {"u": change})
    assert calls == ["old", "new"]


def test_endless_conflicts_end_with_an_error(valkey_client_alone: RedisClient) -> None:
    """Attempts are bounded, and the error names tenant and user."""
    profiles, other = RedisProfiles(valkey_client_alone), RedisProfiles(valkey_client_alone)
    valkey_client_alone.run("FLUSHALL")
    turn = iter(range(1_000))

    def change(_old: Profile | None) -> Profile | None:
        other.update_many("acme", SHARDS, {"u": always(Profile("u", 0, country=str(next(turn))))})
        return Profile("u", 0, locale="mine")

    with pytest.raises(StateConflictError, match=r"'acme'.*8 attempts.*'u'"):
        profiles.update_many("acme", SHARDS, {"u": change})


def test_a_blob_that_is_no_profile_is_named_and_kept(valkey_client_alone: RedisClient) -> None:
    """Neither reading nor updating passes over it or overwrites it."""
    (key,) = profile_keys("acme", SHARDS, ["u"])
    valkey_client_alone.run("SET", key, b"\x93rubbish")
    profiles = RedisProfiles(valkey_client_alone)
    with pytest.raises(StateCorruptError, match=r"p:u"):
        profiles.get_many("acme", SHARDS, ["stranger", "u"])
    with pytest.raises(StateCorruptError, match=r"p:u"):
        profiles.update_many("acme", SHARDS, {"u": always(FULL)})
    assert valkey_client_alone.run("GET", key) == b"\x93rubbish"


def test_a_batch_larger_than_one_script_call(new_stores: Callable[[], Stores]) -> None:
    """600 new users in one call."""
    stores = new_stores()
    users = [f"user-{n}" for n in range(600)]
    stores.profiles.update_many("acme", SHARDS, {u: always(Profile(u, 0)) for u in users})
    assert None not in stores.profiles.get_many("acme", SHARDS, users)
