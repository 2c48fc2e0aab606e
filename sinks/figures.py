"""Figures for analysts out of ClickHouse: one tenant's, read-only, bounded in time and rows.

Deliveries come from the sums by the minute, which are small; where a category is asked for, from
the outcomes themselves, as the sums do not know it. A bucket holds [start, start + interval), UTC.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from sinks.campaign_figures import FUNNEL

MAX_S = 10
"""A question takes no longer than this; ClickHouse ends it."""
MAX_ROWS = 10_000
MAX_REASONS = 1_000
_SETTINGS: Mapping[str, Any] = {"readonly": 2, "max_execution_time": MAX_S}

COUNTS = ("outcomes", "sent", "failed", "rejected", "suppressed", "expired", "unknown", "retried",
          "deferred", "delivered", "opened", "clicked", "dismissed")  # fmt: skip
_STATUS_OF = {"retried": "retry"}
_FAILED = "('failed', 'rejected', 'expired', 'unknown')"


class Interval(StrEnum):
    """How long a bucket is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


class Dimension(StrEnum):
    """What deliveries are told apart by."""

    PLATFORM = "platform"
    PRIORITY = "priority"
    CATEGORY = "category"


class Window(NamedTuple):
    """From since_ms (included) to until_ms (not). Epoch ms."""

    since_ms: int
    until_ms: int


class Bucket(NamedTuple):
    """What became of deliveries in one interval. at_s: its start, epoch seconds.

    names: by dimension. counts: by COUNTS. latency: p50, p95 and p99 of what was sent, ms; None
    where nothing was.
    """

    at_s: int
    names: dict[str, str]
    counts: dict[str, int]
    latency: tuple[float | None, float | None, float | None]


class ReasonCount(NamedTuple):
    """How many outcomes of a category had this status and reason."""

    category: str
    status: str
    reason: str
    outcomes: int


class Funnel(NamedTuple):
    """How far a campaign's users and deliveries got, by FUNNEL. variant: "" for none."""

    variant: str
    counts: dict[str, int]


_START = {
    Interval.MINUTE: "toStartOfMinute({0})",
    Interval.HOUR: "toStartOfHour({0})",
    Interval.DAY: "toDateTime(toStartOfDay({0}), 'UTC')",
}
# In the order of COUNTS.
_SUMS = ", ".join(f"sum({name})" for name in COUNTS)
_TALLIES = ", ".join(
    ["count()", *(f"countIf(status = '{_STATUS_OF.get(name, name)}')" for name in COUNTS[1:])]
)
_OUTCOMES_WITHIN = (
    "tenant = {tenant:String}"
    " AND occurred_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')"
    " AND occurred_at < fromUnixTimestamp64Milli({until:Int64}, 'UTC')"
    # The table's order, which spares it reading other days.
    " AND toDate(occurred_at) >= toDate(fromUnixTimestamp64Milli({since:Int64}, 'UTC'))"
    " AND toDate(occurred_at) <= toDate(fromUnixTimestamp64Milli({until:Int64}, 'UTC'))"
)
_MINUTES_WITHIN = (
    "tenant = {tenant:String}"
    " AND minute >= toStartOfMinute(fromUnixTimestamp64Milli({since:Int64}, 'UTC'))"
    " AND minute < fromUnixTimestamp64Milli({until:Int64}, 'UTC')"
)
_LATENCY = "quantilesTDigestIf(0.5, 0.95, 0.99)(latency_ms, status = 'sent' AND latency_ms >= 0)"
_REASONS = f"""
SELECT category, status, reason, count() FROM outcomes
WHERE {_OUTCOMES_WITHIN} AND ({{category:String}} = '' OR category = {{category:String}})
GROUP BY category, status, reason
ORDER BY count() DESC, category, status, reason LIMIT {MAX_REASONS + 1}
"""  # noqa: S608 - our own words
_OF_CAMPAIGN = f"""
SELECT {", ".join(FUNNEL)} FROM campaign_funnel
WHERE tenant = {{tenant:String}} AND campaign_id = {{campaign:String}}
"""  # noqa: S608 - our own words
# As campaign_days counts, within the days that the campaign has outcomes of.
_BY_VARIANT = f"""
WITH days AS (
    SELECT min(day) AS first, max(day) AS last FROM campaign_days
    WHERE tenant = {{tenant:String}} AND campaign_id = {{campaign:String}}
)
SELECT variant,
       uniqCombined64If(user_id, user_id != ''),
       uniqCombined64If(user_id, user_id != '' AND status = 'suppressed'),
       uniqCombined64If(user_id, user_id != '' AND status = 'sent'),
       uniqCombined64If(user_id, user_id != '' AND status IN {_FAILED}),
       uniqCombined64If(user_id, user_id != '' AND status = 'delivered'),
       uniqCombined64If(user_id, user_id != '' AND status = 'opened'),
       uniqCombined64If(user_id, user_id != '' AND status = 'clicked'),
       countIf(status = 'sent'),
       countIf(status IN {_FAILED})
FROM outcomes
WHERE tenant = {{tenant:String}} AND campaign_id = {{campaign:String}} AND variant != ''
  AND toDate(occurred_at) >= (SELECT first FROM days)
  AND toDate(occurred_at) <= (SELECT last FROM days)
GROUP BY variant ORDER BY variant LIMIT 100
"""  # noqa: S608 - our own words


class Figures:
    """Asks about one tenant. All raise ClickHouseError."""

    def __init__(self, client: Client, tenant: str) -> None:
        self._client = client
        self._tenant = tenant

    def deliveries(
        self,
        window: Window,
        interval: Interval,
        *,
        by: Sequence[Dimension] = (),
        only: Mapping[Dimension, str] | None = None,
    ) -> list[Bucket]:
        """Give buckets by time, then by the dimensions; at most MAX_ROWS + 1 of them.

        only: the values that count, by dimension. A window that begins within a minute has that
        minute whole.
        """
        wanted = dict(only or {})
        of_outcomes = Dimension.CATEGORY in {*by, *wanted}
        table, at = ("outcomes", "toDateTime(occurred_at, 'UTC')") if of_outcomes else (
            "delivery_minutes", "minute"
        )  # fmt: skip
        numbers = f"{_TALLIES}, {_LATENCY}" if of_outcomes else (
            f"{_SUMS}, quantilesTDigestIfMerge(0.5, 0.95, 0.99)(latency)"
        )  # fmt: skip
        within = _OUTCOMES_WITHIN if of_outcomes else _MINUTES_WITHIN
        filters = "".join(f" AND {name} = {{{name}:String}}" for name in wanted)
        keys = ", ".join([f"toUnixTimestamp({_START[interval].format(at)})", *by])
        places = ", ".join(str(n + 1) for n in range(len(by) + 1))
        rows = self._rows(
            f"SELECT {keys}, {numbers} FROM {table} WHERE {within}{filters}"  # noqa: S608 - our own words
            f" GROUP BY {places} ORDER BY {places} LIMIT {MAX_ROWS + 1}",
            **_bounds(window),
            **{str(name): value for name, value in wanted.items()},
        )
        return [_bucket(row, by) for row in rows]

    def reasons(self, window: Window, *, category: str = "") -> list[ReasonCount]:
        """Count outcomes, the most frequent first; at most MAX_REASONS + 1.

        category: "" for all.
        """
        rows = self._rows(_REASONS, **_bounds(window), category=category)
        return [ReasonCount(*row) for row in rows]

    def campaign(self, campaign: str) -> Funnel | None:
        """Give how far a campaign got, over all of its runs; None when nothing is known of it."""
        rows = self._rows(_OF_CAMPAIGN, campaign=campaign)
        if not rows:
            return None
        sums = [sum(row[n] for row in rows) for n in range(len(FUNNEL))]
        return Funnel("", dict(zip(FUNNEL, sums, strict=True)))

    def variants(self, campaign: str) -> list[Funnel]:
        """Give how far each variant of a campaign's message got; users without one are left out."""
        return [
            Funnel(variant, dict(zip(FUNNEL, counts, strict=True)))
            for variant, *counts in self._rows(_BY_VARIANT, campaign=campaign)
        ]

    def _rows(self, query: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        asked = {"tenant": self._tenant, **parameters}
        rows: Sequence[Sequence[Any]] = self._client.query(
            query, parameters=asked, settings=dict(_SETTINGS)
        ).result_rows
        return rows


def _bounds(window: Window) -> dict[str, int]:
    return {"since": window.since_ms, "until": window.until_ms}


def _bucket(row: Sequence[Any], by: Sequence[Dimension]) -> Bucket:
    at_s, names, numbers = row[0], row[1 : 1 + len(by)], row[1 + len(by) :]
    # The quantile of nothing is NaN.
    p50, p95, p99 = (float(one) if math.isfinite(one) else None for one in numbers[-1])
    return Bucket(
        int(at_s),
        dict(zip(map(str, by), names, strict=True)),
        dict(zip(COUNTS, map(int, numbers[:-1]), strict=True)),
        (p50, p95, p99),
    )
