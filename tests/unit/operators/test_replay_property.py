"""Whatever crashes and however batches are cut again, the committed decisions stay right."""

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from schemas.stream import Record
from schemas.topics import CHUNKS, EVENTS
from state.redis_client import RedisClient
from tests.contract.state_stores import in_memory, in_redis
from tests.unit.operators.builders import NOW_MS
from tests.unit.operators.examples import examples
from tests.unit.operators.replay_checks import check
from tests.unit.operators.replay_events import (
    CATEGORIES,
    DEVICES,
    Said,
    people,
    tenants,
)
from tests.unit.operators.replay_world import MINUTE_MS, Turn, World
from tests.unit.operators.route_chain import run_chain, run_graph

pytest_plugins = ["tests.contract.state_fixtures"]

SAID = st.builds(
    Said,
    st.sampled_from(("acme", "acme", "beta")),
    st.sampled_from(tuple(CATEGORIES)),
    st.sampled_from(("normal", "normal", "normal", "critical")),
    st.sampled_from(("users", "users", "devices", "segment")),
    st.lists(st.sampled_from((*DEVICES, "unknown")), min_size=1, max_size=4, unique=True).map(
        tuple
    ),
    st.integers(0, 2),
    st.sampled_from((0, 0, 0, 7)),
)
TURN = st.builds(
    Turn,
    st.lists(
        st.sampled_from(("events.normal", "events.critical", "chunks.normal", "chunks.critical")),
        min_size=1,
        max_size=4,
        unique=True,
    ).map(tuple),
    st.integers(1, 5),
    st.sampled_from(("commit", "commit", "abort", "crash")),
    st.sampled_from((0, 1, 20, 5_000, 5 * MINUTE_MS, 90 * MINUTE_MS)),
)
STEPS = st.lists(st.one_of(SAID, TURN), min_size=4, max_size=40)


def play(world: World, steps: Iterable[Said | Turn]) -> dict[str, Said]:
    """Do all steps, then run to the end. Gives the events by message id."""
    said: dict[str, Said] = {}
    for step in steps:
        if isinstance(step, Said):
            name = f"m{len(said)}"
            step.put(world, len(said))
            said[name] = step
            continue
        world.turn(step)
    world.drain()
    return said


@examples(80, 5_000)
@given(STEPS)
def test_committed_decisions_are_right_whatever_crashes(steps: list[Said | Turn]) -> None:
    """One decision each, no cap exceeded, no slot spent twice, no replay its own duplicate."""
    world = World(people(in_memory()), tenants())
    check(world, play(world, steps))


@examples(4, 150)
@given(steps=STEPS)
def test_committed_decisions_are_right_on_valkey(
    valkey_client_alone: RedisClient, steps: list[Said | Turn]
) -> None:
    """The same with the shared state in a server."""
    valkey_client_alone.run("FLUSHALL")
    world = World(people(in_redis(valkey_client_alone)), tenants())
    check(world, play(world, steps))


@examples(30, 1_000)
@given(st.lists(SAID, min_size=1, max_size=12), st.integers(1, 3))
def test_a_batch_done_again_gives_the_same_records(said: list[Said], times: int) -> None:
    """Cut as before, at the same time and without rates: byte for byte, in a new process too."""
    world = World(people(in_memory()), tenants())
    for number, event in enumerate(said):
        if event.tenant == "acme":
            event.put(world, number)
    topics = (*EVENTS.values(), *CHUNKS.values())
    first = world.run(topics, 100, commit=False)
    for _ in range(times):
        assert world.run(topics, 100, commit=False) == first
        world.restart()
    assert world.run(topics, 100, commit=True) == first


def test_of_two_who_want_the_last_slot_the_one_recorded_first_keeps_it() -> None:
    """Also when the other one comes first after the crash, in a batch cut elsewhere."""
    world = World(people(in_memory()), tenants())
    normal = Said("acme", "ads", "normal", "users", ("u0",), 0, 0)
    normal.put(world, 0)
    world.run(["events.normal"], 1, commit=False)
    high = Said("acme", "ads", "high", "users", ("u0",), 0, 0)
    high.put(world, 1)
    world.restart()
    world.run(["events.high"], 1, commit=True)
    world.run(["events.normal"], 1, commit=True)
    assert [delivery.message_id for delivery in world.sent] == ["m0"]
    assert [outcome.message_id for outcome in world.outcomes] == ["m1"]


def test_of_two_events_with_one_key_the_one_seen_first_goes_on() -> None:
    """Also when the other one is committed first."""
    world = World(people(in_memory()), tenants())
    Said("acme", "alerts", "normal", "users", ("u0",), 1, 0).put(world, 0)
    world.run(["events.normal"], 1, commit=False)
    Said("acme", "alerts", "high", "users", ("u0",), 1, 0).put(world, 1)
    world.run(["events.high"], 1, commit=True)
    world.run(["events.normal"], 1, commit=True)
    assert [delivery.message_id for delivery in world.sent] == ["m0"]
    assert [(o.message_id, o.reason) for o in world.outcomes] == [("m1", "duplicate_event")]


def test_a_replay_counts_from_when_it_goes_out() -> None:
    """Not from the run that was lost: the next ad is an hour after the one that was sent."""
    world = World(people(in_memory()), tenants())
    ad = Said("acme", "ads", "normal", "users", ("u0",), 0, 0)
    ad.put(world, 0)
    world.run(["events.normal"], 1, commit=False)
    world.now_ms += 35 * MINUTE_MS
    world.run(["events.normal"], 1, commit=True)
    ad.put(world, 1)
    world.now_ms += 26 * MINUTE_MS
    world.run(["events.normal"], 1, commit=True)
    ad.put(world, 2)
    world.now_ms += 34 * MINUTE_MS
    world.run(["events.normal"], 1, commit=True)
    assert [delivery.message_id for delivery in world.sent] == ["m0", "m2"]


def test_after_an_outage_longer_than_the_window_a_replay_keeps_its_permission() -> None:
    """The one exception: it was let through, and goes out beside what came in the meantime."""
    world = World(people(in_memory()), tenants())
    ad = Said("acme", "ads", "normal", "users", ("u0",), 0, 0)
    ad.put(world, 0)
    world.run(["events.normal"], 1, commit=False)
    world.now_ms += 61 * MINUTE_MS
    Said("acme", "ads", "high", "users", ("u0",), 0, 0).put(world, 1)
    world.run(["events.high"], 1, commit=True)
    world.run(["events.normal"], 1, commit=True)
    assert [delivery.message_id for delivery in world.sent] == ["m1", "m0"]


def test_a_slot_whose_message_is_held_at_the_replay_is_not_spent_twice() -> None:
    """Night fell during the outage: it keeps its slot, and goes out in the morning."""
    world = World(people(in_memory()), tenants())
    world.now_ms = evening = NOW_MS - (2 * 60 + 40 + 125) * MINUTE_MS  # 21:55
    ad = Said("acme", "ads", "normal", "users", ("asleep",), 0, 0)
    ad.put(world, 0)
    world.run(["events.normal"], 1, commit=False)
    world.now_ms = evening + 10 * MINUTE_MS
    world.run(["events.normal"], 1, commit=True)
    assert world.sent == []
    world.drain()
    assert [delivery.message_id for delivery in world.sent] == ["m0"]


def test_a_replay_may_be_held_by_a_rate_but_is_sent_once() -> None:
    """Rates are leased by each process: what went at first may wait in line the second time."""
    world = World(people(in_memory()), tenants())
    for number in range(4):
        Said("beta", "alerts", "normal", "users", ("u0", "u2"), 0, 0).put(world, number)
    world.run(["events.normal"], 4, commit=False)
    world.restart()
    world.run(["events.normal"], 4, commit=True)
    held = [outcome.delivery_id for outcome in world.outcomes]
    assert len(held) + len(world.sent) == 8
    assert [timer.timer_id for timer in world.timers] == [o.outcome_id for o in world.outcomes]
    world.drain()
    assert len({delivery.delivery_id for delivery in world.sent}) == len(world.sent) == 8


def test_an_aborted_epoch_leaves_no_longer_line_behind() -> None:
    """A process that does an epoch again finds the places that it took."""
    world = World(people(in_memory()), tenants())
    for number in range(9):
        Said("beta", "alerts", "normal", "users", ("u0",), 0, 0).put(world, number)
    for _ in range(20):
        world.run(["events.normal"], 9, commit=False)
    world.run(["events.normal"], 9, commit=True)
    assert max(timer.due_at_ms for timer in world.timers) <= world.now_ms + 9 * 5_000 + 1


def test_the_chain_here_is_the_graph() -> None:
    """One batch through both gives the same records."""
    worlds = [World(people(in_memory()), tenants(), chunk_users=1_000) for _ in range(2)]
    found: list[list[Record]] = []
    for world, runs in zip(worlds, (run_graph, None), strict=True):
        for number, kind in enumerate(("users", "devices", "segment")):
            said = Said("acme", "news", "normal", kind, ("u0", "u1", "silent"), number, 0)
            said.put(world, number)
        batch = world.waiting("events.normal")
        if runs is not None:
            found.append(runs(world.stores, world.tenants, batch, world.now_ms))
        else:
            found.append(run_chain(world._parts, batch, world.now_ms))
    assert Counter(found[0]) == Counter(found[1])
