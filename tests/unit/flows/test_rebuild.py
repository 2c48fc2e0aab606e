"""rebuild beside a live flow, on memory stores: what is left is what the live flow alone leaves."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import rebuild as flow
from flows.rebuild import Progress, Rebuild
from operators.define import Define
from operators.profile_writer import WriteProfiles
from operators.registration import decode_registrations
from schemas.outcomes import Reason
from schemas.pipeline import Platform, TokenDeath
from schemas.registry import registry_key
from schemas.segments import parse
from schemas.stream import Source
from schemas.topics import DEVICES, PREFERENCES, TOKEN_DEATHS, USERS
from state.memory import MemoryDefinitions, MemoryProfiles, MemorySegments, MemoryTokens
from state.profiles import Profile
from tests.unit.operators.builders import NOW_MS, FakeMessage, tenant

PARTS = [(topic, number) for topic in flow.TOPICS for number in (0, 1)]
TENANTS = {"acme": tenant()}
TOKENS = [f"{number:020d}" for number in range(3)]


class World:
    """The topics, the stores, and a live flow that applies the records in the order they came."""

    def __init__(self) -> None:
        self.records: list[FakeMessage] = []
        self.live_at = 0
        self.empty()
        self._now_ms = NOW_MS
        self._numbers = {part: count() for part in PARTS}

    def empty(self) -> None:
        """Lose everything that Redis held."""
        self.profiles, self.tokens = MemoryProfiles(), MemoryTokens()
        self.segments = MemorySegments()
        self.definitions = MemoryDefinitions()

    def write(self, changes: list[Any]) -> None:
        stores = {"profiles": self.profiles, "tokens": self.tokens, "segments": self.segments}
        WriteProfiles(TENANTS, **stores)(changes)  # type: ignore[arg-type]

    def add(self, topic: str, names: Sequence[str], later_ms: int, value: Any) -> None:
        """Let Kafka take a record. value: makes it from the time."""
        self._now_ms += later_ms
        part = (topic, sum(map(ord, "".join(names))) % 2)
        raw = value(self._now_ms)
        raw = json.dumps(raw).encode() if isinstance(raw, dict) else raw
        self.records.append(
            FakeMessage(
                raw,
                Source(*part, next(self._numbers[part])),
                registry_key("acme", *names),
                self._now_ms,
            )
        )  # fmt: skip

    def live(self, most: int) -> None:
        """Let the live flow apply some of what it has not applied yet."""
        upto = min(len(self.records), self.live_at + most)
        changes, _ = decode_registrations(self.records[self.live_at : upto], NOW_MS)  # type: ignore[arg-type]
        self.write(changes)
        self.live_at = upto

    def state(self) -> Any:
        """All that matters: not how often a profile was written, nor whom a token left."""
        found = {user: _plain(stored) for (_, user), stored in self.profiles._stored.items()}
        segments = {
            name: sorted(
                user
                for shard in range(4)
                for user in self.segments.members("acme", shard, parse(name))
            )
            for name in ("everyone", "a", "b")
        }
        owners = {key: (one.owner, one.at_ms) for key, one in self.tokens._stored.items()}
        return found, segments, owners


def _plain(stored: Profile) -> tuple[Any, ...]:
    """Devices in one order; when preferences were forgotten means nothing."""
    kept_ms = stored.preferences_at_ms if stored.opted_out_all else 0
    rest = msgspec.structs.replace(stored, version=0, devices=(), preferences_at_ms=kept_ms)
    return sorted(map(msgspec.structs.astuple, stored.devices)), msgspec.structs.astuple(rest)


class FakeLog:
    """The world's records as the rebuild reads them. Between batches, `meanwhile` happens."""

    def __init__(self, world: World, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._world, self._meanwhile = world, meanwhile
        self.at = dict.fromkeys(PARTS, 0)

    def ends(self) -> dict[tuple[str, int], int]:
        self._meanwhile()
        ends = dict.fromkeys(PARTS, 0)
        for record in self._world.records:
            ends[record.topic(), record.partition()] = record.offset() + 1
        return ends

    def read(
        self, topics: Sequence[str], ends: Mapping[tuple[str, int], int], *, batch: int
    ) -> Iterator[list[Any]]:
        due = [
            record
            for record in self._world.records
            if record.topic() in topics
            and self.at[part := (record.topic(), record.partition())]
            <= record.offset()
            < ends[part]
        ]
        for start in range(0, len(due), batch):
            self._meanwhile()
            yield due[start : start + batch]
            self._meanwhile()
        self.at.update({part: end for part, end in ends.items() if part[0] in topics})


def run(world: World, log: FakeLog | None = None, *, batch: int = 2) -> list[Progress]:
    """Rebuild; the stores are looked up at each use, as emptying replaces them."""

    class Profiles:
        def get_many(self, *args: Any) -> Any:
            return world.profiles.get_many(*args)

    made = Rebuild(
        log or FakeLog(world),
        TENANTS,
        define=Define(world.definitions),
        write=world.write,
        profiles=Profiles(),  # type: ignore[arg-type]
        batch=batch,
        monotonic=count(0.0, 0.5).__next__,
    )
    return list(made.run())


def when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def register(
    world: World, user: str, device: str, token: str, *, later_ms: int, older_ms: int = 0
) -> None:
    """older_ms: how long before Kafka took it the app says that it registered."""
    world.add(DEVICES, (user, device), later_ms, lambda at_ms: {
        "tenant": "acme", "user_id": user, "device_id": device, "platform": "fcm", "app": "android",
        "token": token, "registered_at": when(at_ms - older_ms),
    })  # fmt: skip


def tell(world: World, user: str, segments: Sequence[str], *, later_ms: int) -> None:
    world.add(USERS, (user,), later_ms, lambda at_ms: {
        "tenant": "acme", "user_id": user, "segments": list(segments), "updated_at": when(at_ms),
    })  # fmt: skip


def prefer(world: World, user: str, *, later_ms: int, opt_out: bool = True) -> None:
    world.add(PREFERENCES, (user,), later_ms, lambda at_ms: {
        "tenant": "acme", "user_id": user, "opt_out_all": opt_out, "updated_at": when(at_ms),
    })  # fmt: skip


def forget(world: World, topic: str, *names: str, later_ms: int) -> None:
    world.add(topic, names, later_ms, lambda _at_ms: None)


def die(
    world: World, user: str, device: str, token: str, *, later_ms: int, older_ms: int = 0
) -> None:
    world.add(TOKEN_DEATHS, (user, device), later_ms, lambda at_ms: msgspec.msgpack.encode(
        TokenDeath("acme", user, device, Platform.FCM, token, at_ms - older_ms,
                   Reason.TOKEN_UNREGISTERED, "android"),
    ))  # fmt: skip


def emptied(world: World) -> Any:
    """Let the live flow apply everything, then lose it; give what there was."""
    world.live(len(world.records))
    before = world.state()
    world.empty()
    return before


def test_everything_comes_back() -> None:
    """Users, devices, preferences, segments and owners; what died or was forgotten does not."""
    world = World()
    register(world, "u1", "d1", TOKENS[0], later_ms=1)
    register(world, "u2", "d1", TOKENS[1], later_ms=1)
    tell(world, "u1", ["a"], later_ms=1)
    prefer(world, "u1", later_ms=1)
    tell(world, "u2", ["a", "b"], later_ms=1)
    die(world, "u2", "d1", TOKENS[1], later_ms=1)
    tell(world, "u3", ["b"], later_ms=1)
    forget(world, USERS, "u3", later_ms=1)
    before = emptied(world)
    last = run(world)[-1]
    assert world.state() == before
    assert len(before[0]) == 2
    assert (last.phase, last.records, last.done, last.total) == ("done", 8, 8, 8)


def test_a_forgotten_user_does_not_come_back_through_an_old_device() -> None:
    """The tombstone lies in another topic than the registration."""
    world = World()
    register(world, "u1", "d1", TOKENS[0], later_ms=1)
    prefer(world, "u1", later_ms=1)
    forget(world, USERS, "u1", later_ms=1)
    before = emptied(world)
    run(world)
    assert world.state() == before == ({}, {"everyone": [], "a": [], "b": []}, {})


def test_a_death_that_is_older_than_the_registration_kills_nothing() -> None:
    """Also when its record comes later and the token is the same."""
    world = World()
    register(world, "u1", "d1", TOKENS[0], later_ms=10)
    die(world, "u1", "d1", TOKENS[0], later_ms=5, older_ms=6)
    before = emptied(world)
    run(world)
    assert world.state() == before
    assert len(before[0]["u1"][0]) == 1


def test_a_tombstone_that_the_live_flow_applied_meanwhile_holds() -> None:
    """Though the rebuild reads the registration before it afterwards."""
    world = World()
    register(world, "u1", "d1", TOKENS[0], later_ms=1)
    emptied(world)
    todo = [lambda: forget(world, DEVICES, "u1", "d1", later_ms=1), lambda: world.live(1)]

    def meanwhile() -> None:
        if log.began and todo:
            todo.pop(0)()
            meanwhile()

    class Log(FakeLog):
        began = False

        def read(self, *args: Any, **more: Any) -> Iterator[list[Any]]:
            self.began = True
            yield from super().read(*args, **more)

    log = Log(world, meanwhile)
    run(world, log)
    assert todo == []
    users, _, owners = world.state()
    assert (users["u1"][0], owners) == ([], {})


def test_what_was_written_while_catching_up_is_looked_at_again() -> None:
    """A registration in the second round, ended by the live flow before that round is written."""
    world = World()
    tell(world, "u2", [], later_ms=1)
    emptied(world)

    class Log(FakeLog):
        rounds = 0

        def ends(self) -> dict[tuple[str, int], int]:
            self.rounds += 1
            if self.rounds == 2:
                register(world, "u1", "d1", TOKENS[0], later_ms=1)
            return super().ends()

        def read(self, *args: Any, **more: Any) -> Iterator[list[Any]]:
            yield from super().read(*args, **more)
            if self.rounds == 2 and world.live_at < 3:
                forget(world, DEVICES, "u1", "d1", later_ms=1)
                world.live(2)

    log = Log(world)
    run(world, log)
    assert log.rounds == 4
    assert world.state()[0]["u1"][0] == []


def test_a_tombstone_counts_for_what_was_read_before_it() -> None:
    """Though all that Redis had before the batch is newer."""
    world = World()
    register(world, "u1", "d2", TOKENS[0], later_ms=1)
    forget(world, USERS, "u1", later_ms=1)
    register(world, "u1", "d1", TOKENS[1], later_ms=100_000)
    before = emptied(world)
    world.live_at = 2
    world.live(1)
    run(world, batch=50)
    assert world.state() == before


def test_a_rebuild_that_was_not_needed_never_takes_a_device_away() -> None:
    """At no moment: who registered after a tombstone stays reachable all the time."""
    world = World()
    later_ms = 100_000
    register(world, "u1", "d1", TOKENS[0], later_ms=later_ms)
    forget(world, DEVICES, "u1", "d1", later_ms=later_ms)
    forget(world, USERS, "u1", later_ms=later_ms)
    register(world, "u1", "d1", TOKENS[1], later_ms=later_ms)
    register(world, "u2", "d1", TOKENS[2], later_ms=later_ms)
    world.live(len(world.records))
    before, seen = world.state(), []
    run(world, FakeLog(world, lambda: seen.append(world.state()[0]["u1"][0])), batch=1)
    assert world.state() == before
    assert seen
    assert all(devices == before[0]["u1"][0] for devices in seen)


def test_unreadable_records_are_counted() -> None:
    """They are dead letters since the live flow met them."""
    world = World()
    world.add(USERS, ("u1",), 1, lambda _at_ms: b"{}")
    tell(world, "u2", [], later_ms=1)
    last = run(world)[-1]
    assert (last.records, last.unreadable) == (2, 1)


def test_progress_tells_how_much_is_left() -> None:
    """By offsets, at the pace so far."""
    world = World()
    for number in range(8):
        tell(world, f"u{number}", [], later_ms=1)
    first = run(world)[0]
    assert (first.phase, first.records, first.total) == ("registrations", 2, 8)
    progress = Progress("registrations", 20, 25, 100, 0, 5.0)
    assert (progress.records_per_s, progress.eta_s) == (4.0, 15.0)
    assert Progress("registrations", 0, 0, 0, 0, 0.0).eta_s == 0


users = st.sampled_from(["u1", "u2", "u3"])
devices = st.sampled_from(["d1", "d2"])
tokens = st.sampled_from(TOKENS)
older = st.sampled_from([0, 0, 500])
STEPS = st.one_of(
    st.tuples(st.just(register), users, devices, tokens, older),
    st.tuples(st.just(register), users, devices, tokens, older),
    st.tuples(st.just(die), users, devices, tokens, older),
    st.tuples(st.just(prefer), users),
    st.tuples(st.just(tell), users, st.sampled_from([(), ("a",), ("b",), ("a", "b")])),
    st.tuples(st.just(forget), st.just(DEVICES), users, devices),
    st.tuples(st.just(forget), st.just(USERS), users),
    st.tuples(st.just(forget), st.just(PREFERENCES), users),
)
PACES = st.sampled_from([1_000, 1_000, 100_000])


def happen(world: World, step: tuple[Any, ...], later_ms: int) -> None:
    kind, *rest = step
    more = {"older_ms": rest.pop()} if kind in {register, die} else {}
    kind(world, *rest, later_ms=later_ms, **more)


@settings(deadline=None, max_examples=50)
@given(
    before=st.lists(st.tuples(STEPS, PACES), max_size=12),
    meanwhile=st.lists(st.one_of(st.tuples(STEPS, PACES), st.integers(0, 3)), max_size=16),
    lag=st.integers(0, 4),
    again=st.integers(1, 2),
    batch=st.sampled_from([1, 2, 50]),
)
def test_whatever_happens_meanwhile_the_end_is_as_if_nothing_was_lost(
    before: list[Any],
    meanwhile: list[Any],
    lag: int,
    again: int,
    batch: int,
) -> None:
    """Any history, any writes and any steps of the live flow between the batches, run twice."""
    world, alone = World(), World()
    for step, later_ms in before:
        happen(world, step, later_ms)
    world.live(max(0, len(world.records) - lag))
    world.empty()
    todo = [*meanwhile]

    def act() -> None:
        if todo:
            what = todo.pop(0)
            if isinstance(what, int):
                world.live(what)
            else:
                happen(world, *what)

    for _ in range(again):
        run(world, FakeLog(world, act), batch=batch)
    world.live(len(world.records))
    alone.records = world.records
    for _ in world.records:
        alone.live(1)
    assert world.state() == alone.state()
