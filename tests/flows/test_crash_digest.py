"""Digests and contests, crashed and replayed: route holds, timers close, route sends."""

import json
from collections import Counter
from functools import partial
from typing import Any

import msgspec
from flow_harness import TENANT, Runner, Stores, run_through_crashes

from schemas.outcomes import Reason
from schemas.pipeline import Content, Delivery, Outcome, Platform
from schemas.stream import Record
from schemas.topics import CHUNKS, DELIVERIES, EVENTS, OUTCOMES, TIMERS
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient

USERS, EVENTS_EACH = 20, 6
NAMES = "{% for item in items %}{{ item.name }} {% endfor %}"
_content = msgspec.msgpack.Decoder(Content).decode


def _profile(number: int, _old: Profile | None) -> Profile:
    device = Device("d", Platform.APNS, "ios", f"{number:064x}", 1)
    return Profile(f"u{number}", 0, devices=(device,))


def _event(number: int, category: str = "social") -> Record:
    event = {
        "id": f"e{number}",
        "tenant": "acme",
        "type": "t",
        "category": category,
        "priority": "high",
        "audience": {"users": [f"u{number % USERS}"]},
        "content": {"title": "Hello"},
        "variables": {"name": f"e{number}", "value": number},
    }
    return Record(EVENTS["high"], str(number).encode(), json.dumps(event).encode())


def _ready(stores: Stores, **changes: Any) -> None:
    (stores._tenants / "acme.yaml").write_text(json.dumps({**TENANT, **changes}))
    redis = RedisClient(stores.redis_url)
    users = {f"u{n}": partial(_profile, n) for n in range(USERS)}
    RedisProfiles(redis).update_many("acme", 4, users)
    redis.close()


def _run_all(stores: Stores) -> tuple[list[Delivery], list[Outcome]]:
    """Collect, let the windows close, and send, with crashes in each of these."""
    route = Runner(stores.settings(), "route")
    run_through_crashes(route)
    timers = len(stores.read(TIMERS))
    run_through_crashes(
        Runner(stores.settings(), "timers"),
        until=lambda: len(stores.read(CHUNKS["high"])) >= timers,
    )
    run_through_crashes(route)
    return stores.decoded(DELIVERIES["apns", "high"], Delivery), stores.decoded(OUTCOMES, Outcome)


def test_every_event_is_in_one_digest_over_crashes(stores: Stores) -> None:
    """Nothing is dropped or doubled by crashes while collecting, closing and sending."""
    social = {"quiet_hours": "ignore", "digest": {"window_s": 2, "template": "told"}}
    templates = {"told": {"texts": {"en": {"title": "{{ count }}", "body": NAMES}}}}
    _ready(stores, categories={"social": social}, templates=templates)
    names = [f"e{number}" for number in range(USERS * EVENTS_EACH)]
    stores.put([_event(number) for number in range(len(names))])
    sent, outcomes = _run_all(stores)
    assert Counter(o.message_id for o in outcomes if o.reason is Reason.DIGESTED) == Counter(names)
    ended = [o for o in outcomes if o.reason is Reason.IN_DIGEST]
    assert Counter(o.message_id for o in ended) == Counter(names)
    told = [name for d in sent for name in _content(d.content).body.split()]
    assert Counter(told) == Counter(names)
    assert Counter(d.message_id for d in sent) == Counter(
        {o.detail.removeprefix("digest "): 1 for o in ended}
    )


def test_a_contest_spends_each_cap_once_over_crashes(stores: Stores) -> None:
    """Everyone gets one, and every other event ends once."""
    ads = {
        "quiet_hours": "ignore",
        "caps": [{"limit": 1, "window_s": "1d"}],
        "arbitration": {"window_s": 2, "value": "value"},
    }
    _ready(stores, categories={"ads": ads})
    names = [f"e{number}" for number in range(USERS * EVENTS_EACH)]
    stores.put([_event(number, "ads") for number in range(len(names))])
    sent, outcomes = _run_all(stores)
    assert Counter(d.user_id for d in sent) == Counter({f"u{n}": 1 for n in range(USERS)})
    waited = [o.message_id for o in outcomes if o.reason is Reason.ARBITRATION]
    assert Counter(waited) == Counter(names)
    lost = [o for o in outcomes if o.reason is not Reason.ARBITRATION]
    assert {o.reason for o in lost} <= {Reason.OUTRANKED, Reason.FREQUENCY_CAP}
    ended = [o.message_id for o in lost] + [d.message_id for d in sent]
    assert Counter(ended) == Counter(names)
