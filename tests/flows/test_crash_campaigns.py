"""Campaigns from their first tick to deliveries, crashed and replayed on the way."""

from collections import Counter
from functools import partial
from typing import Any

import msgspec
from flow_harness import Runner, Stores, run_through_crashes

from flows.clock import wall_ms
from operators.campaigns import encode_run, run_key
from operators.recall import campaign_control
from schemas.campaigns import Campaign, Control, ControlState, Phase, Run, run_id_of
from schemas.definitions import Definition, Kind
from schemas.outcomes import Reason, Status
from schemas.pipeline import DeadLetter, Delivery, Outcome, Platform
from schemas.stream import Record
from schemas.topics import CAMPAIGNS, DEAD_CAMPAIGNS, DELIVERIES, OUTCOMES
from state.definitions import RedisDefinitions
from state.profiles import Device, Profile, RedisProfiles
from state.progress import RedisProgress
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import EVERYONE

USERS = [f"u{n}" for n in range(120)]
CAMPAIGNS_AT_ONCE = 12


def _profile(number: int, _old: Profile | None) -> Profile:
    device = Device("d", Platform.APNS, "ios", f"{number:064x}", 1)
    return Profile(f"u{number}", 0, devices=(device,))


class World:
    """The shared state, with a hundred users of acme."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.client = RedisClient(stores.redis_url)
        profiles = RedisProfiles(self.client)
        profiles.update_many("acme", 4, {u: partial(_profile, int(u[1:])) for u in USERS})
        RedisSegments(self.client).add("acme", 4, EVERYONE, USERS)
        self.definitions = RedisDefinitions(self.client)
        self.progress = RedisProgress(self.client)

    def control(self, campaign: str, state: ControlState) -> None:
        body = Control(state=state, start_id="s1").model_dump_json().encode()
        name = campaign_control(campaign)
        self.definitions.apply([Definition(Kind.CONTROL, "acme", name, 1, body, wall_ms())])

    def start(self, campaign: str, **more: Any) -> None:
        message = {"type": "t", "category": "transactional", "audience": {"everyone": True},
                   "content": {"title": "Hello"}}  # fmt: skip
        whole = {"id": campaign, "tenant": "acme", "message": message, **more}
        spec = Campaign.model_validate(whole).model_dump_json().encode()
        self.control(campaign, ControlState.RUNNING)
        due_ms = wall_ms()
        run = Run(run_id_of(campaign, "s1", due_ms), "acme", campaign, "s1", spec, due_ms)
        self.stores.put([Record(CAMPAIGNS, run_key(run), encode_run(run))])

    def phases(self, *campaigns: str) -> list[Phase]:
        return [self.progress.runs("acme", name)[0].phase for name in campaigns]

    def ticks(self) -> int:
        return len(self.stores.read(CAMPAIGNS))

    def delivered(self) -> Counter[tuple[str, str]]:
        found = self.stores.decoded(DELIVERIES["apns", "low"], Delivery)
        return Counter((one.campaign_id, one.user_id) for one in found)


def test_every_user_of_every_campaign_gets_it_once_over_crashes(stores: Stores) -> None:
    """Each flow on the way dies before a commit and after one; ticks come back by the timers."""
    world = World(stores)
    names = [f"c{n}" for n in range(CAMPAIGNS_AT_ONCE)]
    for name in names:
        world.start(name)
    settings = stores.settings()
    settings = settings.model_copy(
        update={"flow": settings.flow.model_copy(update={"batch_size": 2, "chunk_users": 10})}
    )
    run_through_crashes(Runner(settings, "campaigns"))
    assert {*world.phases(*names)} == {Phase.RUNNING}
    run_through_crashes(Runner(settings, "route"))
    wanted = 2 * CAMPAIGNS_AT_ONCE
    run_through_crashes(Runner(settings, "timers"), until=lambda: world.ticks() >= wanted)
    assert world.ticks() == wanted
    Runner(settings, "campaigns").run()
    assert {*world.phases(*names)} == {Phase.FINISHED}
    assert world.delivered() == Counter((name, user) for name in names for user in USERS)
    tally = world.progress.tally("acme", world.progress.runs("acme", "c0")[0].run_id)
    assert (tally.pieces, tally.users) == (4, len(USERS))


def test_a_cancelled_campaign_sends_nobody_more(stores: Stores) -> None:
    """Chunks that route had made already end there, each user with an outcome."""
    world = World(stores)
    world.start("c")
    settings = stores.settings()
    Runner(settings, "campaigns").run()
    world.control("c", ControlState.CANCELLED)
    Runner(settings, "route").run()
    assert world.delivered() == Counter()
    assert {(o.status, o.reason) for o in stores.decoded(OUTCOMES, Outcome)} == {
        (Status.SUPPRESSED, Reason.CANCELLED)
    }
    Runner(settings, "timers").run(until=lambda: world.ticks() == 2)
    Runner(settings, "campaigns").run()
    assert world.phases("c") == [Phase.CANCELLED]


def test_a_tick_that_cannot_go_on_is_a_dead_letter(stores: Stores) -> None:
    """With the reason and the bytes; the other campaigns go on."""
    world = World(stores)
    bad = Run("x:s1:1", "nobody", "x", "s1", b"{}", 1)
    stores.put(
        [
            Record(CAMPAIGNS, b"x", b"\xc1"),
            Record(CAMPAIGNS, b"x", encode_run(bad)),
            Record(CAMPAIGNS, b"x", encode_run(msgspec.structs.replace(bad, tenant="acme"))),
        ]
    )
    world.start("c")
    Runner(stores.settings(), "campaigns").run()
    errors = sorted(letter.error for letter in stores.decoded(DEAD_CAMPAIGNS, DeadLetter))
    assert len(errors) == 3
    assert any("no tenant is called 'nobody'" in error for error in errors)
    assert any("message: is missing, add it" in error for error in errors)
    assert world.phases("c") == [Phase.RUNNING]
