"""Explanations from decisions as ClickHouse gives them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.cli import run
from api.explain import AmbiguousError, NoProfileError, explain, explain_event, source_in
from api.explain_text import lines
from schemas.pipeline import Platform
from schemas.stream import Source
from sinks.outcome_history import Decision, Group, History
from state.profiles import Choice, Device, Profile, QuietHours
from tests.unit.operators.builders import NOW_MS, event

HOUR_MS = 3_600_000
BASE = Decision(
    NOW_MS, "acme", "m-1", "u1", "", "", "suppressed", "opted_out", "low", "", "news", "sale", "",
    0, 0, "", "", -1, "keep", "", False, NOW_MS,
)  # fmt: skip


def decision(**changes: Any) -> Decision:
    return msgspec.structs.replace(BASE, **changes)


def attempt(number: int, status: str, reason: str, **changes: Any) -> Decision:
    """Make an attempt at the user's phone."""
    told = {"device_id": "d1", "delivery_id": "x", "platform": "apns", **changes}
    return decision(
        occurred_at_ms=NOW_MS + number * 1_000, status=status, reason=reason, attempt=number, **told
    )


class Remembered:
    """Decisions in a list."""

    def __init__(
        self, *decisions: Decision, groups: Sequence[Group] = (), is_cut: bool = False
    ) -> None:
        self._decisions, self._groups, self._is_cut = decisions, groups, is_cut

    def tenants(self, message_id: str) -> list[str]:
        return sorted({d.tenant for d in self._decisions if d.message_id == message_id})

    def decisions(self, tenant: str, message_id: str, user_ids: Sequence[str]) -> History:
        found = [
            d
            for d in self._decisions
            if (d.tenant, d.message_id) == (tenant, message_id) and d.user_id in user_ids
        ]
        return History(found, self._is_cut)

    def any_of(self, tenant: str, message_id: str) -> Decision | None:
        found = (d for d in self._decisions if (d.tenant, d.message_id) == (tenant, message_id))
        return next(found, None)

    def groups(self, tenant: str, message_id: str) -> list[Group]:
        return [g for g in self._groups if g.tenant == tenant and message_id]

    def users(self, tenant: str, message_id: str) -> int:
        return sum(g.users for g in self.groups(tenant, message_id))


def test_a_chain_tells_rule_state_and_answer() -> None:
    """Held at night, sent after a failure: each step in words, with what decided it."""
    found = explain(
        Remembered(
            decision(
                status="deferred",
                reason="quiet_hours",
                detail="until 2026-02-02T05:00:00Z, 22:00-06:00 Europe/Berlin (the user's)",
            ),
            attempt(1, "retry", "provider_unavailable", provider_status=503, detail="busy"),
            attempt(2, "sent", "accepted", provider_status=200, provider_id="id-9", latency_ms=7),
        ),
        "m-1",
        user_id="u1",
        now_ms=NOW_MS,
    )
    assert found.message == {"type": "sale", "category": "news", "priority": "low"}
    night, failed, sent = found.steps
    assert "night" in night.rule
    assert "quiet_hours" in night.change
    assert night.until == "2026-02-02T05:00:00Z"
    assert night.seen.endswith("Europe/Berlin (the user's)")
    assert (failed.provider, failed.seen, failed.attempt) == ("503 busy", "", 1)
    assert (sent.at, sent.provider_id, sent.latency_ms) == ("2026-02-02T02:40:02.000Z", "id-9", 7)
    assert found.now == "1 ended"
    text = "\n".join(lines(found))
    assert "saw: until 2026-02-02T05:00:00Z, 22:00-06:00 Europe/Berlin" in text
    assert "provider: 503 busy" in text
    assert "took: 7 ms" in text


@pytest.mark.parametrize(
    ("later_ms", "now"),
    [
        (0, "u1 is held until 2026-02-02T03:40:00Z"),
        (2 * HOUR_MS, "u1 is held until 2026-02-02T03:40:00Z, overdue"),
    ],
)
def test_what_is_still_held_says_until_when(later_ms: int, now: str) -> None:
    """And what should have come by now says so, with where to look."""
    held = decision(status="deferred", reason="quiet_hours", detail="until 2026-02-02T03:40:00Z")
    found = explain(Remembered(held), "m-1", user_id="u1", now_ms=NOW_MS + later_ms)
    assert found.now == now
    assert any("timers" in note for note in found.notes) is bool(later_ms)


def test_a_device_may_wait_while_another_has_it() -> None:
    """Each delivery stands for itself."""
    other = {"device_id": "d2", "delivery_id": "y", "platform": "fcm"}
    found = explain(
        Remembered(
            attempt(1, "sent", "accepted"), attempt(1, "retry", "provider_unavailable", **other)
        ),
        "m-1",
        user_id="u1",
        now_ms=NOW_MS,
    )
    assert found.now == "1 ended; d2 waits for its next attempt"


def test_feedback_holds_nothing_open() -> None:
    """An opened message is over."""
    opened = decision(status="opened", reason="feedback", occurred_at_ms=NOW_MS + 9_000)
    found = explain(
        Remembered(attempt(1, "sent", "accepted"), opened), "m-1", user_id="u1", now_ms=NOW_MS
    )
    assert found.now == "1 ended"
    assert len(found.steps) == 2


def test_without_a_user_the_message_is_counted() -> None:
    """How many users met what, and what was decided about it as a whole."""
    scheduled = decision(user_id="", status="deferred", reason="scheduled", detail="until x")
    group = Group("acme", "sent", "accepted", "fcm", 5, 4, "u9")
    found = explain(Remembered(scheduled, groups=[group]), "m-1", now_ms=NOW_MS)
    assert (found.users, found.groups) == (4, [group])
    assert found.now == ""
    assert "sent accepted fcm: 5 decisions, 4 users, such as u9" in "\n".join(lines(found))


def test_a_message_is_known_from_its_users_decisions() -> None:
    """Mostly nothing was decided about the message as a whole."""
    group = Group("acme", "suppressed", "opted_out", "", 1, 1, "u1")
    found = explain(Remembered(decision(), groups=[group]), "m-1", now_ms=NOW_MS)
    assert found.steps == []
    assert found.message == {"type": "sale", "category": "news", "priority": "low"}


def test_nothing_found_says_what_may_be_the_cause() -> None:
    """Unknown, not there yet, unreadable, too old."""
    found = explain(Remembered(), "m-1", user_id="u1", now_ms=NOW_MS)
    text = "\n".join(lines(found))
    for word in ("--tenant", "seconds", "dlq", "13 months"):
        assert word in text


def test_a_user_of_whom_nothing_is_known_is_told_apart() -> None:
    """The message is known, the user is not in it."""
    scheduled = decision(user_id="", status="deferred", reason="scheduled")
    found = explain(Remembered(scheduled), "m-1", user_id="u7", now_ms=NOW_MS)
    assert "nothing was decided about user u7" in found.notes[0]
    others = Remembered(groups=[Group("acme", "sent", "accepted", "fcm", 5, 4, "u9")])
    found = explain(others, "m-1", tenant="acme", user_id="u7", now_ms=NOW_MS)
    assert "nothing was decided about user u7" in found.notes[0]


def test_an_id_of_two_tenants_is_asked_about() -> None:
    """Neither is guessed; naming one helps."""
    both = Remembered(decision(), decision(tenant="beta"))
    with pytest.raises(AmbiguousError, match="acme, beta"):
        explain(both, "m-1", user_id="u1", now_ms=NOW_MS)
    found = explain(both, "m-1", user_id="u1", tenant="beta", now_ms=NOW_MS)
    assert found.tenant == "beta"
    assert len(found.steps) == 1


def test_a_duplicate_names_the_event_that_was_first() -> None:
    """Read from its coordinates while Kafka has it."""
    again = decision(user_id="", reason="duplicate_event", detail="first seen at events.low/0/12")
    places: list[Source] = []

    def event_at(at: Source) -> bytes | None:
        places.append(at)
        return event(id="m-0") if at.offset == 12 else None

    found = explain(Remembered(again), "m-1", now_ms=NOW_MS, event_at=event_at)
    assert found.notes == ["the event that was first: m-0 (events.low/0/12)"]
    assert places == [Source("events.low", 0, 12)]
    gone = explain(Remembered(again), "m-1", now_ms=NOW_MS)
    assert "not on Kafka any more" in gone.notes[0]
    unread = explain(Remembered(again), "m-1", now_ms=NOW_MS, event_at=None)
    assert unread.notes == ["the event that was first is events.low/0/12"]


def test_a_digested_event_names_its_digest() -> None:
    """Whether the window is still open or not, and once."""
    found = explain(
        Remembered(
            decision(
                status="deferred",
                reason="digested",
                detail="until 2026-02-02T03:40:00Z, digest w-1",
            ),
            decision(reason="in_digest", detail="digest w-1", occurred_at_ms=NOW_MS + 1),
        ),
        "m-1",
        user_id="u1",
        now_ms=NOW_MS,
    )
    assert found.steps[0].until == "2026-02-02T03:40:00Z"
    assert found.notes == ["it went into the digest w-1: explain that message too"]


def test_an_events_bytes_are_explained_by_their_id() -> None:
    """Also those that are none: with every fault."""
    found = explain_event(Remembered(decision()), event(), now_ms=NOW_MS)
    assert (found.message_id, found.tenant) == ("m-1", "acme")
    bad = explain_event(Remembered(), event(prioritty="low"), now_ms=NOW_MS)
    assert bad.steps[0].reason == "bad_event"
    assert "prioritty" in bad.steps[0].seen


def test_the_profile_is_shown_without_its_tokens() -> None:
    """What the user said, and the devices there are now."""
    user = Profile(
        "u1",
        1,
        devices=(Device("d1", Platform.FCM, "android", "secret-token", NOW_MS, p256dh="k"),),
        quiet_hours=QuietHours(1_320, 360),
        time_zone="Europe/Berlin",
        choices=(Choice(allow=False, category="news"),),
        muted_until_ms=NOW_MS,
    )
    found = explain(
        Remembered(decision()), "m-1", user_id="u1", now_ms=NOW_MS, profile_of=lambda _t, _u: user
    )
    assert found.profile is not None
    assert found.profile["choices"] == [{"allow": False, "category": "news"}]
    assert found.profile["quiet_hours"] == "22:00-06:00 Europe/Berlin (the user's)"
    text = "\n".join(lines(found))
    assert "secret-token" not in text + msgspec.json.encode(found).decode()
    assert "device_id d1, platform fcm" in text


def test_a_profile_that_cannot_be_read_hides_nothing_else() -> None:
    """Redis may be away while one looks for why."""

    def away(_tenant: str, _user: str) -> Profile:
        raise NoProfileError("redis:6379: refused")

    found = explain(Remembered(decision()), "m-1", user_id="u1", now_ms=NOW_MS, profile_of=away)
    assert len(found.steps) == 1
    assert "redis:6379: refused" in found.notes[0]


def test_nothing_steers_a_terminal() -> None:
    """A provider's words may hold anything."""
    hostile = attempt(1, "failed", "unlisted", detail="\x1b[2J")
    text = "".join(lines(explain(Remembered(hostile), "m-1", user_id="u1", now_ms=NOW_MS)))
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("events.high/0/12", Source("events.high", 0, 12)),
        ("events.high/0", None),
        ("events.high/a/1", None),
        ("outcomes/0/1", None),
        ("m-1", None),
        ("", None),
    ],
)
def test_only_coordinates_of_events_are_coordinates(text: str, source: Source | None) -> None:
    assert source_in(text) == source


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either --message or --event"),
        (["--message", "m", "--event", "e"], "give either --message or --event"),
        (["--event", "e", "--user", "u"], "--user: goes with --message"),
        (["--message", "m", "--tenant", ""], "--tenant: must not be empty"),
    ],
)
def test_wrong_options_are_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked."""
    assert run(["explain", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_store_that_is_away_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the address that was asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARION_CLICKHOUSE__URL", "http://127.0.0.1:9")
    assert run(["explain", "--message", "m-1"]) == 1
    shown = capsys.readouterr().err
    assert "ClickHouse at http://127.0.0.1:9" in shown
    assert "Traceback" not in shown
