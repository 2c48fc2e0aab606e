"""What became of a campaign's run, asked of ClickHouse."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from schemas.campaigns import Campaign, Run

ASK_TIMEOUT_S = 10
LEARN_TIMEOUT_S = 600
_LIMITS: Mapping[str, Any] = {"readonly": 2, "max_execution_time": ASK_TIMEOUT_S}
_DELIVERIES = """
SELECT countIf(status = 'sent'),
       countIf(status IN ('failed', 'unknown')),
       quantileIf(0.99)(latency_ms, status = 'sent' AND latency_ms >= 0),
       uniqExactIf(user_id, status = 'sent')
FROM outcomes
WHERE tenant = {tenant:String} AND message_id = {run:String}
  AND toDate(occurred_at) >= toDate(fromUnixTimestamp64Milli({since:Int64}, 'UTC'))
"""
# Whoever was reached had not opted out then.
_OPT_OUTS = """
SELECT uniqExact(user_id)
FROM users FINAL
WHERE tenant = {tenant:String} AND removed_at IS NULL
  AND hasAny(opted_out, ['all', {category:String}, {type:String}])
  AND user_id IN (
    SELECT user_id FROM outcomes
    WHERE tenant = {tenant:String} AND message_id = {run:String} AND status = 'sent'
      AND toDate(occurred_at) >= toDate(fromUnixTimestamp64Milli({since:Int64}, 'UTC'))
  )
"""
# The fastest of the last few: one that was throttled says little about another.
_SPEED = """
SELECT max(users / greatest(0.1, seconds)) FROM
(
    SELECT uniqExactIf(user_id, user_id != '') AS users,
           dateDiff('millisecond', min(occurred_at), max(occurred_at)) / 1000 AS seconds
    FROM outcomes
    WHERE tenant = {tenant:String} AND campaign_id != '' AND occurred_at >= now() - INTERVAL 30 DAY
      AND status NOT IN ('delivered', 'opened', 'clicked', 'dismissed')
    GROUP BY message_id
    HAVING users >= {least:UInt64}
    ORDER BY max(occurred_at) DESC
    LIMIT 5
)
"""
_FUNNEL = """
SELECT targeted_users, suppressed_users, sent_users, failed_users, delivered_users, opened_users,
       clicked_users, sent_deliveries, failed_deliveries
FROM campaign_funnel
WHERE tenant = {tenant:String} AND campaign_id = {campaign:String}
"""
_WHY = """
SELECT status, reason, count() FROM outcomes
WHERE tenant = {tenant:String} AND campaign_id = {campaign:String}
  AND toDate(occurred_at) >= toDate(fromUnixTimestamp64Milli({since:Int64}, 'UTC'))
GROUP BY status, reason ORDER BY count() DESC LIMIT 50
"""
_HOURS = """
SELECT user_id, argMax(hour, opens) FROM
(
    SELECT user_id, toHour(occurred_at) AS hour, count() AS opens FROM outcomes
    WHERE tenant = {tenant:String} AND status IN ('opened', 'clicked')
      AND occurred_at >= now() - toIntervalDay({days:UInt32}) AND user_id != ''
    GROUP BY user_id, hour
)
GROUP BY user_id
"""
FUNNEL = ("targeted_users", "suppressed_users", "sent_users", "failed_users", "delivered_users",
          "opened_users", "clicked_users", "sent_deliveries", "failed_deliveries")  # fmt: skip


class CampaignFigures:
    """Asks with a client of its own, which connects at its first use and never waits for long.

    client_factory: connects. Not thread-safe.
    """

    def __init__(self, client_factory: Callable[[], Client]) -> None:
        self._client_factory = client_factory
        self._client: Client | None = None

    def of(self, run: Run, campaign: Campaign) -> tuple[int, int, float, int, int] | None:
        """Give (sent, failed, p99_ms, users reached, of these opted out since); None: not now."""
        asked = {
            "tenant": run.tenant,
            "run": run.run_id,
            "since": run.started_ms,
            "category": campaign.message["category"],
            "type": campaign.message["type"],
        }
        try:
            sent, failed, p99_ms, reached = self._rows(_DELIVERIES, asked)[0]
            opted_out = self._rows(_OPT_OUTS, asked)[0][0]
        except (ClickHouseError, HTTPError, OSError):
            self.close()
            return None
        # The quantile of nothing is NaN.
        return sent, failed, p99_ms if math.isfinite(p99_ms) else 0.0, reached, opted_out

    def users_per_s(self, tenant: str, *, least: int) -> float | None:
        """Give how fast late campaigns went, from first outcome to last; None if unknown.

        least: of users, for a run to count. Raises ClickHouseError.
        """
        found = self._rows(_SPEED, {"tenant": tenant, "least": least})[0][0]
        return float(found) if found and math.isfinite(found) else None

    def funnel(self, tenant: str, campaign: str) -> dict[str, int]:
        """Give users and deliveries by what became of them, see FUNNEL. Raises ClickHouseError."""
        rows = self._rows(_FUNNEL, {"tenant": tenant, "campaign": campaign})
        sums = [sum(row[n] for row in rows) for n in range(len(FUNNEL))]
        return dict(zip(FUNNEL, sums, strict=True))

    def reasons(self, tenant: str, campaign: str, *, since_ms: int) -> list[tuple[str, str, int]]:
        """Give (status, reason, outcomes), the most frequent first. Raises ClickHouseError."""
        asked = {"tenant": tenant, "campaign": campaign, "since": since_ms}
        return [(status, reason, count) for status, reason, count in self._rows(_WHY, asked)]

    def best_hours(self, tenant: str, *, days: int) -> Iterator[list[tuple[str, int]]]:
        """Give (user, hour in UTC at which they opened most), a block at a time.

        Streamed: memory holds a block. Raises ClickHouseError.
        """
        asked = {"tenant": tenant, "days": days}
        limits = {"readonly": 2, "max_execution_time": LEARN_TIMEOUT_S}
        with self._connected().query_row_block_stream(
            _HOURS, parameters=asked, settings=limits
        ) as blocks:
            for block in blocks:
                yield [(user, hour) for user, hour in block]

    def close(self) -> None:
        """Close the client, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._client_factory()
        return self._client

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        asked = self._connected().query(query, parameters=dict(parameters), settings=dict(_LIMITS))
        rows: Sequence[Sequence[Any]] = asked.result_rows
        return rows
