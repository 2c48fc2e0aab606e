"""Templates published while route runs, crashes and replays."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec
from flow_harness import Runner, Stores, run_through_crashes

from flows.clock import wall_ms
from operators.template_book import with_draft, with_published
from schemas.definitions import Definition, Kind
from schemas.pipeline import Content, Delivery, Platform
from schemas.stream import Record
from schemas.template import Template
from schemas.template_book import TemplateBook
from schemas.topics import DELIVERIES, EVENTS
from state.definitions import RedisDefinitions
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import EVERYONE

USERS = [f"u{n}" for n in range(120)]
AT = datetime(2026, 1, 5, tzinfo=UTC)


def _profile(number: int, _old: Profile | None) -> Profile:
    device = Device("d", Platform.APNS, "ios", f"{number:064x}", 1)
    zone = "Asia/Tokyo" if number % 2 else "Europe/Berlin"
    return Profile(f"u{number}", 0, devices=(device,), time_zone=zone, attributes={"no": number})


class World:
    """A hundred users of acme, and a template of which one version after the other is published."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        client = RedisClient(stores.redis_url)
        profiles = RedisProfiles(client)
        profiles.update_many("acme", 4, {u: partial(_profile, int(u[1:])) for u in USERS})
        RedisSegments(client).add("acme", 4, EVERYONE, USERS)
        self._definitions = RedisDefinitions(client)
        self._book: TemplateBook | None = None

    def publish(self, title: str) -> None:
        template = Template.model_validate({"texts": {"en": {"title": title}}})
        self._book = with_published(with_draft(self._book, template, AT), None, AT)
        body = self._book.model_dump_json().encode()
        self._definitions.apply([Definition(Kind.TEMPLATE, "acme", "t", 1, body, wall_ms())])

    def send(self, *ids: str, users: Sequence[str] = ()) -> None:
        audience = {"users": users} if users else {"everyone": True}
        whole = {"tenant": "acme", "type": "t", "category": "transactional", "priority": "low",
                 "audience": audience, "template": {"name": "t"},
                 "variables": {"at": "2026-01-05T20:00:00Z"}}  # fmt: skip
        records = [
            Record(EVENTS["low"], one.encode(), json.dumps({"id": one, **whole}).encode())
            for one in ids
        ]
        self.stores.put(records)

    def titles(self) -> Counter[tuple[str, str, str]]:
        """Count deliveries by message, user and what they say."""
        found = self.stores.decoded(DELIVERIES["apns", "low"], Delivery)
        read = msgspec.msgpack.Decoder(Content).decode
        return Counter((one.message_id, one.user_id, read(one.content).title) for one in found)


def test_a_campaign_keeps_the_version_that_it_began_with(stores: Stores) -> None:
    """It dies after its chunks are on their way, and another version is published meanwhile."""
    world = World(stores)
    world.publish("one")
    world.send("c")
    settings = stores.settings()
    settings = settings.model_copy(
        update={"flow": settings.flow.model_copy(update={"batch_size": 2, "chunk_users": 10})}
    )
    Runner(settings, "route").run(crash_at=2, after=True)
    begun = world.titles()
    assert len(begun) < len(USERS)
    world.publish("two")
    Runner(settings, "route").run()
    assert world.titles() == Counter(("c", user, "one") for user in USERS)


def test_what_is_published_while_route_runs_is_in_the_next_message(stores: Stores) -> None:
    """Without a restart."""
    world = World(stores)
    world.publish("one")
    world.send("first", users=["u1"])
    waits = iter(["two", "three"])

    def publish_more() -> bool:
        """Publish once the messages before are through; stop after the last."""
        title = next(waits, "")
        if title:
            world.publish(title)
            world.send(title, users=["u1"])
            runner._quiet = 0
        return not title

    runner = Runner(stores.settings(), "route")
    runner.run(until=publish_more)
    assert world.titles() == Counter(
        {("first", "u1", "one"): 1, ("two", "u1", "two"): 1, ("three", "u1", "three"): 1}
    )


def test_a_replayed_message_says_the_same(stores: Stores) -> None:
    """To each user in their own words, number and time zone, over crashes."""
    world = World(stores)
    world.publish("{{ user.no | plural(one='# seat', other='# seats') }}, {{ at | time }}")
    world.send(*(f"m{n}" for n in range(len(USERS))), users=USERS[:3])
    run_through_crashes(Runner(stores.settings(), "route"))
    said = {
        "u0": "0 seats, 9:00\u202fPM",
        "u1": "1 seat, 5:00\u202fAM",
        "u2": "2 seats, 9:00\u202fPM",
    }
    assert world.titles() == Counter(
        (f"m{n}", user, title) for n in range(len(USERS)) for user, title in said.items()
    )
