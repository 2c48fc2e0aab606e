"""Digests and contests: whatever crashes, every event ends once, and no cap is exceeded."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import Reason, Status
from schemas.pipeline import Content
from schemas.tenant import Tenant
from schemas.topics import EVENTS
from state.redis_client import RedisClient
from tests.contract.state_stores import in_memory, in_redis
from tests.unit.operators.examples import examples
from tests.unit.operators.replay_events import DEVICES, people
from tests.unit.operators.replay_world import MINUTE_MS, Turn, World

pytest_plugins = ["tests.contract.state_fixtures"]

USERS = ("u0", "u1", "u2")
NAMES = "{% for item in items %}{{ item.name }} {% endfor %}"
ENDS = {Reason.IN_DIGEST, Reason.OUTRANKED, Reason.FREQUENCY_CAP}
_content = msgspec.msgpack.Decoder(Content).decode


def tenants() -> dict[str, Tenant]:
    """Make a tenant with fixed and sliding digests, and a contest for one message an hour."""
    digest = {"template": "told", "max_items": 4}
    day = {"quiet_hours": "ignore"}
    categories = {
        "fixed": {**day, "digest": {**digest, "window_s": "5m", "by": "key"}},
        "sliding": {**day, "digest": {**digest, "window_s": "5m", "sliding": True}},
        "contest": {
            **day,
            "arbitration": {"window_s": "1m", "value": "value"},
            "caps": [{"limit": 1, "window_s": "1h"}],
        },
    }
    templates = {"told": {"texts": {"en": {"title": "{{ count }}", "body": NAMES}}}}
    acme = {"name": "acme", "shards": 2, "categories": categories, "templates": templates}
    return {"acme": Tenant.model_validate(acme)}


class Said(NamedTuple):
    """An event. key: of its digest. value: in its contest."""

    category: str
    users: tuple[str, ...]
    key: int
    value: int
    priority: str = "normal"

    def put(self, world: World, name: str) -> None:
        event = {
            "id": name,
            "tenant": "acme",
            "type": "t",
            "category": self.category,
            "audience": {"users": list(self.users)},
            "content": {"title": "Hello"},
            "variables": {"name": name, "key": self.key, "value": self.value},
        }
        world.put(EVENTS[self.priority], json.dumps(event).encode())  # type: ignore[index]


SAID = st.builds(
    Said,
    st.sampled_from(("fixed", "sliding", "contest")),
    st.lists(st.sampled_from(USERS), min_size=1, max_size=3, unique=True).map(tuple),
    st.integers(0, 1),
    st.integers(0, 3),
    st.sampled_from(("normal", "high")),
)
TURN = st.builds(
    Turn,
    st.lists(
        st.sampled_from(("events.normal", "events.high", "chunks.normal", "chunks.high")),
        min_size=1,
        max_size=4,
        unique=True,
    ).map(tuple),
    st.integers(1, 6),
    st.sampled_from(("commit", "commit", "abort", "crash")),
    st.sampled_from((0, 1, 5_000, 59_000, MINUTE_MS, 5 * MINUTE_MS, 90 * MINUTE_MS)),
)
STEPS = st.lists(st.one_of(SAID, TURN), min_size=4, max_size=40)


def play(world: World, steps: Iterable[Said | Turn]) -> dict[str, Said]:
    """Do all steps, then run to the end. Gives the events by message id."""
    said: dict[str, Said] = {}
    for step in steps:
        if isinstance(step, Said):
            name = f"m{len(said)}"
            step.put(world, name)
            said[name] = step
            continue
        world.turn(step)
    world.drain()
    return said


def check(world: World, said: dict[str, Said]) -> None:
    """Check that every event ended once for every user, and every digest tells what is in it."""
    ids = Counter(outcome.outcome_id for outcome in world.outcomes)
    assert set(ids.values()) <= {1}
    pushes = Counter((d.message_id, d.user_id, d.device_id) for d in world.sent)
    assert set(pushes.values()) <= {1}
    ends: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    inside: defaultdict[str, list[str]] = defaultdict(list)
    for outcome in world.outcomes:
        if outcome.status is not Status.DEFERRED:
            assert outcome.reason in ENDS
            ends[outcome.message_id, outcome.user_id][outcome.reason] += 1
            if outcome.reason is Reason.IN_DIGEST:
                inside[outcome.detail.removeprefix("digest ")].append(outcome.message_id)
    told: dict[str, list[str]] = {}
    for delivery in world.sent:
        if delivery.message_id in said:
            ends[delivery.message_id, delivery.user_id]["sent"] += 1
        else:
            content = _content(delivery.content)
            told[delivery.message_id] = content.body.split()
            assert content.title == str(len(told[delivery.message_id]))
    assert told == inside
    assert ends.keys() == {(name, user) for name, event in said.items() for user in event.users}
    for (name, user), reasons in ends.items():
        digested = said[name].category != "contest"
        right = [Counter({Reason.IN_DIGEST: 1})]
        if not digested:
            right = [Counter(sent=len(DEVICES[user])), Counter({Reason.OUTRANKED: 1})]
            right.append(Counter({Reason.FREQUENCY_CAP: 1}))
        assert reasons in right, (name, user, reasons)
    for user in USERS:
        times = sorted(
            {at for ((_, who, cap), name), at in world.admitted_at_ms.items()
             if who == user and cap == "contest"}
        )  # fmt: skip
        gaps = [later - first for first, later in pairwise(times)]
        assert all(gap >= 60 * MINUTE_MS for gap in gaps), (user, times)


@examples(80, 5_000)
@given(STEPS)
def test_every_event_ends_once_whatever_crashes(steps: list[Said | Turn]) -> None:
    """In one digest with the others of its window, or by its contest."""
    world = World(people(in_memory()), tenants())
    check(world, play(world, steps))


@examples(4, 150)
@given(steps=STEPS)
def test_every_event_ends_once_on_valkey(
    valkey_client_alone: RedisClient, steps: list[Said | Turn]
) -> None:
    """The same with the shared state in a server."""
    valkey_client_alone.run("FLUSHALL")
    world = World(people(in_redis(valkey_client_alone)), tenants())
    check(world, play(world, steps))


def test_a_window_whose_opening_is_done_again_gets_its_timer() -> None:
    """The run that was lost opened it; the one that counts sets the timer."""
    world = World(people(in_memory()), tenants())
    Said("fixed", ("u0",), 0, 0).put(world, "m0")
    world.run(["events.normal"], 1, commit=False)
    world.now_ms += MINUTE_MS
    world.restart()
    world.run(["events.normal"], 1, commit=True)
    (timer,) = world.timers
    assert timer.due_at_ms == world.now_ms + 4 * MINUTE_MS
    world.drain()
    assert len(world.sent) == 1


def test_a_closing_that_is_done_again_sends_the_same_digest() -> None:
    """Also when another event has come in between: that one waits for the next."""
    world = World(people(in_memory()), tenants())
    Said("fixed", ("u0",), 0, 0).put(world, "m0")
    world.run(["events.normal"], 1, commit=True)
    world.now_ms += 5 * MINUTE_MS
    world.fire()
    first = world.run(["chunks.normal"], 1, commit=False)
    Said("fixed", ("u0",), 0, 0).put(world, "m1")
    world.run(["events.normal"], 1, commit=True)
    world.restart()
    assert world.run(["chunks.normal"], 1, commit=True) == first
    world.drain()
    assert [_content(d.content).body for d in world.sent] == ["m0 ", "m1 "]


def test_an_event_that_is_done_again_after_its_digest_is_in_no_other() -> None:
    """It was in the window when another process closed it, and stays a part of that digest."""
    world = World(people(in_memory()), tenants())
    Said("fixed", ("u0",), 0, 0, "high").put(world, "m0")
    world.run(["events.high"], 1, commit=False)
    Said("fixed", ("u0",), 0, 0).put(world, "m1")
    world.run(["events.normal"], 1, commit=True)
    world.now_ms += 5 * MINUTE_MS
    world.fire()
    world.run(["chunks.normal"], 1, commit=True)
    world.restart()
    world.drain()
    assert [_content(d.content).body for d in world.sent] == ["m0 m1 "]
    ends = [o.message_id for o in world.outcomes if o.reason is Reason.IN_DIGEST]
    assert ends == ["m0", "m1"]
