"""Figures for analysts, asked of ClickHouse itself."""

from collections.abc import Callable
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.clickhouse import ClickHouseWriter
from sinks.clickhouse_once import ExactlyOnceWriter
from sinks.figures import Dimension, Figures, Interval, ReasonCount, Window
from tests.contract.clickhouse.outcome_log import TOPIC, record

NOON_MS = 1_795_953_600_000
"""2026-11-29 12:00 UTC."""
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
AROUND = Window(NOON_MS - DAY_MS, NOON_MS + DAY_MS)


class Told:
    """Writes outcomes at times given in ms from noon."""

    def __init__(self, connect_here: Callable[[], Client]) -> None:
        self._once = ExactlyOnceWriter(ClickHouseWriter(client_factory=connect_here))
        self._once.assign(TOPIC, [0])
        self._offset = 0

    def tell(self, *outcomes: dict[str, Any]) -> None:
        rows = []
        for one in outcomes:
            self._offset += 1
            after_ms = one.pop("after_ms", 0)
            fields = {"category": "news", "platform": "fcm", "priority": "low", **one}
            rows.append(record(0, self._offset, occurred_at_ms=NOON_MS + after_ms, **fields))
        self._once.write(rows)


@pytest.fixture
def told(client: Client, connect_here: Callable[[], Client]) -> Told:
    assert client.command("SELECT count() FROM outcomes") == 0
    return Told(connect_here)


@pytest.fixture
def figures(client: Client) -> Figures:
    return Figures(client, "acme")


@pytest.mark.parametrize(
    ("interval", "starts"),
    [
        (Interval.MINUTE, [0, MINUTE_MS, 2 * HOUR_MS, 13 * HOUR_MS]),
        (Interval.HOUR, [0, 2 * HOUR_MS, 13 * HOUR_MS]),
        (Interval.DAY, [-12 * HOUR_MS, 12 * HOUR_MS]),
    ],
)
@pytest.mark.parametrize("by", [(), (Dimension.CATEGORY,)])
def test_buckets_begin_where_their_interval_does(
    told: Told, figures: Figures, interval: Interval, starts: list[int], by: Any
) -> None:
    """In UTC; from the sums and from the outcomes alike. Empty ones are left out."""
    told.tell(
        {"after_ms": 5_000},
        {"after_ms": MINUTE_MS + 59_999},
        {"after_ms": 2 * HOUR_MS},
        {"after_ms": 13 * HOUR_MS},
    )
    found = figures.deliveries(AROUND, interval, by=by)
    assert [one.at_s * 1_000 - NOON_MS for one in found] == starts
    assert sum(one.counts["sent"] for one in found) == 4


def test_deliveries_are_told_apart_and_counted_by_status(told: Told, figures: Figures) -> None:
    """By platform and priority, or those of one; another tenant's are not there."""
    told.tell(
        {"latency_ms": 100},
        {"latency_ms": 300},
        {"platform": "apns", "status": "failed", "reason": "provider_error"},
        {"platform": "apns", "status": "retry", "reason": "provider_error"},
        {"platform": "", "status": "suppressed", "reason": "opted_out"},
        {"tenant": "rival", "latency_ms": 1},
    )
    by = (Dimension.PLATFORM, Dimension.PRIORITY)
    found = {one.names["platform"]: one for one in figures.deliveries(AROUND, Interval.DAY, by=by)}
    assert found.keys() == {"", "apns", "fcm"}
    assert found["fcm"].names == {"platform": "fcm", "priority": "low"}
    assert (found["fcm"].counts["sent"], found["fcm"].counts["outcomes"]) == (2, 2)
    assert found["fcm"].latency[0] == pytest.approx(200, abs=100)
    assert (found["apns"].counts["failed"], found["apns"].counts["retried"]) == (1, 1)
    assert found["apns"].latency == (None, None, None)
    (only,) = figures.deliveries(AROUND, Interval.DAY, only={Dimension.PLATFORM: "apns"})
    assert only.counts["outcomes"] == 2


def test_sums_and_outcomes_say_the_same(told: Told, figures: Figures) -> None:
    """Whether a category is asked for changes where the figures come from, not what they are."""
    told.tell(
        *({"after_ms": n * 7_000, "latency_ms": n} for n in range(50)),
        {"status": "opened", "reason": "feedback"},
    )
    (fast,) = figures.deliveries(AROUND, Interval.DAY)
    (slow,) = figures.deliveries(AROUND, Interval.DAY, only={Dimension.CATEGORY: "news"})
    assert fast.counts == slow.counts
    assert fast.latency == pytest.approx(slow.latency, rel=0.05)
    assert figures.deliveries(AROUND, Interval.DAY, only={Dimension.CATEGORY: "ads"}) == []


@pytest.mark.parametrize("only", [None, {Dimension.CATEGORY: "news"}])
def test_a_window_has_its_start_and_not_its_end(told: Told, figures: Figures, only: Any) -> None:
    """Two windows side by side count everything once."""
    told.tell({"after_ms": -MINUTE_MS}, {"after_ms": 0}, {"after_ms": MINUTE_MS})
    before = Window(NOON_MS - HOUR_MS, NOON_MS)
    after = Window(NOON_MS, NOON_MS + HOUR_MS)
    counted = [
        sum(
            one.counts["outcomes"] for one in figures.deliveries(window, Interval.MINUTE, only=only)
        )
        for window in (before, after)
    ]
    assert counted == [1, 2]


def test_reasons_are_counted_by_category(told: Told, figures: Figures) -> None:
    """The most frequent first; those of one category when it is named."""
    told.tell(
        {},
        {},
        {"status": "suppressed", "reason": "opted_out"},
        {"category": "ads", "status": "suppressed", "reason": "opted_out"},
        {"tenant": "rival"},
        {"after_ms": 2 * DAY_MS},
    )
    assert figures.reasons(AROUND) == [
        ReasonCount("news", "sent", "accepted", 2),
        ReasonCount("ads", "suppressed", "opted_out", 1),
        ReasonCount("news", "suppressed", "opted_out", 1),
    ]
    assert figures.reasons(AROUND, category="ads") == [
        ReasonCount("ads", "suppressed", "opted_out", 1)
    ]


def test_a_campaigns_funnel_and_that_of_each_variant(told: Told, figures: Figures) -> None:
    """Users once, deliveries as they are; of unknown campaigns nothing is known."""
    told.tell(
        {"user_id": "a", "variant": "A"},
        {"user_id": "a", "variant": "A"},
        {"user_id": "a", "variant": "A", "status": "opened", "reason": "feedback"},
        {"user_id": "b", "variant": "B", "status": "failed", "reason": "provider_error"},
        {"user_id": "c", "status": "suppressed", "reason": "holdout"},
        {"user_id": "d", "variant": "A", "tenant": "rival"},
    )
    whole = figures.campaign("spring")
    assert whole is not None
    assert (whole.counts["targeted_users"], whole.counts["suppressed_users"]) == (3, 1)
    assert (whole.counts["sent_users"], whole.counts["sent_deliveries"]) == (1, 2)
    a, b = figures.variants("spring")
    assert (a.variant, a.counts["opened_users"], a.counts["targeted_users"]) == ("A", 1, 1)
    assert (b.variant, b.counts["failed_deliveries"], b.counts["sent_users"]) == ("B", 1, 0)
    assert figures.campaign("none") is None
    assert figures.variants("none") == []


def test_a_hostile_value_stays_a_value(told: Told, figures: Figures, client: Client) -> None:
    """Names are bound as parameters: nobody sees another tenant's rows."""
    told.tell({"tenant": "rival"})
    hostile = "x' OR tenant != '"
    assert figures.reasons(AROUND, category=hostile) == []
    assert figures.deliveries(AROUND, Interval.DAY, only={Dimension.PLATFORM: hostile}) == []
    assert Figures(client, hostile).reasons(AROUND) == []


def test_questions_change_nothing(figures: Figures) -> None:
    """They run read-only, whatever they would say."""
    with pytest.raises(DatabaseError, match="readonly"):
        figures._rows("INSERT INTO outcomes (tenant) VALUES ('acme')")
