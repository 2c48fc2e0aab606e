"""feedback: what apps report becomes outcomes; outcomes pass as they are."""

import json
from typing import Any

import msgspec
import pytest

from operators.feedback import outcome_of, outcome_rows
from schemas.decode import BadMessageError
from schemas.pipeline import DeadLetter, Outcome
from tests.unit.operators.builders import NOW_MS, messages

SAID = {
    "tenant": "acme",
    "message_id": "m-1",
    "user_id": "u1",
    "kind": "clicked",
    "occurred_at": "2026-01-05T08:00:00Z",
}


def feedback(**changes: Any) -> bytes:
    return json.dumps({**SAID, **changes}).encode()


def test_outcomes_pass_with_their_coordinates() -> None:
    """Unread: the writer decodes them in bulk."""
    rows, letters = outcome_rows(messages("outcomes", b"a", b"\xc1", None), NOW_MS)
    assert rows == [("outcomes", 0, 0, b"a"), ("outcomes", 0, 1, b"\xc1"), ("outcomes", 0, 2, b"")]
    assert letters == []


@pytest.mark.parametrize("kind", ["delivered", "opened", "clicked", "dismissed"])
def test_feedback_becomes_an_outcome(kind: str) -> None:
    """What happened is the status."""
    raw = feedback(kind=kind, delivery_id="d-1", device_id="d1", detail="button 2")
    ((*at, value),), letters = outcome_rows(messages("feedback", raw), NOW_MS)
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
    assert outcome_of(feedback(**said), "x").campaign_id == campaign


def test_its_id_comes_from_where_it_lies() -> None:
    """A replay gives the same row, a repeat another."""
    raw = feedback()
    rows, _ = outcome_rows(messages("feedback", raw, raw), NOW_MS)
    ids = [msgspec.msgpack.decode(row[3], type=Outcome).outcome_id for row in rows]
    assert ids == ["feedback/0/0", "feedback/0/1"]


@pytest.mark.parametrize(
    "raw",
    [None, b"", b"{}", b"\xff", feedback(kind="eaten"), b" " * 20_000, feedback(detail="a\x00")],
)
def test_what_is_no_feedback_is_a_dead_letter(raw: bytes | None) -> None:
    """And the others of the batch go on."""
    rows, (letter,) = outcome_rows(messages("feedback", raw, feedback()), NOW_MS)
    assert [row[2] for row in rows] == [1]
    assert isinstance(letter, DeadLetter)
    assert (letter.topic, letter.offset, letter.raw) == ("feedback", 0, raw or b"")


def test_a_long_detail_is_cut() -> None:
    """As in every outcome."""
    assert len(outcome_of(feedback(detail="x" * 500), "id").detail) == 200


def test_the_error_names_the_field() -> None:
    """And what to do."""
    with pytest.raises(BadMessageError, match="kind: "):
        outcome_of(feedback(kind="eaten"), "id")
