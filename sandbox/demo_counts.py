"""What the demo counts, each figure from where it is really known."""

from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from schemas.outcomes import TERMINAL, Reason, Status
from schemas.pipeline import Platform

_TERMINAL = ", ".join(f"'{status}'" for status in sorted(TERMINAL))

# An event is over when it has a terminal outcome. A repeat shares the id of the event it repeats,
# so repeats are counted by their own outcomes.
EVENTS_OVER = f"""
SELECT uniqExactIf(message_id, reason != '{Reason.DUPLICATE_EVENT}')
     + countIf(reason = '{Reason.DUPLICATE_EVENT}')
FROM outcomes WHERE status IN ({_TERMINAL})
"""  # noqa: S608 - made of our own enums
STILL_HELD = f"""
SELECT count() FROM (
    SELECT message_id, user_id FROM outcomes
    WHERE user_id != ''
    GROUP BY message_id, user_id
    HAVING countIf(status IN ('{Status.DEFERRED}', '{Status.RETRY}')) > 0
       AND countIf(status IN ({_TERMINAL})) = 0
)
"""  # noqa: S608 - as above
REACHED = f"SELECT uniqExact(user_id) FROM outcomes WHERE status = '{Status.SENT}'"  # noqa: S608 - as above
BY_PLATFORM = f"""
SELECT platform, count(), countIf(status = '{Status.SENT}')
FROM outcomes WHERE platform != '' AND status IN ({_TERMINAL}) AND delivery_id != ''
GROUP BY platform
"""  # noqa: S608 - as above
BY_REASON = """
SELECT status, reason, count() FROM outcomes GROUP BY status, reason ORDER BY status, count() DESC
"""
CLEANED = "SELECT count() FROM devices FINAL WHERE startsWith(removal_reason, 'token_')"
LATENCY = f"""
SELECT priority, quantiles(0.5, 0.95, 0.99)(latency_ms) FROM outcomes
WHERE status = '{Status.SENT}' AND latency_ms >= 0 GROUP BY priority ORDER BY priority
"""  # noqa: S608 - as above
ROWS = "SELECT count(), uniqExact(outcome_id) FROM outcomes"

# A decision worth explaining: best of somebody who was asleep and got it in the morning.
TO_EXPLAIN = f"""
SELECT message_id, user_id FROM outcomes WHERE user_id != ''
GROUP BY message_id, user_id
ORDER BY countIf(status = '{Status.DEFERRED}') > 0 DESC, countIf(status = '{Status.SENT}') > 0 DESC,
         message_id, user_id
LIMIT 1
"""  # noqa: S608 - as above

SHOWN = {
    "How fast did each platform take them? (delivery_per_minute, a materialised view)": """
SELECT platform, priority, sum(sent) AS sent, round(max(latency_p99_ms)) AS worst_minute_p99_ms
FROM delivery_per_minute WHERE platform != ''
GROUP BY platform, priority ORDER BY platform, priority
""",
    "How did the campaigns do? (campaign_funnel)": """
SELECT campaign_id, targeted_users, suppressed_users, sent_users, sent_deliveries
FROM campaign_funnel ORDER BY targeted_users DESC LIMIT 5
""",
}


class Progress(NamedTuple):
    """How far the outcomes have come."""

    events_over: int
    still_held: int
    rows: int


def progress(client: Client) -> Progress:
    """Ask how far it has come."""
    return Progress(_one(client, EVENTS_OVER), _one(client, STILL_HELD), _one(client, ROWS))


def figures(client: Client) -> dict[str, Any]:
    """Give all that ClickHouse knows, under the names of the demo's JSON."""
    platforms = {row[0]: row[1:] for row in client.query(BY_PLATFORM).result_rows}
    outcomes: dict[str, dict[str, int]] = {}
    for status, reason, count in client.query(BY_REASON).result_rows:
        outcomes.setdefault(status, {})[reason] = count
    rows, unique = client.query(ROWS).result_rows[0]
    return {
        "events_terminal": _one(client, EVENTS_OVER),
        "users_reached": _one(client, REACHED),
        "deliveries": {p.value: platforms.get(p, (0, 0))[0] for p in Platform},
        "sent": {p.value: platforms.get(p, (0, 0))[1] for p in Platform},
        "outcomes": outcomes,
        "dead_tokens_cleaned": _one(client, CLEANED),
        "latency_ms": {
            priority: dict(zip(("p50", "p95", "p99"), (round(v, 1) for v in found), strict=True))
            for priority, found in client.query(LATENCY).result_rows
        },
        "outcome_rows": rows,
        "outcome_ids": unique,
    }


def _one(client: Client, query: str) -> int:
    return int(client.query(query).result_rows[0][0])
