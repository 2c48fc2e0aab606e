"""feedback: what apps report becomes outcomes; outcomes pass as they are."""

import json
from typing import Any

import msgspec
import pytest

from operators.feedback import ReadOutcomes, outcome_of
from schemas.decode import BadMessageError
from schemas.pipeline import DeadLetter, Outcome
from schemas.stream import Source
from state.memory import MemoryDedup
from tests.unit.operators.builders import NOW_MS, FakeMessage, messages

SAID = {
    "tenant": "acme",
    "message_id": "m-1",
    "user_id": "u1",
    "kind": "clicked",
    "occurred_at": "2026-01-05T08:00:00Z",
}


def feedback(**changes: Any) -> bytes:
    return json.dumps({**SAID, **changes}).encode()


def read(*records: Any) -> tuple[list[Any], list[Any]]:
    """Read records with nothing seen before."""
    return ReadOutcomes(MemoryDedup())(list(records), NOW_MS)


def ids(rows: list[Any]) -> list[str]:
    return [msgspec.msgpack.decode(row[3], type=Outcome).outcome_id for row in rows]


def test_outcomes_pass_with_their_coordinates() -> None:
    """Unread: the writer decodes them in bulk."""
    rows, letters = read(*messages("outcomes", b"a", b"\xc1", None))
    assert rows == [("outcomes", 0, 0, b"a"), ("outcomes", 0, 1, b"\xc1"), ("outcomes", 0, 2, b"")]
    assert letters == []


@pytest.mark.parametrize("kind", ["delivered", "opened", "clicked", "dismissed"])
def test_feedback_becomes_an_outcome(kind: str) -> None:
    """What happened is the status."""
    raw = feedback(kind=kind, delivery_id="d-1", device_id="d1", detail="button 2")
    ((*at, value),), letters = read(*messages("feedback", raw))
    found = msgspec.msgpack.decode(value, type=Outcome)
    assert (at, letters) == (["feedback", 0, 0], [])
    assert (found.status, found.reason) == (kind, "feedback")
    assert (found.message_id, found.user_id, found.device_id) == ("m-1", "u1", "d1")
    assert (found.delivery_id, found.detail) == ("d-1", "button 2")
    assert found.occurred_at_ms == 1_767_600_000_000


@pytest.mark.parametrize(
    ("said", "campaign"),
    [
        ({}, ""),
        ({"campaign_id": "spring"}, "spring"),
        ({"message_id": "a:b:fd6c7087:1795378172229"}, "a:b"),
        ({"message_id": "a:fd6c7087:17", "campaign_id": "other"}, "other"),
    ],
)
def test_opens_count_for_their_campaign(said: dict[str, str], campaign: str) -> None:
    """As the app tells, or as the id of a campaign's run does."""
    assert outcome_of(feedback(**said), NOW_MS).campaign_id == campaign


def test_a_repeat_counts_once_and_a_replay_goes_on() -> None:
    """Whoever sends it again, within a batch or later; a crash loses and doubles nothing."""
    repeated: list[int] = []
    step = ReadOutcomes(MemoryDedup(), repeated.append)
    first = messages("feedback", feedback(), feedback())
    rows, _ = step(first, NOW_MS)
    assert [row[2] for row in rows] == [0]
    again, _ = step(first, NOW_MS)
    assert again == rows
    later = FakeMessage(feedback(occurred_at="2026-01-05T09:00:00+01:00"), Source("feedback", 2, 9))
    assert step([later], NOW_MS) == ([], [])
    assert repeated == [1, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "rival"},
        {"message_id": "m-2"},
        {"user_id": "u2"},
        {"kind": "opened"},
        {"occurred_at": "2026-01-05T08:00:00.001Z"},
        {"device_id": "d1"},
        {"delivery_id": "x"},
        {"detail": "button 2"},
    ],
)
def test_what_differs_in_anything_is_another_report(change: dict[str, str]) -> None:
    """Two clicks on two buttons are two clicks."""
    rows, _ = read(*messages("feedback", feedback(), feedback(**change)))
    assert len(set(ids(rows))) == 2


def test_nothing_happened_after_kafka_took_its_report() -> None:
    """A clock that is ahead is set back, and the repeat of its report is still known as one."""
    ahead = feedback(occurred_at="2026-02-02T02:41:00Z")
    now, later = (outcome_of(ahead, at_ms) for at_ms in (NOW_MS, NOW_MS + 5_000))
    assert (now.occurred_at_ms, later.occurred_at_ms) == (NOW_MS, NOW_MS + 5_000)
    assert now.outcome_id == later.outcome_id


@pytest.mark.parametrize(
    "raw",
    [None, b"", b"{}", b"\xff", feedback(kind="eaten"), b" " * 20_000, feedback(detail="a\x00")],
)
def test_what_is_no_feedback_is_a_dead_letter(raw: bytes | None) -> None:
    """And the others of the batch go on."""
    rows, (letter,) = read(*messages("feedback", raw, feedback()))
    assert [row[2] for row in rows] == [1]
    assert isinstance(letter, DeadLetter)
    assert (letter.topic, letter.offset, letter.raw) == ("feedback", 0, raw or b"")


def test_a_long_detail_is_cut() -> None:
    """As in every outcome."""
    assert len(outcome_of(feedback(detail="x" * 500), NOW_MS).detail) == 200


def test_the_error_names_the_field() -> None:
    """And what to do."""
    with pytest.raises(BadMessageError, match="kind: "):
        outcome_of(feedback(kind="eaten"), NOW_MS)
