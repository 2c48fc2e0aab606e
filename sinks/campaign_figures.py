"""What became of a campaign's run, asked of ClickHouse."""

from collections.abc import Callable, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from schemas.campaigns import Campaign, Run

ASK_TIMEOUT_S = 10
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
_SPEED = """
SELECT quantile(0.5)(per_s) FROM
(
    SELECT uniqExactIf(user_id, user_id != '') /
           greatest(1, dateDiff('millisecond', min(occurred_at), max(occurred_at)) / 1000) AS per_s
    FROM outcomes
    WHERE tenant = {tenant:String} AND message_id IN {runs:Array(String)}
    GROUP BY message_id
    HAVING uniqExactIf(user_id, user_id != '') >= {least:UInt64}
)
"""


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
            sent, failed, p99_ms, reached = self._ask(_DELIVERIES, asked)
            (opted_out,) = self._ask(_OPT_OUTS, asked)
        except (ClickHouseError, HTTPError, OSError):
            self.close()
            return None
        # The quantile of nothing is NaN.
        return sent, failed, p99_ms if p99_ms == p99_ms else 0.0, reached, opted_out  # noqa: PLR0124

    def users_per_s(self, tenant: str, runs: list[str], *, least: int) -> float | None:
        """Give how fast earlier runs went from their first outcome to their last, None if unknown.

        least: of users, for a run to count. Raises ClickHouseError.
        """
        (found,) = self._ask(_SPEED, {"tenant": tenant, "runs": runs, "least": least})
        return None if found is None or found != found else float(found)  # noqa: PLR0124 - NaN

    def close(self) -> None:
        """Close the client, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, query: str, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        if self._client is None:
            self._client = self._client_factory()
        asked = self._client.query(query, parameters=dict(parameters), settings=dict(_LIMITS))
        return tuple(asked.result_rows[0])
