"""Caps of single channels: devices on them are left out, the others get the message."""

from typing import Any

from operators.cap import limits_of
from operators.cap_channels import ApplyChannelCaps
from operators.fan_out import fan_out
from operators.work import Work
from schemas.pipeline import Platform, Priority
from schemas.stream import Source
from schemas.tenant import Tenant
from state.memory_limits import MemoryCaps
from tests.unit.operators.builders import (
    NOW_MS,
    addressed,
    device,
    profile,
    said,
    tenant,
    work,
)

HOUR_MS = 3_600_000
USER = profile("a", device("phone"), device("web", platform=Platform.WEBPUSH))
WEB = {"name": "web", "channels": ["webpush"], "limits": [{"limit": 1, "window_s": "1h"}]}


def having(*groups: dict[str, Any]) -> Tenant:
    return tenant(caps=groups)


def send(
    step: ApplyChannelCaps, of: Tenant, message: str, *, at: int = NOW_MS, **changes: Any
) -> tuple[list[str], list[Any]]:
    """Give the devices that get the message, and what was decided."""
    source = Source("events.normal", 0, int(message[1:]))
    piece: Work = addressed(work("a", of=of, source=source, message_id=message, **changes), USER)
    fan_out([piece], NOW_MS)
    _, outs = step([piece], at)
    return [d.device_id for d in piece.deliveries], outs


def test_a_channel_whose_cap_is_used_up_stays_silent() -> None:
    """The outcome names the device, its platform and the cap; an hour later it is free again."""
    step, of = ApplyChannelCaps(MemoryCaps()), having(WEB)
    assert send(step, of, "m1") == (["phone", "web"], [])
    devices, (out,) = send(step, of, "m2")
    assert (devices, said([out])) == (["phone"], [("a", "suppressed", "frequency_cap")])
    assert (out.device_id, out.platform, out.detail) == (
        "web",
        "webpush",
        "caps:web: 1 in 3600 s",
    )
    assert send(step, of, "m3", at=NOW_MS + HOUR_MS)[0] == ["phone", "web"]


def test_a_replay_sends_to_the_same_devices() -> None:
    """It counts nothing again."""
    step, of = ApplyChannelCaps(MemoryCaps()), having(WEB)
    first = [send(step, of, f"m{n}") for n in range(3)]
    assert [send(step, of, f"m{n}") for n in range(3)] == first


def test_channels_of_one_group_count_together() -> None:
    """Two devices on both are one message."""
    both = {**WEB, "channels": ["webpush", "fcm"]}
    step, of = ApplyChannelCaps(MemoryCaps()), having(both)
    assert send(step, of, "m1")[0] == ["phone", "web"]
    assert send(step, of, "m2")[0] == []


def test_each_group_of_a_channel_holds() -> None:
    """The tighter one decides."""
    loose = {
        "name": "all",
        "channels": ["webpush", "fcm"],
        "limits": [{"limit": 2, "window_s": 60}],
    }
    step, of = ApplyChannelCaps(MemoryCaps()), having(loose, WEB)
    assert [send(step, of, f"m{n}")[0] for n in range(3)] == [["phone", "web"], ["phone"], []]


def test_what_a_group_does_not_count() -> None:
    """Other types, critical messages; and the caps of all channels leave these groups alone."""
    step, of = ApplyChannelCaps(MemoryCaps()), having({**WEB, "types": ["sale"]})
    for number in range(2):
        assert send(step, of, f"m{number}")[0] == ["phone", "web"]
        assert send(step, of, f"m{number + 5}", type="sale", priority=Priority.CRITICAL)[1] == []
    assert limits_of(having(WEB), "news", "t") == ()
