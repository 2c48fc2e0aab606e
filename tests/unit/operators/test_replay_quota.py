"""A tenant's quota of the day: given out to the last message, whatever crashes."""

import json
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import Reason, Status
from schemas.tenant import Tenant
from schemas.topics import EVENTS
from state.redis_client import RedisClient
from tests.contract.state_stores import in_memory, in_redis
from tests.unit.operators.examples import examples
from tests.unit.operators.replay_events import people
from tests.unit.operators.replay_world import MINUTE_MS, Turn, World

pytest_plugins = ["tests.contract.state_fixtures"]

MOST = 7
USERS = ("u0", "u1", "u2")
TENANT = Tenant.model_validate(
    {
        "name": "acme",
        "shards": 2,
        "categories": {"news": {"quiet_hours": "ignore"}},
        "quotas": {"daily": MOST},
    }
)


class Said(NamedTuple):
    """An event."""

    users: tuple[str, ...]
    priority: str

    def put(self, world: World, name: str) -> None:
        event = {
            "id": name,
            "tenant": "acme",
            "type": "t",
            "category": "news",
            "audience": {"users": list(self.users)},
            "content": {"title": "Hello"},
        }
        world.put(EVENTS[self.priority], json.dumps(event).encode())  # type: ignore[index]


TOPICS = ("events.normal", "events.high", "chunks.normal", "chunks.high")
STEPS = st.lists(
    st.one_of(
        st.builds(
            Said,
            st.lists(st.sampled_from(USERS), min_size=1, max_size=3, unique=True).map(tuple),
            st.sampled_from(("normal", "high")),
        ),
        st.builds(
            Turn,
            st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4, unique=True).map(tuple),
            st.integers(1, 5),
            st.sampled_from(("commit", "commit", "abort", "crash")),
            st.sampled_from((0, 5_000, 5 * MINUTE_MS)),
        ),
    ),
    min_size=4,
    max_size=30,
)


def play(world: World, steps: list[Said | Turn]) -> int:
    """Do all steps, then run to the end; give how many messages to users there were."""
    meant = 0
    for number, step in enumerate(steps):
        if isinstance(step, Said):
            step.put(world, f"m{number}")
            meant += len(step.users)
            continue
        world.turn(step)
    world.drain()
    return meant


def check(world: World, meant: int) -> None:
    """Check that as many went out as there were, or as the quota allows; the others were told."""
    sent = {(d.message_id, d.user_id) for d in world.sent}
    refused = [(o.message_id, o.user_id) for o in world.outcomes if o.status is not Status.DEFERRED]
    assert {o.reason for o in world.outcomes} <= {Reason.TENANT_QUOTA}
    assert len(sent) == min(meant, MOST)
    assert len(set(refused)) == len(refused) == meant - len(sent)
    assert sent.isdisjoint(refused)


@examples(80, 5_000)
@given(STEPS)
def test_a_days_quota_is_spent_exactly(steps: list[Said | Turn]) -> None:
    """Nothing is counted twice and nothing given away for nothing."""
    world = World(people(in_memory()), {"acme": TENANT})
    check(world, play(world, steps))


@examples(4, 150)
@given(steps=STEPS)
def test_a_days_quota_is_spent_exactly_on_valkey(
    valkey_client_alone: RedisClient, steps: list[Said | Turn]
) -> None:
    """The same with the shared state in a server."""
    valkey_client_alone.run("FLUSHALL")
    world = World(people(in_redis(valkey_client_alone)), {"acme": TENANT})
    check(world, play(world, steps))
