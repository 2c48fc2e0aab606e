"""The registry's writes: profiles, owners of tokens, segments and rows."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.profile_writer import WriteProfiles
from operators.registration import Change, PreferenceChange, Registration, Removal, UserChange
from operators.registry_rows import DeviceRow, UserRow, columns_of
from schemas.registry import UserPreferences, UserProfile
from schemas.segments import parse
from state.errors import StateConflictError
from state.keys import shard_of
from state.memory import MemoryProfiles, MemorySegments, MemoryTokens
from state.profiles import Profile
from tests.unit.operators.builders import UNTIMED, device, only, tenant

SHARDS = 4
TOKEN = "t"
WHEN = "2026-01-01T00:00:00Z"


class CrashError(Exception):
    """The process dies here."""


class Registry:
    """A writer with its three stores. dies_before: the name of a store's method, once."""

    def __init__(self) -> None:
        self.profiles, self.tokens = MemoryProfiles(), MemoryTokens()
        self.segments = MemorySegments()

    def write(self, *changes: Change, dies_before: str = "") -> list[Any]:
        stores = {"profiles": self.profiles, "tokens": self.tokens, "segments": self.segments}
        guarded = {name: Mortal(store, dies_before) for name, store in stores.items()}
        return WriteProfiles({"acme": tenant()}, **guarded)(list(changes))  # type: ignore[arg-type]

    def profile(self, user_id: str) -> Profile | None:
        return self.profiles.get_many("acme", SHARDS, [user_id])[0]

    def owner(self, token: str) -> tuple[str, str] | None:
        return self.tokens.owners("acme", [token])[0]

    def members(self, segment: str) -> list[str]:
        found = [self.segments.members("acme", n, parse(segment)) for n in range(SHARDS)]
        return sorted(user for shard in found for user in shard)

    def reached(self) -> dict[str, list[tuple[str, str]]]:
        """Who can be reached: users by token, with the device."""
        found: dict[str, list[tuple[str, str]]] = {}
        for stored in self.profiles._stored.values():
            for one in stored.devices:
                found.setdefault(one.token, []).append((stored.user_id, one.device_id))
        return found

    def state(self) -> Any:
        """All that matters, without how often it was written."""
        users = {
            key: (
                sorted(map(msgspec.structs.astuple, p.devices)),
                p.locale,
                p.segments,
                p.updated_at_ms,
                p.opted_out_all,
                p.preferences_at_ms,
            )
            for key, p in self.profiles._stored.items()
        }
        names = ["everyone", "a", "b"]
        return users, {name: self.members(name) for name in names}


class Mortal:
    """A store that dies before one method, or lives for ever."""

    def __init__(self, store: Any, method: str) -> None:
        self._store, self._method = store, method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise CrashError
        return getattr(self._store, name)


def register(
    user_id: str = "u1", device_id: str = "d1", token: str = TOKEN, at_ms: int = 10
) -> Registration:
    made = device(device_id, token=token, registered_at_ms=at_ms)
    return Registration("acme", user_id, made, "1.0")


def unregister(user_id: str = "u1", device_id: str = "d1", at_ms: int = 99) -> Removal:
    return Removal("acme", user_id, device_id, "", at_ms, "unregistered")


def dead(
    user_id: str = "u1", device_id: str = "d1", token: str = TOKEN, at_ms: int = 99
) -> Removal:
    return Removal("acme", user_id, device_id, token, at_ms, "token_unregistered")


def user(user_id: str = "u1", at_ms: int = 10, *segments: str, **said: Any) -> UserChange:
    made = UserProfile(tenant="acme", user_id=user_id, segments=segments, updated_at=WHEN, **said)
    return UserChange("acme", user_id, made, at_ms)


def forget(user_id: str = "u1", at_ms: int = 99) -> UserChange:
    return UserChange("acme", user_id, None, at_ms)


def prefer(user_id: str = "u1", at_ms: int = 10, **said: Any) -> PreferenceChange:
    made = UserPreferences(tenant="acme", user_id=user_id, updated_at=WHEN, **said)
    return PreferenceChange("acme", user_id, made, at_ms)


def devices(found: Profile | None) -> list[tuple[str, str]]:
    return [(d.device_id, d.token) for d in found.devices] if found else []


def newest(rows: list[Any]) -> dict[tuple[str, str], DeviceRow]:
    """Give the devices table after these inserts: the highest version wins, the last of equals."""
    table: dict[tuple[str, str], DeviceRow] = {}
    for row in only(DeviceRow, rows):
        key = (row.user_id, row.device_id)
        if key not in table or row.version >= table[key].version:
            table[key] = row
    return table


def alive(rows: list[Any]) -> set[tuple[str, str]]:
    return {key for key, row in newest(rows).items() if row.removed_at is None}


def test_a_registration_makes_profile_owner_and_member() -> None:
    """All three stores know it."""
    registry = Registry()
    registry.write(register())
    assert devices(registry.profile("u1")) == [("d1", "t")]
    assert registry.owner("t") == ("u1", "d1")
    assert registry.members("everyone") == ["u1"]


def test_the_order_of_registrations_does_not_matter() -> None:
    """The latest wins, in one batch or in two, whichever came first."""
    old, new = register(token="old", at_ms=1), register(token="new", at_ms=2)
    for batches in ([[old, new]], [[new, old]], [[old], [new]], [[new], [old]]):
        registry = Registry()
        for batch in batches:
            registry.write(*batch)
        assert devices(registry.profile("u1")) == [("d1", "new")]
        assert (registry.owner("new"), registry.owner("old")) == (("u1", "d1"), None)


@pytest.mark.parametrize("together", [True, False])
def test_a_token_that_moves_to_another_user_leaves_the_first(*, together: bool) -> None:
    """Who logs in on a borrowed phone does not get the owner's messages, nor the other way."""
    registry, changes = Registry(), [register("u1", at_ms=1), register("u2", "d2", at_ms=2)]
    for batch in [changes] if together else [[one] for one in changes]:
        registry.write(*batch)
    assert registry.reached() == {"t": [("u2", "d2")]}
    assert registry.owner("t") == ("u2", "d2")


@pytest.mark.parametrize("together", [True, False])
def test_a_late_claim_of_an_older_registration_loses(*, together: bool) -> None:
    """Its device is left without a token, whatever it had before; the row says so."""
    registry = Registry()
    rows = registry.write(register("u1", token="before", at_ms=0))
    changes = [register("u2", "d2", at_ms=2), register("u1", at_ms=1)]
    for batch in [changes] if together else [[one] for one in changes]:
        rows += registry.write(*batch)
    assert registry.reached() == {"t": [("u2", "d2")]}
    assert alive(rows) == {("u2", "d2")}
    assert newest(rows)["u1", "d1"].removal_reason == "taken_over"


def test_a_token_that_comes_back_leaves_the_second_user() -> None:
    """In one batch."""
    registry = Registry()
    rows = registry.write(
        register("u1", at_ms=1), register("u2", "d2", at_ms=2), register("u1", at_ms=3)
    )
    assert registry.reached() == {"t": [("u1", "d1")]}
    assert alive(rows) == {("u1", "d1")}


def test_a_reinstalled_app_with_a_new_device_id_keeps_its_token() -> None:
    """The old device of the same user goes."""
    registry = Registry()
    registry.write(register(device_id="old", at_ms=1))
    registry.write(register(device_id="new", at_ms=2))
    assert devices(registry.profile("u1")) == [("new", "t")]


@pytest.mark.parametrize(("at_ms", "stays"), [(9, True), (10, False)])
def test_a_dead_token_is_removed_unless_registered_later(at_ms: int, *, stays: bool) -> None:
    """By the provider's time; the owner goes with it."""
    registry = Registry()
    registry.write(register(at_ms=10))
    registry.write(dead(at_ms=at_ms))
    assert bool(devices(registry.profile("u1"))) is stays
    assert bool(registry.owner("t")) is stays


def test_the_death_of_an_old_token_leaves_the_new_one() -> None:
    """The device had changed it."""
    registry = Registry()
    registry.write(register(token="old", at_ms=1), register(token="new", at_ms=2))
    registry.write(dead(token="old"))
    assert devices(registry.profile("u1")) == [("d1", "new")]


def test_a_token_that_was_replaced_has_no_owner() -> None:
    """Owners do not pile up as tokens change."""
    registry = Registry()
    registry.write(register(token="old", at_ms=1))
    registry.write(register(token="new", at_ms=2))
    assert (registry.owner("old"), registry.owner("new")) == (None, ("u1", "d1"))


def test_who_registers_again_in_the_batch_of_the_removal_keeps_the_token() -> None:
    """Else another user could claim it and both would get messages."""
    registry = Registry()
    registry.write(register(at_ms=1))
    registry.write(unregister(at_ms=2), register(at_ms=2))
    registry.write(register("u2", "d2", at_ms=3))
    assert registry.reached() == {"t": [("u2", "d2")]}


def test_unregistering_frees_the_token() -> None:
    """Whatever the times."""
    registry = Registry()
    registry.write(register(at_ms=100))
    registry.write(unregister(at_ms=99))
    assert (devices(registry.profile("u1")), registry.owner("t")) == ([], None)


def test_a_user_tombstone_forgets_profile_tokens_and_memberships() -> None:
    """And the devices table, too."""
    registry = Registry()
    rows = registry.write(register(), user("u1", 10, "a"), prefer(opt_out_all=True))
    rows += registry.write(forget())
    assert (registry.profile("u1"), registry.owner("t")) == (None, None)
    assert registry.members("everyone | a") == []
    assert alive(rows) == set()
    assert only(UserRow, rows)[-1].removed_at == 99


def test_preferences_are_kept_in_the_profile() -> None:
    """And in the users table."""
    registry = Registry()
    (row,) = registry.write(prefer(opt_out_all=True, opted_out_categories=("news",)))
    found = registry.profile("u1")
    assert found is not None
    assert found.opted_out_all
    assert (row.user_id, row.opted_out) == ("u1", ["news", "all"])


def test_a_user_joins_and_leaves_segments() -> None:
    """As the record says; everyone stays everyone."""
    registry = Registry()
    registry.write(user("u1", 1, "a", "b"))
    registry.write(user("u1", 2, "b"))
    assert (registry.members("a"), registry.members("b")) == ([], ["u1"])
    assert registry.members("everyone") == ["u1"]


def test_an_old_user_record_does_not_change_segments() -> None:
    """Also within one batch."""
    registry = Registry()
    registry.write(user("u1", 2, "a"), user("u1", 1, "b"))
    assert (registry.members("a"), registry.members("b")) == (["u1"], [])


class Rival:
    """A store of profiles in which someone else writes just before or just after we do."""

    def __init__(self, registry: Registry, changes: list[Change], *, after: bool) -> None:
        self._registry, self._changes, self._after = registry, changes, after

    def get_many(self, *args: Any) -> Any:
        return self._registry.profiles.get_many(*args)

    def update_many(self, *args: Any) -> Any:
        rivals, self._changes = self._changes, []
        if not self._after:
            self._registry.write(*rivals)
        found = self._registry.profiles.update_many(*args)
        if self._after:
            self._registry.write(*rivals)
        return found


def write_beside(
    registry: Registry, rivals: list[Change], *changes: Change, after: bool = False
) -> None:
    """Write while someone else, such as a rebuild, writes the same users in between."""
    stores: dict[str, Any] = {"tokens": registry.tokens, "segments": registry.segments}
    profiles: Any = Rival(registry, rivals, after=after)
    WriteProfiles({"acme": tenant()}, profiles=profiles, **stores)(list(changes))


def test_a_user_whom_someone_else_moved_meanwhile_is_in_the_segments_of_the_profile() -> None:
    """The older record's segment is not left behind."""
    registry = Registry()
    write_beside(registry, [user("u1", 2, "b")], user("u1", 1, "a"))
    assert (registry.members("a"), registry.members("b")) == ([], ["u1"])
    assert registry.members("everyone") == ["u1"]


def test_a_user_whom_someone_else_made_meanwhile_is_forgotten_whole() -> None:
    """The segments are those of the profile that was there when it went."""
    registry = Registry()
    write_beside(registry, [user("u1", 1, "a")], forget("u1", 2))
    assert registry.profile("u1") is None
    assert registry.members("a | everyone") == []


@pytest.mark.parametrize("rival", [user("u1", 3, "b"), forget("u1", 3)])
def test_who_writes_last_has_the_last_word_on_segments(rival: Change) -> None:
    """Also when the other one came between our profile and our segments."""
    registry = Registry()
    write_beside(registry, [rival], user("u1", 2, "a"), after=True)
    left = registry.profile("u1")
    for name in ("a", "b"):
        assert registry.members(name) == (["u1"] if left and name in left.segments else [])
    assert registry.members("everyone") == (["u1"] if left else [])


def test_a_profile_that_keeps_changing_is_told() -> None:
    """Rather than left in the wrong segments."""
    registry = Registry()

    class Restless(Rival):
        def get_many(self, *args: Any) -> Any:
            registry.write(prefer("u1", next(times), opt_out_all=next(times) % 4 == 0))
            return super().get_many(*args)

    times = iter(range(1, 100))
    profiles: Any = Restless(registry, [], after=False)
    stores: dict[str, Any] = {"tokens": registry.tokens, "segments": registry.segments}
    with pytest.raises(StateConflictError, match="kept changing"):
        WriteProfiles({"acme": tenant()}, profiles=profiles, **stores)([register()])


def test_a_token_that_someone_else_took_and_freed_meanwhile_has_an_owner_again() -> None:
    """So that the next claim finds whom it leaves."""
    registry = Registry()
    rivals: list[Change] = [register("u2", "d2", "t", at_ms=2), register("u2", "d2", "n", at_ms=3)]
    write_beside(registry, rivals, register("u1", "d1", "t", at_ms=1))
    assert registry.owner("t") == ("u1", "d1")
    registry.write(register("u3", "d3", "t", at_ms=4))
    assert registry.reached() == {"t": [("u3", "d3")], "n": [("u2", "d2")]}


def test_a_token_that_someone_else_took_meanwhile_leaves_us() -> None:
    """Their claim came before our profile had the device."""
    registry = Registry()
    write_beside(
        registry, [register("u2", "d2", at_ms=2)], register("u1", "d1", at_ms=1), after=False
    )
    assert registry.reached() == {"t": [("u2", "d2")]}
    assert registry.owner("t") == ("u2", "d2")


def test_a_device_that_someone_else_removed_meanwhile_leaves_no_owner() -> None:
    """Though we had seen it in the profile."""
    registry = Registry()
    write_beside(registry, [unregister()], register(), after=True)
    assert (devices(registry.profile("u1")), registry.owner("t")) == ([], None)


def test_a_token_that_someone_else_wrote_meanwhile_is_freed_when_it_is_replaced() -> None:
    """It was not there when the batch began."""
    registry = Registry()
    write_beside(registry, [register(token="old", at_ms=1)], register(token="new", at_ms=2))
    assert devices(registry.profile("u1")) == [("d1", "new")]
    assert (registry.owner("old"), registry.owner("new")) == (None, ("u1", "d1"))


def test_each_tenant_has_users_of_its_own() -> None:
    """An unknown one is kept under the default number of shards."""
    registry = Registry()
    registry.write(register(), register()._replace(tenant="later"))
    assert registry.profiles.get_many("later", 16, ["u1"])[0] is not None
    assert registry.members("everyone") == ["u1"]


def test_users_are_kept_by_shard() -> None:
    """Each in the set of its own."""
    registry = Registry()
    registry.write(*(user(f"u{n}") for n in range(20)))
    for shard in range(SHARDS):
        found = registry.segments.members("acme", shard, "everyone")
        assert {shard_of(name, SHARDS) for name in found} <= {shard}
    assert len(registry.members("everyone")) == 20


def test_a_device_registered_and_removed_in_one_batch_is_gone_from_the_table() -> None:
    """The removal has the higher version."""
    rows = Registry().write(register(at_ms=10), dead(at_ms=10))
    assert alive(rows) == set()
    assert (
        newest(rows)["u1", "d1"].token_hash
        == newest(Registry().write(register()))["u1", "d1"].token_hash
    )


def test_a_device_that_registers_after_its_removal_is_in_the_table() -> None:
    """The registration has the higher version."""
    assert alive(Registry().write(register(at_ms=1), dead(at_ms=5), register(at_ms=6))) == {
        ("u1", "d1")
    }


@pytest.mark.parametrize("change", [dead(), unregister()])
def test_a_removal_whose_rows_were_lost_is_told_again(change: Removal) -> None:
    """The profile was written, then the process died: the replay finds no device any more."""
    registry = Registry()
    rows = registry.write(register())
    registry.write(change)  # its rows are lost
    rows += registry.write(change)
    assert alive(rows) == set()


def test_a_removal_that_does_not_count_leaves_no_row() -> None:
    """The device is still there."""
    registry = Registry()
    rows = registry.write(register(at_ms=10))
    rows += registry.write(dead(at_ms=9), dead(token="other"))
    assert alive(rows) == {("u1", "d1")}


def test_rows_become_columns() -> None:
    """One list per column of the table."""
    rows = Registry().write(register(), register("u2", "d2", "t2"))
    columns = columns_of(DeviceRow, rows)
    assert columns["user_id"] == ["u1", "u2"]
    assert list(columns) == list(DeviceRow._fields)


def test_an_empty_batch_writes_nothing() -> None:
    """It passes to keep commits going."""
    assert Registry().write() == []


users = st.sampled_from(["u1", "u2", "u3"])
ids = st.sampled_from(["d1", "d2"])
some_tokens = st.sampled_from(["t1", "t2", "t3"])
kinds = st.one_of(
    st.tuples(st.just(register), users, ids, some_tokens),
    st.tuples(st.just(register), users, ids, some_tokens),
    st.tuples(st.just(dead), users, ids, some_tokens),
    st.tuples(st.just(unregister), users, ids),
    st.tuples(st.just(forget), users),
    st.tuples(st.just(prefer), users),
    st.tuples(st.just(user), users, st.sampled_from([(), ("a",), ("b",), ("a", "b")])),
)
SHUFFLED = st.lists(kinds, max_size=14).flatmap(
    lambda made: st.tuples(
        st.just(made), st.lists(st.integers(0, 20), min_size=len(made), max_size=len(made))
    )
)


def changes_of(made: list[tuple[Any, ...]], times: list[int]) -> list[Change]:
    found: list[Change] = []
    for (kind, user_id, *rest), at_ms in zip(made, times, strict=True):
        if kind is user:
            found.append(user(user_id, at_ms, *rest[0]))
        else:
            found.append(kind(user_id, *rest, at_ms=at_ms))
    return found


def whole(registry: Registry, changes: list[Change]) -> list[Any]:
    return [row for change in changes for row in registry.write(change)]


@UNTIMED
@given(SHUFFLED)
def test_no_token_reaches_two_devices_and_every_owner_is_right(made: Any) -> None:
    """After any changes in any order, one by one."""
    registry = Registry()
    whole(registry, changes_of(*made))
    for token, where in registry.reached().items():
        assert where == [registry.owner(token)]
    known = {name for (_, name) in registry.profiles._stored}
    assert registry.members("everyone") == sorted(known)
    for name in ("a", "b"):
        having = {p.user_id for p in registry.profiles._stored.values() if name in p.segments}
        assert registry.members(name) == sorted(having)


@UNTIMED
@given(st.lists(kinds, max_size=14), st.data())
def test_changes_delivered_again_leave_the_same_state(made: list[Any], data: st.DataObject) -> None:
    """Batches of any size; after any of them reading may start over from an earlier place."""
    changes = changes_of(made, list(range(1, len(made) + 1)))
    straight, replayed = Registry(), Registry()
    whole(straight, changes)
    at, rows = 0, []
    for _ in range(data.draw(st.integers(0, 4), label="replays")):
        upto = data.draw(st.integers(at, len(changes)), label="upto")
        rows += replayed.write(*changes[at:upto])
        at = data.draw(st.integers(0, upto), label="again from")
    rows += replayed.write(*changes[at:])
    assert replayed.state() == straight.state()
    reached = {place for where in replayed.reached().values() for place in where}
    assert alive(rows) == reached


@UNTIMED
@given(st.lists(kinds, max_size=10), st.data())
def test_a_crash_between_any_two_stores_leaves_the_same_state(
    made: list[Any], data: st.DataObject
) -> None:
    """The batch is read again."""
    changes = changes_of(made, list(range(1, len(made) + 1)))
    straight, crashed = Registry(), Registry()
    cut = data.draw(st.integers(0, len(changes)), label="cut")
    method = data.draw(
        st.sampled_from(["claim_many", "add", "remove", "update_many", "release_many"])
    )
    straight.write(*changes[:cut])
    straight.write(*changes[cut:])
    crashed.write(*changes[:cut])
    try:
        crashed.write(*changes[cut:], dies_before=method)
    except CrashError:
        crashed.write(*changes[cut:])
    assert crashed.state() == straight.state()
