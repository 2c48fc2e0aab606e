"""The bench's tenant, its users and what is sent to them: the same in every run."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from sandbox.keys import KEY_ID, TEAM_ID, TOPIC, SandboxKeys
from sandbox.webpush_subscriptions import make_subscription
from schemas.pipeline import Platform
from state.keys import shard_of
from state.profiles import Change, Device, Profile, QuietHours, RedisProfiles
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import EVERYONE

TENANT = "acme"
APP = "shop"
SEGMENT = "subscribers"
DAY_MS = 86_400_000
REGISTERED_MS = 1_700_000_000_000
LOCALES = ("en-US", "de-DE", "fr-FR", "es-MX", "nl-NL")
PER_BATCH = 5_000
SECOND_DEVICES = 3  # of ten users: 1.3 devices each

_SALE = {
    "en": ("{{ percent }}% off {{ line }}", "Until Sunday in every shop, while stocks last."),
    "de": ("{{ percent }} % auf {{ line }}", "Bis Sonntag in jedem Laden, solange es reicht."),
    "fr": ("{{ percent }} % sur {{ line }}", "Jusqu'à dimanche, dans la limite des stocks."),
    "es": ("{{ percent }} % en {{ line }}", "Hasta el domingo, hasta agotar existencias."),
}


def tenant(keys: SandboxKeys, *, shards: int) -> Mapping[str, Any]:
    """Give the tenant's configuration: a capped category, templates in four languages."""
    texts = {name: {"title": title, "body": body} for name, (title, body) in _SALE.items()}
    receipt = {"title": "Order {{ order }} is paid", "body": "Thank you, {{ user.first_name }}."}
    return {
        "name": TENANT,
        "shards": shards,
        "time_zone": "Europe/Amsterdam",
        "locale": "en",
        # Beyond what the API reaches: the limits are asked, and let everybody in.
        "access": {"limits": {"requests_per_s": 1e6, "key_requests_per_s": 1e6}},
        "apps": {
            APP: {
                "platform": Platform.APNS.value,
                "team_id": TEAM_ID,
                "key_id": KEY_ID,
                "topic": TOPIC,
                "private_key": {"file": str(keys.apns_key_file)},
            }
        },
        "categories": {
            "security": {"quiet_hours": "ignore", "default_ttl_s": "10m"},
            "transactional": {"quiet_hours": "ignore"},
            # The limit is never reached, so that every message of every run is asked and counted.
            "marketing": {
                "quiet_hours": "defer",
                "caps": [{"limit": 10_000, "window_s": "1d"}],
            },
        },
        "templates": {"sale": {"texts": texts}, "receipt": {"texts": {"en": receipt}}},
    }


def user_id(number: int) -> str:
    """Name a user."""
    return f"user-{number:08d}"


def devices_of(users: int) -> int:
    """Count the devices of the first so many users."""
    full, rest = divmod(users, 10)
    return users + full * SECOND_DEVICES + min(rest, SECOND_DEVICES)


def profile(number: int) -> Profile:
    """Make a user; about 430 bytes as stored. A tenth have Web Push, the rest APNs and FCM."""
    user = user_id(number)
    devices = [_device(number, "phone")]
    if number % 10 < SECOND_DEVICES:
        devices.append(_device(number + 1, "tablet"))
    now_min = time.time_ns() // 60_000_000_000 % 1_440
    return Profile(
        user_id=user,
        version=0,
        locale=LOCALES[number % len(LOCALES)],
        time_zone="Europe/Amsterdam",
        devices=tuple(devices),
        opted_out_categories=("digest",),
        # Everyone has a night, and it is never now.
        quiet_hours=QuietHours((now_min + 600) % 1_440, (now_min + 1_080) % 1_440, "UTC"),
        country="NL",
        attributes={
            "first_name": f"Zoë {number}",
            "plan": "gold",
            "visits": number % 100,
            "last_order": f"order-{number:012d}",
            "city": "Amsterdam",
            "tags": ["shoes", "outdoor", "kids"],
        },
        updated_at_ms=REGISTERED_MS,
        preferences_at_ms=REGISTERED_MS,
        segments=(SEGMENT,),
    )


def _device(number: int, kind: str) -> Device:
    name = f"{user_id(number)}-{kind}"
    if number % 10 == 9:
        made = make_subscription(name)
        url = f"https://push.example.com{made.path}"
        return Device(
            name, Platform.WEBPUSH, APP, url, REGISTERED_MS, p256dh=made.p256dh, auth=made.auth
        )
    if number % 2:
        return Device(name, Platform.FCM, APP, f"{number:022d}:" + "f" * 140, REGISTERED_MS)
    token = f"{number:08x}{0 if kind == 'phone' else 1:02x}".rjust(64, "a")
    return Device(name, Platform.APNS, APP, token, REGISTERED_MS)


def register(client: RedisClient, *, users: int, shards: int) -> None:
    """Store the profiles of so many users, and put them all into the segment."""
    profiles, segments = RedisProfiles(client), RedisSegments(client)
    numbers = iter(range(users))
    while part := list(islice(numbers, PER_BATCH)):
        profiles.update_many(TENANT, shards, {user_id(n): _becoming(profile(n)) for n in part})
        names = [user_id(n) for n in part]
        for segment in (SEGMENT, EVERYONE):
            segments.add(TENANT, shards, segment, names)


def _becoming(made: Profile) -> Change:
    return lambda _stored: made


def campaign(message_id: str) -> bytes:
    """Give an event for the whole segment, as a producer writes it."""
    event = _event(message_id, "sale", "marketing", "low")
    event["audience"] = {"segment": SEGMENT}
    event["campaign_id"] = message_id
    event["variables"] = {"percent": 20, "line": "running shoes"}
    return json.dumps(event).encode()


def singles(
    message_id: str, numbers: Iterable[int], *, category: str, priority: str
) -> Iterator[bytes]:
    """Give an event for each of these users: 500 bytes, words filled from the user's profile."""
    event = _event("@ID@", "receipt", category, priority)
    event["audience"] = {"users": ["@USER@"]}
    event["variables"] = {"order": "@USER@"}
    event["template"]["data"] = {"screen": "orders", "note": ""}
    missing = 500 - len(json.dumps(event)) - len(message_id) - 13
    event["template"]["data"]["note"] = "x" * missing
    text = json.dumps(event)
    for number in numbers:
        user = user_id(number)
        yield text.replace("@ID@", f"{message_id}-{user}").replace("@USER@", user).encode()


def _event(message_id: str, template: str, category: str, priority: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "id": message_id,
        "tenant": TENANT,
        "type": template,
        "category": category,
        "priority": priority,
        "audience": {},
        "template": {"name": template},
        "created_at": "2026-01-05T08:00:00Z",
        "ttl_s": 86_400,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    }


def by_shard(users: int, shards: int) -> list[list[int]]:
    """Give the numbers of the users of each shard."""
    found: list[list[int]] = [[] for _ in range(shards)]
    for number in range(users):
        found[shard_of(user_id(number), shards)].append(number)
    return found
