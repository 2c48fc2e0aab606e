"""The people and events of the replay tests, and the turns that a process takes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.outcomes import Reason
from schemas.pipeline import Platform
from schemas.tenant import Tenant
from schemas.topics import EVENTS
from state.profiles import Device, Profile, QuietHours
from tests.contract.state_stores import Stores
from tests.unit.operators.replay_world import MINUTE_MS, World

HOUR_S, DAY_S = 3_600, 86_400
CATEGORIES: dict[str, Any] = {
    "news": {
        "quiet_hours": "ignore",
        "caps": [{"limit": 2, "window_s": HOUR_S}, {"limit": 3, "window_s": DAY_S}],
    },
    "ads": {"quiet_hours": "defer", "caps": [{"limit": 1, "window_s": HOUR_S}]},
    "alerts": {"quiet_hours": "ignore"},
}
TENANTS = {
    "acme": {"shards": 2, "quotas": {"user_daily": 4}},
    "beta": {"shards": 2, "rates": {"per_second": 0.5, "platforms": {"fcm": 0.2}}},
}
MEMBERS = ("u0", "u1", "u2")
DEVICES = {"u0": ("d",), "u1": ("d", "e"), "u2": ("d",), "asleep": ("d",), "silent": ("d",),
           "bare": ()}  # fmt: skip
FATES = {"unknown": Reason.UNKNOWN_USER, "silent": Reason.OPTED_OUT, "bare": Reason.NO_DEVICE}


def tenants() -> dict[str, Tenant]:
    return {
        name: Tenant.model_validate({"name": name, "categories": CATEGORIES, **more})
        for name, more in TENANTS.items()
    }


def people(stores: Stores) -> Stores:
    """Register the users of all tenants."""
    for name in TENANTS:
        stores.profiles.update_many(name, 2, {user: _profile(user) for user in DEVICES})
        stores.segments.add(name, 2, "buyers", MEMBERS)
    return stores


def _profile(user: str) -> Callable[[Profile | None], Profile]:
    devices = tuple(
        Device(device, Platform.FCM, "android", f"token-{user}-{device}", 1)
        for device in DEVICES[user]
    )
    night = QuietHours(22 * 60, 6 * 60) if user == "asleep" else None
    return lambda _old: Profile(
        user, 0, devices=devices, opted_out_all=user == "silent", quiet_hours=night
    )


@dataclass(frozen=True)
class Said:
    """An event as a producer says it. key: 0 for one of its own. wait_min: until send_at."""

    tenant: str
    category: str
    priority: str
    kind: str
    users: tuple[str, ...]
    key: int
    wait_min: int

    def audience(self) -> dict[str, Any]:
        if self.kind == "segment":
            return {"segment": "buyers"}
        if self.kind == "devices":
            return {"devices": [{"user_id": u, "device_id": d} for u, d in self.units()]}
        return {"users": list(self.users)}

    def units(self) -> list[tuple[str, str]]:
        """Whom it means: users with "", or single devices."""
        if self.kind == "segment":
            return [(user, "") for user in MEMBERS]
        if self.kind == "devices":
            return [(u, d) for u in self.users for d in DEVICES.get(u) or ("d",)]
        return [(user, "") for user in self.users]

    def put(self, world: World, number: int) -> None:
        event: dict[str, Any] = {
            "id": f"m{number}",
            "tenant": self.tenant,
            "type": "t",
            "category": self.category,
            "audience": self.audience(),
            "content": {"title": "Hello"},
        }
        if self.key:
            event["idempotency_key"] = f"k{self.key}"
        if self.wait_min:
            at_s = (world.now_ms + self.wait_min * MINUTE_MS) / 1_000
            event["send_at"] = datetime.fromtimestamp(at_s, UTC).isoformat()
        world.put(EVENTS[self.priority], json.dumps(event).encode())  # type: ignore[index]
