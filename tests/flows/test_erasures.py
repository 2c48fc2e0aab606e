"""Erasures through the registry: every store is swept, after crashes too, and who is back stays."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from engine_stand import with_engine
from flow_harness import Runner, Stores

from flows import compose_registry, rebuild
from flows.compose_stores import clickhouse_of
from flows.erasures import ErasureKeeper
from flows.list_upload import ListUpload
from flows.put_records import PutRecords
from operators.forget import requested
from schemas.campaigns import control_of
from schemas.definitions import Kind
from schemas.erasures import (
    HELD_MS,
    SWEEPS_AFTER_MS,
    Erasure,
    ErasureBody,
    ErasureState,
    erasure_of,
)
from schemas.registry import registry_key
from schemas.segments import parse
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import DEVICES, SEGMENTS, USER_EVENTS, USERS
from sinks.clickhouse import connect
from sinks.erased_rows import TABLES, ErasedRows
from state.best_hours import RedisBestHours
from state.caps import CapCheck, CapLimit, RedisCaps
from state.definitions import RedisDefinitions, Watched
from state.erasing import RedisErasing
from state.profiles import RedisProfiles
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segment_work import RedisSegmentWork
from state.tokens import RedisTokens

SHARDS = 4
TOKEN = {"anna": "ab" * 32, "bob": "cd" * 32}


class KilledError(Exception):
    """The keeper died here."""


@pytest.fixture
def settings(stores: Stores, tmp_path: Path) -> Iterator[Settings]:
    """Give settings with an embedded ClickHouse."""
    yield from with_engine(stores, tmp_path)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """Give a ClickHouse client."""
    made = connect(clickhouse_of(settings))
    yield made
    made.close()


def said(topic: str, user: str, key: bytes, **more: Any) -> Record:
    value = {"tenant": "acme", "user_id": user, **more}
    return Record(topic, key, json.dumps(value).encode())


def iso(at_ms: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at_ms / 1_000))}.{at_ms % 1_000:03}Z"


def registered(user: str, at_ms: int, device: str = "phone") -> list[Record]:
    """Give what registers a user with a device."""
    at = iso(at_ms)
    phone = {"device_id": device, "platform": "apns", "app": "ios", "token": TOKEN[user]}
    return [
        said(USERS, user, registry_key("acme", user), updated_at=at, segments=["buyers"]),
        said(DEVICES, user, registry_key("acme", user, device), registered_at=at, **phone),
        said(USER_EVENTS, user, user.encode(), id=f"{user}-{at}", name="order", occurred_at=at),
    ]


class World:
    """The stores, with anna and bob in all of them."""

    def __init__(self, stores: Stores, settings: Settings, redis: RedisClient) -> None:
        self.stores, self.settings, self.redis = stores, settings, redis
        self.registry = Runner(settings, "registry")
        self.now_ms = time.time_ns() // 1_000_000
        self.definitions = RedisDefinitions(redis)
        self.profiles = RedisProfiles(redis)
        for user in TOKEN:
            stores.put(registered(user, self.now_ms - 90_000))
        with ListUpload(stores.kafka, tenant="acme", segment="vip", upload="1-a") as to:
            to.put(list(TOKEN), "replace")
            to.finish("replace", {})
        self.registry.run()
        RedisBestHours(redis).put_many("acme", SHARDS, [(user, 9) for user in TOKEN])
        checks = [CapCheck(user, "m", (CapLimit("news", 5, 60_000),)) for user in TOKEN]
        RedisCaps(redis).admit_many("acme", SHARDS, checks, self.now_ms)

    def ask(self, user: str = "anna", name: str = "er-1") -> Erasure:
        """Ask for an erasure, as the API does."""
        body = ErasureBody(user_id=user, user_hash="f" * 32, erased_ms=self.now_ms)
        one = Erasure(name, "acme", 1, body)
        self.stores.put(requested(one, ["phone"], self.now_ms))
        self.registry.run()
        return one

    def keeper(self, put: Callable[[Sequence[Record]], None] | None = None) -> ErasureKeeper:
        """Make a keeper, as a process that has just started has it."""
        where = clickhouse_of(self.settings)

        @contextmanager
        def rows() -> Iterator[ErasedRows]:
            client = connect(where)
            yield ErasedRows(client)
            client.close()

        return ErasureKeeper(
            {"acme": self.tenant},
            erasures=Watched(self.definitions, Kind.ERASURE, ["acme"], erasure_of, refresh_s=0),
            definitions=self.definitions,
            profiles=self.profiles,
            erasing=RedisErasing(self.redis),
            work=RedisSegmentWork(self.redis),
            rows=rows,
            put=put or PutRecords(self.stores.kafka),
            now_ms=lambda: self.now_ms,
        )

    @property
    def tenant(self) -> Any:
        from flows.config import load_tenants  # noqa: PLC0415 - needed here alone

        return load_tenants(self.settings.tenants_dir)["acme"]

    def turn(self, keeper: ErasureKeeper | None = None) -> None:
        """Sweep what is due, and let the registry follow."""
        (keeper or self.keeper()).turn()
        self.registry.run()

    def erasure(self, name: str = "er-1") -> ErasureBody:
        """Give how far it is."""
        found = self.definitions.get(Kind.ERASURE, "acme", name)
        assert found is not None
        return erasure_of(found).body

    def keys_with(self, user: str) -> set[bytes]:
        """Give all keys of Redis in whose name, value or members the user's id is."""
        found: set[bytes] = set()
        for batch in self.redis.scan("{acme:[0-9t]*", step=100):
            for key in batch:
                kind = self.redis.run("TYPE", key)
                read = {b"set": ("SMEMBERS",), b"hash": ("HGETALL",), b"string": ("GET",),
                        b"zset": ("ZRANGE",)}[kind]  # fmt: skip
                more = (0, -1) if kind == b"zset" else ()
                if user.encode() in key + repr(self.redis.run(*read, key, *more)).encode():
                    found.add(key)
        return found

    def in_list(self) -> set[str]:
        segments = RedisSegments(self.redis)
        return {u for n in range(SHARDS) for u in segments.members("acme", n, parse("vip"))}


class NoThread:
    """Stands for the registry's own keeper: these tests turn theirs by hand."""

    def start(self) -> None:
        """Nothing to start."""

    close = start


@pytest.fixture
def world(
    stores: Stores, settings: Settings, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setattr(compose_registry, "make_erasures", lambda *_: NoThread())
    return World(stores, settings, redis)


def rows_of(client: Client, user: str) -> dict[str, int]:
    return {
        table: client.query(
            f"SELECT count() FROM {table} WHERE user_id = {{u:String}}",  # noqa: S608 - our own
            parameters={"u": user},
        ).first_row[0]
        for table in TABLES
    }


def test_every_store_forgets_the_user_and_a_rebuild_does_not_bring_him_back(
    world: World, client: Client
) -> None:
    """Others stay as they were; the receipt lists the stores; the id is gone in the end."""
    bobs, rows_before = world.keys_with("bob"), rows_of(client, "bob")
    assert bobs
    assert world.keys_with("anna")
    world.ask()
    assert world.erasure().state is ErasureState.REQUESTED
    world.turn()
    after = world.erasure()
    assert (after.state, after.user_id) == (ErasureState.ERASED, "anna")
    assert world.keys_with("anna") == set()
    assert rows_of(client, "anna") == dict.fromkeys(TABLES, 0)
    removed = {one.store: one.removed for one in after.stores}
    assert (removed["lists"], removed["redis.caps"], removed["clickhouse.user_events"]) == (1, 1, 1)
    assert world.in_list() == {"bob"}
    for after_ms in SWEEPS_AFTER_MS[1:]:
        world.now_ms = after.erased_ms + after_ms
        world.turn()
    done = world.erasure()
    assert (done.state, done.user_id, done.sweeps) == (ErasureState.COMPLETE, "", 6)
    assert world.definitions.all(Kind.CONTROL, "acme") == {}
    assert world.keys_with("bob") == bobs
    assert rows_of(client, "bob") == rows_before
    world.redis.run("FLUSHALL")
    assert [*rebuild.rebuild(world.settings)][-1].phase == "done"
    assert world.keys_with("anna") == set()
    assert world.in_list() == {"bob"}
    assert RedisTokens(world.redis).owners("acme", [TOKEN["anna"]]) == [None]
    # What remains on the list's topic until it is replaced is the part that takes the user out.
    assert b"anna" in b"".join(value for value in world.stores.read(SEGMENTS) if value)


@pytest.mark.parametrize("at", [1, 2])
def test_a_crash_in_the_middle_is_made_good(world: World, client: Client, at: int) -> None:
    """Before anything was removed, and after all of it but before that was noted."""
    world.ask()
    puts = iter(range(1, 9))
    put = PutRecords(world.stores.kafka)

    def dying(records: Sequence[Record]) -> None:
        if next(puts) == at:
            raise KilledError
        put(records)

    with pytest.raises(KilledError):
        world.keeper(dying).turn()
    world.registry.run()
    assert world.erasure().state is ErasureState.REQUESTED
    world.turn()
    assert world.erasure().state is ErasureState.ERASED
    assert world.keys_with("anna") == set()
    assert rows_of(client, "anna") == dict.fromkeys(TABLES, 0)
    assert world.in_list() == {"bob"}


def test_who_registers_again_is_a_new_user(world: World, client: Client) -> None:
    """No later sweep takes anything from him; what is from before still goes."""
    one = world.ask()
    world.turn()
    back_ms = one.body.erased_ms + 1
    world.stores.put(registered("anna", back_ms))
    late = said(USER_EVENTS, "anna", b"anna", id="late", name="order", occurred_at=iso(back_ms - 9))
    world.stores.put([late])
    world.registry.run()
    assert rows_of(client, "anna")["user_events"] == 2
    world.now_ms += HELD_MS
    for _ in SWEEPS_AFTER_MS[1:]:
        world.turn()
    assert world.erasure().state is ErasureState.COMPLETE
    (profile,) = world.profiles.get_many("acme", SHARDS, ["anna"])
    assert profile is not None
    assert [device.device_id for device in profile.devices] == ["phone"]
    assert rows_of(client, "anna")["user_events"] == 1
    for view in ("users_current", "devices_current"):
        found = client.query(f"SELECT user_id FROM {view} ORDER BY user_id")  # noqa: S608 - ours
        assert found.result_rows == [("anna",), ("bob",)]


def test_a_second_erasure_keeps_its_control_when_the_first_is_complete(world: World) -> None:
    """The user came back and asked again: messages from before that still end."""
    first = world.ask()
    world.now_ms += SWEEPS_AFTER_MS[3]
    world.ask(name="er-2")
    world.now_ms = first.body.erased_ms + HELD_MS
    for _ in SWEEPS_AFTER_MS:
        world.turn()
    assert world.erasure("er-1").state is ErasureState.COMPLETE
    assert world.erasure("er-2").state is ErasureState.ERASED
    (control,) = world.definitions.all(Kind.CONTROL, "acme").values()
    assert control_of(control).start_id == "er-2"


def test_a_record_from_before_that_comes_late_is_forgotten_too(world: World) -> None:
    """A producer that was away puts it after the tombstones: they are put again."""
    one = world.ask()
    world.turn()
    late = registered("anna", one.body.erased_ms - 5, device="tablet")[1]
    world.stores.put([late])
    world.registry.run()
    keeper = world.keeper()
    world.now_ms += SWEEPS_AFTER_MS[1]
    world.turn(keeper)
    assert world.erasure().sweeps == 1
    world.now_ms += 60_000
    world.turn(keeper)
    assert world.profiles.get_many("acme", SHARDS, ["anna"]) == [None]
    world.turn(keeper)
    assert world.erasure().sweeps == 2
    assert world.keys_with("anna") == set()


def test_the_registry_does_it_by_itself(
    stores: Stores, settings: Settings, redis: RedisClient, client: Client
) -> None:
    """A thread of it sweeps as soon as it reads of an erasure."""
    world = World(stores, settings, redis)
    world.ask()
    world.registry.run(until=lambda: world.erasure().state is ErasureState.ERASED)
    assert world.keys_with("anna") == set()
    # The mark of a device's removal may be written after the first sweep: the next one takes it.
    assert {**rows_of(client, "anna"), "devices": 0} == dict.fromkeys(TABLES, 0)
    known = "SELECT count() FROM devices_current WHERE user_id = 'anna'"
    assert client.query(known).first_row[0] == 0
