"""Observing: masked log lines in bounded number, and metrics of all decisions."""

from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from flows.observe import LINES_PER_S, Observer
from schemas.masking import masked
from schemas.outcomes import Reason, Status
from schemas.pipeline import DeadLetter, Outcome, Timer

FAILED = Outcome(
    "id",
    5,
    "acme",
    "m-1",
    Status.FAILED,
    Reason.TOKEN_UNREGISTERED,
    user_id="user-4711",
    device_id="device-4711",
    token="token-4711",
    platform="fcm",
    provider_status=404,
    detail="UNREGISTERED",
    attempt=2,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
)
LETTER = DeadLetter("events.low", 3, 9, "no event", b"token-4711", 5)


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def watched(*items: Any, observer: Observer | None = None) -> list[Any]:
    with capture_logs() as lines:
        (observer or Observer("test", monotonic=Clock()))(items)
    return lines


def with_status(status: Status, **more: Any) -> Outcome:
    return msgspec.structs.replace(FAILED, status=status, **more)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_line_says_what_happened() -> None:
    """Enough to look it up."""
    (line,) = watched(FAILED)
    shown = ("event", "message_id", "status", "reason", "provider_status", "detail", "attempt")
    assert [line[name] for name in shown] == [
        "delivery",
        "m-1",
        "failed",
        "token_unregistered",
        404,
        "UNREGISTERED",
        2,
    ]


def test_users_devices_and_tokens_are_masked() -> None:
    """The same stand-in for the same value, and never the value."""
    (line,) = watched(FAILED)
    assert "4711" not in repr(line)
    assert line["user_id"] == masked("user-4711")
    assert line["token"] == masked("token-4711")


def test_a_dead_letter_is_told_without_its_bytes() -> None:
    """They may hold anything; coordinates lead to them."""
    (line,) = watched(LETTER)
    assert (line["topic"], line["partition"], line["offset"]) == ("events.low", 3, 9)
    assert line["error"] == "no event"
    assert "4711" not in repr(line)


@pytest.mark.parametrize("status", [Status.SENT, Status.SUPPRESSED, Status.DEFERRED])
def test_what_is_usual_is_not_logged(status: Status) -> None:
    """ClickHouse has it."""
    assert watched(with_status(status)) == []


@pytest.mark.parametrize(
    "status",
    [Status.FAILED, Status.REJECTED, Status.UNKNOWN, Status.EXPIRED, Status.RETRY],
)
def test_what_is_notable_is_logged(status: Status) -> None:
    """One line each."""
    assert len(watched(with_status(status))) == 1


def test_other_things_pass_unseen() -> None:
    """Timers and chunks are no decisions."""
    assert watched(Timer("t", 5, "x", b"", b"")) == []


def test_lines_are_limited_each_second() -> None:
    """An outage of a provider does not fill the disk."""
    assert len(watched(*[FAILED] * 500)) == LINES_PER_S


def test_the_next_second_tells_how_many_were_left_out() -> None:
    """And logs again."""
    clock = Clock()
    observer = Observer("test", monotonic=clock)
    watched(*[FAILED] * (LINES_PER_S + 7), observer=observer)
    clock.now_s += 1
    first, second = watched(FAILED, observer=observer)
    assert (first["event"], first["unlogged"]) == ("more lines than are logged", 7)
    assert second["event"] == "delivery"


def test_every_decision_is_counted() -> None:
    """Logged or not."""
    labels = {"flow": "test", "status": "sent", "reason": "accepted"}
    before = counted("clarion_decisions_total", **labels)
    watched(*[with_status(Status.SENT, reason=Reason.ACCEPTED)] * 120)
    assert counted("clarion_decisions_total", **labels) == before + 120


def test_dead_letters_are_counted() -> None:
    """By flow."""
    before = counted("clarion_dead_letters_total", flow="test")
    watched(LETTER, LETTER)
    assert counted("clarion_dead_letters_total", flow="test") == before + 2


def test_an_unlisted_answer_is_counted() -> None:
    """A table is to be extended."""
    before = counted("clarion_unlisted_answers_total", platform="fcm")
    watched(with_status(Status.REJECTED, reason=Reason.UNLISTED))
    assert counted("clarion_unlisted_answers_total", platform="fcm") == before + 1


def test_latency_is_observed_where_there_is_one() -> None:
    """In seconds; -1 is none."""
    labels = {"platform": "webpush", "priority": "high"}
    sent = with_status(Status.SENT, platform="webpush", priority="high")
    watched(sent, msgspec.structs.replace(sent, latency_ms=1_500))
    assert counted("clarion_delivery_seconds_sum", **labels) == 1.5
    assert counted("clarion_delivery_seconds_count", **labels) == 1
