"""outcomes, crashed and replayed, into the real ClickHouse engine."""

import json
from collections.abc import Iterator

import msgspec
from clickhouse_connect.driver.client import Client
from flow_harness import Runner, Stores, run_through_crashes
from test_crash_registry import client, settings

from schemas.outcomes import Reason, Status
from schemas.pipeline import DeadLetter, Outcome
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import DEAD_OUTCOMES, FEEDBACK, OUTCOMES

__all__ = ["client", "settings"]
COUNT = 600
MONTH_END_MS = 1_785_542_400_000  # 2026-08-01T00:00:00Z


def _outcomes() -> Iterator[Record]:
    """Give outcomes around the turn of a month."""
    encode = msgspec.msgpack.Encoder().encode
    for number in range(COUNT):
        outcome = Outcome(
            outcome_id=f"o{number}",
            occurred_at_ms=MONTH_END_MS + (number * 7919 % 600 - 300),
            tenant="acme",
            message_id=f"m{number}",
            status=Status.SENT,
            reason=Reason.ACCEPTED,
            user_id=f"u{number % 50}",
        )
        yield Record(OUTCOMES, None, encode(outcome))


def test_every_outcome_is_there_once_over_crashes_and_a_month_boundary(
    stores: Stores, settings: Settings, client: Client
) -> None:
    """count() = uniqExact(outcome_id) = what was sent, whatever crashed between two stores."""
    stores.put(list(_outcomes()))
    runner = Runner(settings, "outcomes")
    runner.run(crash_at=2, between=True)
    run_through_crashes(runner)
    rows = client.query(
        "SELECT count(), uniqExact(outcome_id), uniqExact(toYYYYMM(occurred_at)) FROM outcomes"
    ).result_rows
    assert rows == [(COUNT, COUNT, 2)]


def test_feedback_joins_the_outcomes_and_bad_records_do_not_stop_them(
    stores: Stores, settings: Settings, client: Client
) -> None:
    """An opened message is a row; broken feedback and broken outcomes are dead letters."""
    feedback = {
        "tenant": "acme",
        "message_id": "m1",
        "user_id": "u1",
        "kind": "opened",
        "occurred_at": "2026-08-01T10:00:00Z",
    }
    stores.put([Record(FEEDBACK, b"u1", json.dumps(feedback).encode())])
    stores.put([Record(FEEDBACK, b"u1", b"{}"), Record(OUTCOMES, None, b"\xc1")])
    Runner(settings, "outcomes").run()
    rows = client.query("SELECT message_id, status FROM outcomes").result_rows
    assert rows == [("m1", "opened")]
    letters = stores.decoded(DEAD_OUTCOMES, DeadLetter)
    assert {letter.raw for letter in letters} == {b"\xc1", b"{}"}


def test_a_report_that_is_repeated_counts_once_over_crashes(
    stores: Stores, settings: Settings, client: Client
) -> None:
    """Sent again, from elsewhere or after a day: one row, one in the sums, whatever crashed."""
    said = [
        {
            "tenant": "acme",
            "message_id": "m1",
            "user_id": f"u{number % 20}",
            "kind": "opened",
            "occurred_at": "2026-08-01T10:00:00Z",
        }
        for number in range(60)
    ]
    stores.put(
        [Record(FEEDBACK, b"k%d" % n, json.dumps(one).encode()) for n, one in enumerate(said)]
    )
    runner = Runner(settings, "outcomes")
    runner.run(crash_at=1, between=True)
    run_through_crashes(runner)
    stores.put([Record(FEEDBACK, b"later", json.dumps(one).encode()) for one in said])
    runner.run()
    rows = client.query("SELECT count(), uniqExact(outcome_id) FROM outcomes").result_rows
    assert rows == [(20, 20)]
    assert client.command("SELECT sum(opened) FROM delivery_per_minute") == 20
