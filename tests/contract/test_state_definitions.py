"""Definitions: memory and Redis behave alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definitions import Definition, Kind
from state.definitions import Definitions, Removed, Watched
from state.memory import MemoryDefinitions
from state.redis_client import RedisClient
from tests.contract.state_stores import Stores

pytest_plugins = ["tests.contract.state_fixtures"]

T0 = 1_700_000_000_000


def one(name: str = "welcome", at_ms: int = T0, body: bytes = b"{}") -> Definition:
    return Definition(Kind.TEMPLATE, "acme", name, 1, body, at_ms)


def test_what_is_stored_is_found_again(stores: Stores) -> None:
    """By its name, among its kind's and tenant's."""
    stores.definitions.apply([one("b"), one("a", body=b'{"x":1}')])
    assert stores.definitions.get(Kind.TEMPLATE, "acme", "a") == one("a", body=b'{"x":1}')
    assert list(stores.definitions.all(Kind.TEMPLATE, "acme")) == ["a", "b"]
    assert stores.definitions.get(Kind.SEGMENT, "acme", "a") is None
    assert stores.definitions.all(Kind.TEMPLATE, "other") == {}


@pytest.mark.parametrize("late", [one(at_ms=T0 - 1), Removed(Kind.TEMPLATE, "acme", "welcome", 1)])
def test_the_later_record_wins(stores: Stores, late: Definition | Removed) -> None:
    """What comes again out of its order changes nothing, neither does it tell of a change."""
    now = one(body=b'{"now":1}')
    stores.definitions.apply([now])
    before = stores.definitions.marks(Kind.TEMPLATE, ["acme"])
    stores.definitions.apply([late, now])
    assert stores.definitions.get(Kind.TEMPLATE, "acme", "welcome") == now
    assert stores.definitions.marks(Kind.TEMPLATE, ["acme"]) == before


def test_removed_is_gone(stores: Stores) -> None:
    """And may be defined anew."""
    stores.definitions.apply([one(), Removed(Kind.TEMPLATE, "acme", "welcome", T0)])
    assert stores.definitions.all(Kind.TEMPLATE, "acme") == {}
    stores.definitions.apply([one(at_ms=T0 + 1)])
    assert list(stores.definitions.all(Kind.TEMPLATE, "acme")) == ["welcome"]


def test_every_change_changes_the_mark(stores: Stores) -> None:
    """Of its own tenant and kind only."""
    seen = [stores.definitions.marks(Kind.TEMPLATE, ["acme", "other"])]
    for change in (one(), one(at_ms=T0 + 1), Removed(Kind.TEMPLATE, "acme", "welcome", T0 + 2)):
        stores.definitions.apply([change])
        seen.append(stores.definitions.marks(Kind.TEMPLATE, ["acme", "other"]))
    assert len({mark for mark, _ in seen}) == 4
    assert {other for _, other in seen} == {""}
    assert stores.definitions.marks(Kind.SEGMENT, ["acme"]) == [""]


_names = st.sampled_from("ab")
_changes = st.lists(
    st.one_of(
        st.builds(one, _names, st.integers(T0, T0 + 3), st.sampled_from([b"{}", b"[]"])),
        st.builds(
            Removed, st.just(Kind.TEMPLATE), st.just("acme"), _names, st.integers(T0, T0 + 3)
        ),
    ),
    max_size=8,
)


@given(_changes, st.integers(0, 8))
def test_a_replay_ends_alike(changes: list[Definition | Removed], crash_at: int) -> None:
    """In the order of Kafka's time, done again from anywhere."""
    ordered = sorted(changes, key=lambda change: change.at_ms)
    whole, replayed = MemoryDefinitions(), MemoryDefinitions()
    whole.apply(ordered)
    replayed.apply(ordered[:crash_at])
    replayed.apply(ordered)
    assert whole.all(Kind.TEMPLATE, "acme") == replayed.all(Kind.TEMPLATE, "acme")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _watched(definitions: Definitions, clock: Clock, bad: list[str]) -> Watched[str]:
    def decode(one: Definition) -> str:
        if one.body == b"[]":
            raise ValueError("a list")
        return one.body.decode()

    return Watched(
        definitions, Kind.TEMPLATE, ["acme"], decode,
        unreadable=lambda one, _error: bad.append(one.name), monotonic=clock,
    )  # fmt: skip


def test_a_view_follows(stores: Stores) -> None:
    """Once what it read is old enough; what cannot be decoded is told and left out."""
    clock, bad = Clock(), list[str]()
    view = _watched(stores.definitions, clock, bad)
    assert view.of("acme") == {}
    stores.definitions.apply([one("a"), one("b", body=b"[]")])
    assert view.of("acme") == {}
    clock.now_s = 0.2
    assert view.of("acme") == {"a": "{}"}
    assert bad == ["b"]
    assert view.of("unknown") == {}
    stores.definitions.apply([Removed(Kind.TEMPLATE, "acme", "a", T0)])
    clock.now_s = 0.4
    assert view.of("acme") == {}


def test_a_view_follows_an_emptied_redis(valkey_client_alone: RedisClient) -> None:
    """A store that lost everything is one that has nothing defined."""
    from state.definitions import RedisDefinitions  # noqa: PLC0415 - only here

    definitions = RedisDefinitions(valkey_client_alone)
    clock = Clock()
    view = _watched(definitions, clock, [])
    definitions.apply([one("a")])
    assert list(view.of("acme")) == ["a"]
    valkey_client_alone.run("FLUSHALL")
    clock.now_s = 1.0
    assert view.of("acme") == {}


def test_one_at_a_time_may_change_a_definition(stores: Stores) -> None:
    """Until it gives the right back; each definition has its own."""
    hold, release = stores.definitions.hold, stores.definitions.release
    assert hold(Kind.TEMPLATE, "acme", "a", "me", ttl_s=60)
    assert not hold(Kind.TEMPLATE, "acme", "a", "you", ttl_s=60)
    assert hold(Kind.SEGMENT, "acme", "a", "you", ttl_s=60)
    assert hold(Kind.TEMPLATE, "other", "a", "you", ttl_s=60)
    release(Kind.TEMPLATE, "acme", "a", "you")
    assert not hold(Kind.TEMPLATE, "acme", "a", "you", ttl_s=60)
    release(Kind.TEMPLATE, "acme", "a", "me")
    assert hold(Kind.TEMPLATE, "acme", "a", "you", ttl_s=60)
