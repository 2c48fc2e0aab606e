"""local time: each user at the time their campaign is for, in their own zone."""

from datetime import datetime

import msgspec
from builders import NOW_MS, joined, only, profile, said, work

from operators.campaign_times import best_due_ms, local_due_ms
from operators.local_time import AtLocalTime
from operators.work import Work
from schemas.pipeline import Chunk, Timer
from state.best_hours import MemoryBestHours

HOUR_MS = 3_600_000


def held(outs: list[object]) -> dict[int, list[str]]:
    """Give the users by the time at which they come back."""
    return {
        timer.due_at_ms: list(msgspec.msgpack.decode(timer.value, type=Chunk).users)
        for timer in only(Timer, outs)
    }


def local(offset_h: int) -> str:
    """Give the wall-clock time in UTC that is so many hours from now."""
    return datetime.utcfromtimestamp(NOW_MS / 1_000 + offset_h * 3_600).strftime("%Y-%m-%dT%H:%M")  # noqa: DTZ004 - a wall-clock time has no zone


def in_zones(*zones: str, **changes: object) -> Work:
    users = [f"u{n}" for n in range(len(zones))]
    piece = work(*users, **changes)
    return joined(piece, *(profile(u, time_zone=z) for u, z in zip(users, zones, strict=True)))


def test_a_message_without_a_local_time_goes_on() -> None:
    piece = joined(work("u1"), profile("u1"))
    assert AtLocalTime(MemoryBestHours())([piece], NOW_MS) == ([piece], [])


def test_users_wait_for_the_time_in_their_zone() -> None:
    """One timer for all who share it; who has it already goes on at once."""
    at = local(3)
    piece = in_zones("UTC", "Asia/Tokyo", "", "America/New_York", local_at=at)
    going, outs = AtLocalTime(MemoryBestHours())([piece], NOW_MS)
    assert [work.users for work in going] == [["u1"]]  # in Tokyo it is nine hours later
    assert len(going[0].profiles) == 1
    assert held(outs) == {
        local_due_ms(at, "UTC"): ["u0", "u2"],  # the tenant's zone is UTC
        local_due_ms(at, "America/New_York"): ["u3"],
    }
    assert said(outs) == [(u, "deferred", "local_time") for u in ("u0", "u2", "u3")]


def test_who_comes_back_goes_on() -> None:
    at = local(3)
    due = local_due_ms(at, "UTC")
    piece = in_zones("UTC", local_at=at)
    assert AtLocalTime(MemoryBestHours())([piece], due) == ([piece], [])


def test_when_all_wait_nothing_goes_on() -> None:
    going, outs = AtLocalTime(MemoryBestHours())([in_zones("UTC", local_at=local(1))], NOW_MS)
    assert going == []
    assert len(held(outs)) == 1


def test_who_would_expire_by_then_ends_at_once() -> None:
    piece = in_zones("UTC", local_at=local(3), expires_at_ms=NOW_MS + HOUR_MS)
    _, outs = AtLocalTime(MemoryBestHours())([piece], NOW_MS)
    assert said(outs) == [("u0", "expired", "ttl_expired")]
    assert held(outs) == {}


def test_at_the_best_hour_as_learned_or_by_default() -> None:
    hours = MemoryBestHours()
    hours.put_many("acme", 4, [("u0", 3)])
    piece = in_zones("UTC", "UTC", best_from_ms=NOW_MS, default_hour="10:00")
    _, outs = AtLocalTime(hours)([piece], NOW_MS)
    learned = best_due_ms(NOW_MS, 3, "10:00", "UTC")
    default = best_due_ms(NOW_MS, None, "10:00", "UTC")
    assert held(outs) == {learned: ["u0"], default: ["u1"]}


def test_an_unknown_user_is_left_to_admit() -> None:
    """By the tenant's zone, as nothing is known of them."""
    piece = joined(work("u1", local_at=local(-1)), None)
    going, _ = AtLocalTime(MemoryBestHours())([piece], NOW_MS)
    assert going == [piece]
