"""digest: a user's events of one key become one message."""

from typing import Any

import msgspec
import pytest

from operators.decode import Decode
from operators.digest import CloseDigests, digest_of, due_of
from operators.gather import Gather
from operators.quiet_hours import zone_of
from operators.work import Work
from schemas.outcomes import Reason
from schemas.pipeline import Digest, Outcome, Priority, Timer
from schemas.stream import Source
from schemas.tenant import Tenant
from state.gatherings import ARMING
from state.memory_gatherings import MemoryGatherings
from tests.unit.operators.builders import (
    NOW_MS,
    FakeMessage,
    addressed,
    only,
    profile,
    said,
    tenant,
    work,
)

WINDOW_MS = 600_000
RULE = {"window_s": "10m", "template": "likes"}
LIKES = Digest("post-1", "likes", WINDOW_MS, sliding=False, longest_ms=0, until="", max_items=50)


def category(**rule: Any) -> Tenant:
    """Make a tenant whose news are digested."""
    return tenant(categories={"news": {"digest": {**RULE, **rule}}, "alerts": {}})


class Room:
    """The steps that gather and close, and the clock."""

    def __init__(self, of: Tenant | None = None) -> None:
        self.of = of or tenant()
        self.gatherings = MemoryGatherings()
        self.offset = 0

    def join(self, message: str, *users: str, at: int = NOW_MS, **changes: Any) -> list[Any]:
        """Give what was decided about a message for users."""
        self.offset += 1
        source = Source("events.normal", 0, self.offset)
        piece = work(*users, of=self.of, source=source, message_id=message, **changes)
        (back,), outs = Gather(self.gatherings)([addressed(piece, *map(profile, users))], at)
        assert [p.user_id for p, _ in back.recipients] == ([] if outs else list(users))
        return outs

    def close(self, timer: Timer, *, at: int, offset: int = 0) -> tuple[list[Work], list[Any]]:
        """Give the messages and decisions of a timer that has fired."""
        record = FakeMessage(timer.value, Source(timer.topic, 0, offset), timer.key, at)
        works, wrong = Decode({"acme": self.of})([record], at)  # type: ignore[list-item]
        assert wrong == []
        return CloseDigests(self.gatherings)(works, at)


def test_events_of_one_key_become_one_message() -> None:
    """With their number and what they said; each ends as a part of it."""
    room = Room()
    timers = []
    for number in range(3):
        outs = room.join(f"m{number}", "a", digest=LIKES, variables={"who": f"w{number}"})
        assert said(outs) == [("a", "deferred", "digested")]
        timers += only(Timer, outs)
    (told,), outs = room.close(timers[0], at=NOW_MS + WINDOW_MS)
    notice = told.draft.notice
    assert (notice.template, told.users, notice.gathered) == ("likes", ("a",), True)
    assert (notice.variables["count"], notice.variables["key"]) == (3, "post-1")
    assert [item["who"] for item in notice.variables["items"]] == ["w0", "w1", "w2"]
    ended = only(Outcome, outs)
    assert [(o.message_id, o.reason) for o in ended] == [
        (f"m{n}", Reason.IN_DIGEST) for n in range(3)
    ]
    assert {o.detail for o in ended} == {f"digest {notice.message_id}"}
    assert len({o.outcome_id for o in ended}) == 3


def test_a_closing_that_is_done_again_gives_the_same_message() -> None:
    """And the window's other timers give nothing."""
    room = Room()
    timers = [t for n in range(3) for t in only(Timer, room.join(f"m{n}", "a", digest=LIKES))]
    end = NOW_MS + WINDOW_MS
    first, again = (room.close(timers[0], at=end, offset=4) for _ in range(2))
    assert first[0][0].draft.notice == again[0][0].draft.notice
    assert first[1] == again[1]
    assert room.close(timers[1], at=end, offset=5) == ([], [])


def test_a_timer_that_is_early_is_set_again() -> None:
    """As of a sliding window whose end has moved."""
    room = Room()
    sliding = msgspec.structs.replace(LIKES, sliding=True, longest_ms=10 * WINDOW_MS)
    (timer,) = only(Timer, room.join("m0", "a", digest=sliding))
    room.join("m1", "a", digest=sliding, at=NOW_MS + WINDOW_MS // 2)
    works, outs = room.close(timer, at=NOW_MS + WINDOW_MS)
    (later,) = only(Timer, outs)
    assert (works, later.due_at_ms) == ([], NOW_MS + WINDOW_MS * 3 // 2)
    (told,), _ = room.close(later, at=later.due_at_ms)
    assert told.draft.notice.variables["count"] == 2


def test_users_whose_windows_close_together_share_a_timer() -> None:
    """A chunk of a thousand sets one."""
    room = Room()
    (timer,) = only(Timer, room.join("m", "a", "b", digest=LIKES))
    works, _ = room.close(timer, at=NOW_MS + WINDOW_MS)
    assert [piece.users for piece in works] == [("a",), ("b",)]
    assert len({piece.draft.notice.message_id for piece in works}) == 2


def test_only_the_first_events_set_timers() -> None:
    """The others find the window there."""
    room = Room()
    counts = [len(only(Timer, room.join(f"m{n}", "a", digest=LIKES))) for n in range(ARMING + 2)]
    assert counts == [1] * ARMING + [0, 0]


def test_a_full_digest_closes_at_once() -> None:
    """Its last event sets a timer for now."""
    room = Room()
    two = msgspec.structs.replace(LIKES, max_items=2)
    room.join("m0", "a", digest=two)
    (timer,) = only(Timer, room.join("m1", "a", digest=two, at=NOW_MS + 5))
    assert timer.due_at_ms == NOW_MS + 5
    (told,), _ = room.close(timer, at=NOW_MS + 5)
    assert told.draft.notice.variables["count"] == 2


def test_a_category_digests_its_events_by_what_tells_them_apart() -> None:
    """An entry of the data or the variables, or else the type."""
    of = category(by="post")
    keys = [
        digest_of(work("a", of=of, **changes).draft)
        for changes in ({"data": {"post": "1"}}, {"variables": {"post": 1}}, {"type": "t"})
    ]
    assert [found and found.key for found in keys] == ["1", "1", "t"]
    assert digest_of(work("a", of=of, category="alerts").draft) is None


@pytest.mark.parametrize(
    "changes", [{"priority": Priority.CRITICAL}, {"gathered": True}, {"category": "alerts"}]
)
def test_what_does_not_wait(changes: dict[str, Any]) -> None:
    """Critical messages, digests themselves, other categories."""
    assert Room(category()).join("m", "a", **changes) == []


def test_single_devices_are_not_digested() -> None:
    """The message is for that device."""
    of = category()
    piece = addressed(work("a", of=of, devices=("d",)), profile("a"))
    assert Gather(MemoryGatherings())([piece], NOW_MS) == ([piece], [])
    assert piece.recipients


def test_a_digest_taken_out_of_the_configuration_is_still_sent() -> None:
    """In the words of the event that set the timer."""
    room = Room(category())
    (timer,) = only(Timer, room.join("m", "a", template="own", texts={}))
    room.of = tenant()
    (told,), _ = room.close(timer, at=NOW_MS + WINDOW_MS)
    assert (told.draft.notice.template, told.draft.notice.variables["count"]) == ("own", 1)


@pytest.mark.parametrize(
    ("zone", "until", "hours"),
    [("UTC", "18:00", 15 + 1 / 3), ("America/New_York", "18:00", 20 + 1 / 3), ("UTC", "02:40", 24)],
)
def test_a_digest_until_an_hour_of_the_users_day(zone: str, until: str, hours: float) -> None:
    """The next time that it is so late there; the moment itself is over."""
    due_ms = due_of(msgspec.structs.replace(LIKES, until=until), NOW_MS, zone)
    assert (due_ms - NOW_MS) / 3_600_000 == pytest.approx(hours)
    assert zone_of(zone).key == zone
