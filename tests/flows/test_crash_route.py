"""route, crashed and replayed."""

import json
from collections import Counter
from functools import partial

from flow_harness import Runner, Stores, run_through_crashes

from schemas.outcomes import Reason
from schemas.pipeline import DeadLetter, Delivery, Outcome, Platform
from schemas.stream import Record
from schemas.topics import DEAD_ROUTE, DELIVERIES, EVENTS, OUTCOMES
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient

USERS = 40
EVENTS_EACH = 10


def _register(stores: Stores) -> None:
    profiles = RedisProfiles(RedisClient(stores.redis_url))
    profiles.update_many("acme", 4, {f"u{n}": partial(_profile, n) for n in range(USERS)})


def _profile(number: int, _old: Profile | None) -> Profile:
    device = Device("d", Platform.APNS, "ios", f"{number:064x}", 1)
    return Profile(f"u{number}", 0, devices=(device,))


def _event(number: int, category: str) -> Record:
    event = {
        "id": f"e{number}-{category}",
        "tenant": "acme",
        "type": "t",
        "category": category,
        "priority": "high",
        "audience": {"users": [f"u{number % USERS}", "nobody"]},
        "content": {"title": "Hello"},
    }
    return Record(EVENTS["high"], str(number).encode(), json.dumps(event).encode())


def test_each_event_is_delivered_once_over_crashes(stores: Stores) -> None:
    """No delivery and no outcome is lost or doubled by crashes before and after a commit."""
    _register(stores)
    count = USERS * EVENTS_EACH
    stores.put([_event(number, "transactional") for number in range(count)])
    stores.put([Record(EVENTS["high"], None, b"{not json")])
    run_through_crashes(Runner(stores.settings(), "route"))
    delivered = Counter(d.message_id for d in stores.decoded(DELIVERIES["apns", "high"], Delivery))
    assert delivered == Counter(f"e{number}-transactional" for number in range(count))
    reasons = Counter(o.reason for o in stores.decoded(OUTCOMES, Outcome))
    assert reasons == {Reason.UNKNOWN_USER: count, Reason.BAD_EVENT: 1}
    (letter,) = stores.decoded(DEAD_ROUTE, DeadLetter)
    assert letter.raw == b"{not json"
    assert letter.topic == "events.high"


def test_a_replayed_epoch_spends_no_cap_twice(stores: Stores) -> None:
    """With a cap of two a day, every user gets exactly two of ten, whatever crashed between."""
    _register(stores)
    stores.put([_event(number, "marketing") for number in range(USERS * EVENTS_EACH)])
    run_through_crashes(Runner(stores.settings(), "route"))
    delivered = Counter(d.user_id for d in stores.decoded(DELIVERIES["apns", "high"], Delivery))
    assert delivered == Counter({f"u{n}": 2 for n in range(USERS)})
    reasons = Counter(o.reason for o in stores.decoded(OUTCOMES, Outcome))
    assert reasons[Reason.FREQUENCY_CAP] == USERS * (EVENTS_EACH - 2)
    assert Reason.DUPLICATE_EVENT not in reasons


def test_a_repeated_event_is_suppressed_once(stores: Stores) -> None:
    """The same idempotency key again is one duplicate outcome, and no second delivery."""
    _register(stores)
    stores.put([_event(1, "transactional"), _event(1, "transactional")])
    run_through = Runner(stores.settings(), "route")
    run_through.run()
    assert len(stores.decoded(DELIVERIES["apns", "high"], Delivery)) == 1
    reasons = Counter(o.reason for o in stores.decoded(OUTCOMES, Outcome))
    assert reasons == {Reason.UNKNOWN_USER: 1, Reason.DUPLICATE_EVENT: 1}
