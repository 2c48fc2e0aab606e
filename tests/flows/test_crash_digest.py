"""Digests, crashed and replayed: route collects, timers close, route sends."""

import json
from collections import Counter
from functools import partial

import msgspec
import yaml
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


def _event(number: int) -> Record:
    event = {
        "id": f"e{number}",
        "tenant": "acme",
        "type": "t",
        "category": "social",
        "priority": "high",
        "audience": {"users": [f"u{number % USERS}"]},
        "content": {"title": "Hello"},
        "variables": {"name": f"e{number}"},
    }
    return Record(EVENTS["high"], str(number).encode(), json.dumps(event).encode())


def test_every_event_is_in_one_digest_over_crashes(stores: Stores) -> None:
    """Nothing is dropped or doubled by crashes while collecting, closing and sending."""
    social = {"quiet_hours": "ignore", "digest": {"window_s": 2, "template": "told"}}
    tenant = TENANT | {
        "categories": {"social": social},
        "templates": {"told": {"texts": {"en": {"title": "{{ count }}", "body": NAMES}}}},
    }
    (stores._tenants / "acme.yaml").write_text(yaml.safe_dump(tenant))
    redis = RedisClient(stores.redis_url)
    RedisProfiles(redis).update_many(
        "acme", 4, {f"u{n}": partial(_profile, n) for n in range(USERS)}
    )
    redis.close()
    count = USERS * EVENTS_EACH
    stores.put([_event(number) for number in range(count)])
    route = Runner(stores.settings(), "route")
    run_through_crashes(route)
    timers = len(stores.read(TIMERS))
    run_through_crashes(
        Runner(stores.settings(), "timers"),
        until=lambda: len(stores.read(CHUNKS["high"])) >= timers,
    )
    run_through_crashes(route)
    names = [f"e{number}" for number in range(count)]
    outcomes = stores.decoded(OUTCOMES, Outcome)
    assert Counter(o.message_id for o in outcomes if o.reason is Reason.DIGESTED) == Counter(names)
    ended = [o for o in outcomes if o.reason is Reason.IN_DIGEST]
    assert Counter(o.message_id for o in ended) == Counter(names)
    sent = stores.decoded(DELIVERIES["apns", "high"], Delivery)
    told = [name for d in sent for name in _content(d.content).body.split()]
    assert Counter(told) == Counter(names)
    assert Counter(d.message_id for d in sent) == Counter(
        {o.detail.removeprefix("digest "): 1 for o in ended}
    )
