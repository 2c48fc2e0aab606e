"""What ClickHouse remembers of many messages at once: to compare with, and to begin from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from schemas.outcomes import Status

MAX_S = 60
_SETTINGS = {"max_execution_time": MAX_S, "readonly": 2}
_FEEDBACK = (Status.DELIVERED, Status.OPENED, Status.CLICKED, Status.DISMISSED)
TO_SEND = "to send"
"""Stands for the status of what policy let through, whatever the provider made of it."""

_OF_MESSAGES = (
    "tenant = {tenant:String} AND message_id IN {messages:Array(String)}"
    " AND occurred_at >= fromUnixTimestamp64Milli({since:Int64})"
    " AND occurred_at < fromUnixTimestamp64Milli({until:Int64})"
)

Decided = tuple[str, str, str]
"""Category, status and reason; of deliveries, TO_SEND and no reason."""


class Had(NamedTuple):
    """A message that a user got. at_ms: when it was first sent, by policy's clock."""

    user_id: str
    message_id: str
    category: str
    type: str
    at_ms: int


class OutcomeCounts:
    """Asks about a tenant's outcomes from since_ms on, up to and without until_ms."""

    def __init__(self, client: Client, tenant: str, *, since_ms: int, until_ms: int) -> None:
        self._client = client
        self._period = {"tenant": tenant, "since": since_ms, "until": until_ms}

    def of_messages(self, message_ids: Sequence[str]) -> Counter[Decided]:
        """Count policy's decisions about these messages, and the deliveries that it let through.

        Raises ClickHouseError, as both of these do.
        """
        asked = {"messages": list(message_ids), "feedback": list(_FEEDBACK)}
        found: Counter[Decided] = Counter()
        for *what, decisions in self._rows(
            f"SELECT category, status, reason, count() FROM outcomes WHERE {_OF_MESSAGES}"  # noqa: S608 - our own names
            " AND delivery_id = '' AND status NOT IN {feedback:Array(String)}"
            " GROUP BY category, status, reason ORDER BY category, status, reason",
            asked,
        ):
            found[what[0], what[1], what[2]] += decisions
        for category, deliveries in self._rows(
            f"SELECT category, uniqExact(delivery_id) FROM outcomes WHERE {_OF_MESSAGES}"  # noqa: S608 - our own names
            " AND delivery_id != '' AND category != '' GROUP BY category ORDER BY category",
            asked,
        ):
            found[category, TO_SEND, ""] += deliveries
        return found

    def had_before(self, user_ids: Sequence[str], window_ms: int) -> list[Had]:
        """Give what these users got in the window before the period, but for critical messages."""
        rows = self._rows(
            "SELECT user_id, message_id, any(category), any(type),"
            " toUnixTimestamp64Milli(min(occurred_at)) AS at"
            " FROM outcomes WHERE tenant = {tenant:String} AND user_id IN {users:Array(String)}"
            " AND occurred_at >= fromUnixTimestamp64Milli({since:Int64} - {window:Int64})"
            " AND occurred_at < fromUnixTimestamp64Milli({since:Int64})"
            " AND delivery_id != '' AND category != '' AND priority != 'critical'"
            " GROUP BY user_id, message_id ORDER BY at",
            {"users": list(user_ids), "window": window_ms},
        )
        return [Had(*row) for row in rows]

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return self._client.query(
            query, parameters={**self._period, **parameters}, settings=_SETTINGS
        ).result_rows
