"""Small things to test with: a tenant, a user, an event, a record."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec
from hypothesis import settings

from operators.work import Draft, Work
from schemas.pipeline import Delivery, Notice, Outcome, Platform, Priority, Texts
from schemas.stream import Source
from schemas.tenant import Tenant
from state.memory import MemoryProfiles
from state.profiles import Device, Profile

NOW_MS = 1_770_000_000_000  # 2026-02-02T02:40:00Z
TENANT: dict[str, Any] = {
    "name": "acme",
    "shards": 4,
    "categories": {
        "news": {},
        "alerts": {"quiet_hours": "ignore"},
        "ads": {"quiet_hours": "drop"},
    },
}
SOURCE = Source("events.normal", 3, 17)
T = TypeVar("T")
UNTIMED = settings(deadline=None, max_examples=60)
"""For properties: a busy machine fails no test."""


@dataclass(frozen=True)
class FakeMessage:
    """A Kafka record."""

    raw: bytes | None
    of: Source = SOURCE
    record_key: bytes | None = None
    at_ms: int = NOW_MS - 5

    def topic(self) -> str:
        return self.of.topic

    def partition(self) -> int:
        return self.of.partition

    def offset(self) -> int:
        return self.of.offset

    def key(self) -> bytes | None:
        return self.record_key

    def value(self) -> bytes | None:
        return self.raw

    def timestamp(self) -> tuple[int, int]:
        return (1, self.at_ms)


def messages(topic: str, *values: bytes | None, at_ms: int = NOW_MS) -> list[Any]:
    """Make the records 0, 1, 2... of a topic's partition 0."""
    return [FakeMessage(v, Source(topic, 0, n), at_ms=at_ms) for n, v in enumerate(values)]


def keyed(message: FakeMessage, key: bytes) -> Any:
    """Give the same record under a key."""
    return replace(message, record_key=key)


def tenant(**changes: Any) -> Tenant:
    """Make tenant acme, with the categories news (defers at night), alerts and ads (drops)."""
    return Tenant.model_validate({**TENANT, **changes})


def event(**changes: Any) -> bytes:
    """Make an event's bytes."""
    whole = {
        "id": "m-1",
        "tenant": "acme",
        "type": "test.event",
        "category": "news",
        "audience": {"users": ["u1"]},
        "content": {"title": "Hello", "body": "World"},
    }
    return json.dumps({**whole, **changes}).encode()


def notice(**changes: Any) -> Notice:
    """Make a notice."""
    base = Notice(
        message_id="m-1",
        tenant="acme",
        type="test.event",
        category="news",
        priority=Priority.NORMAL,
        accepted_at_ms=NOW_MS,
        created_at_ms=NOW_MS,
        texts={"": Texts("Hello", "World")},
    )
    return msgspec.structs.replace(base, **changes)


def work(*users: str, of: Tenant | None = None, source: Source = SOURCE, **changes: Any) -> Work:
    """Make work for users. changes: of the notice, or devices, shard, held, dedup_key."""
    parts = {k: changes.pop(k) for k in ("devices", "shard", "held", "dedup_key") if k in changes}
    owner, said = of or tenant(), notice(**changes)
    return Work(Draft(said, owner, owner.categories[said.category]), source, users=users, **parts)


def device(device_id: str = "d1", **changes: Any) -> Device:
    """Make an FCM device whose token tells its id."""
    base = Device(device_id, Platform.FCM, "android", f"token-of-{device_id}", NOW_MS - 1_000)
    return msgspec.structs.replace(base, **changes)


def profile(user_id: str = "u1", *devices: Device, **changes: Any) -> Profile:
    """Make a profile with one device, d-<user>, unless others are given."""
    base = Profile(user_id, 1, devices=devices or (device(f"d-{user_id}"),))
    return msgspec.structs.replace(base, **changes)


def known(*profiles: Profile, shards: int = 4) -> MemoryProfiles:
    """Make a store that knows these profiles."""
    store = MemoryProfiles()
    store.update_many("acme", shards, {p.user_id: _always(p) for p in profiles})
    return store


def joined(piece: Work, *profiles: Profile | None) -> Work:
    """Fill in the profiles, as join does."""
    piece.profiles = profiles
    return piece


def addressed(piece: Work, *profiles: Profile) -> Work:
    """Fill in the recipients with all their devices, as admit does."""
    piece.recipients = [(p, p.devices) for p in profiles]
    return piece


def delivery(**changes: Any) -> Delivery:
    """Make a delivery."""
    base = Delivery(
        delivery_id="00000000-0000-8000-a000-000000000001",
        message_id="m-1",
        tenant="acme",
        app="android",
        user_id="u1",
        device_id="d1",
        platform=Platform.FCM,
        priority=Priority.NORMAL,
        category="news",
        type="test.event",
        token="token-of-d1",
        content=b"\x90",
        accepted_at_ms=NOW_MS - 50,
        created_at_ms=NOW_MS,
        registered_at_ms=NOW_MS - 1_000,
    )
    return msgspec.structs.replace(base, **changes)


def only(kind: type[T], items: Iterable[Any]) -> list[T]:
    """Give the items of one kind."""
    return [item for item in items if type(item) is kind]


def said(outs: Sequence[Any]) -> list[tuple[str, str, str]]:
    """Give (user, status, reason) of all outcomes."""
    return [(o.user_id, o.status.value, o.reason.value) for o in only(Outcome, outs)]


def _always(value: Profile) -> Any:
    return lambda _old: value
