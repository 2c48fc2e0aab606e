"""What ClickHouse remembers of a message, read for people: bounded in rows and in time."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client

MAX_S = 10
"""A question takes no longer than this; ClickHouse ends it."""
MAX_ROWS = 500
_SETTINGS = {"max_execution_time": MAX_S, "readonly": 2}


class Decision(msgspec.Struct, frozen=True):
    """A row of outcomes, as it is shown. Times in epoch ms; latency_ms -1 for not measured."""

    occurred_at_ms: int
    tenant: str
    message_id: str
    user_id: str
    device_id: str
    delivery_id: str
    status: str
    reason: str
    priority: str
    platform: str
    category: str
    type: str
    campaign_id: str
    attempt: int
    provider_status: int
    provider_id: str
    detail: str
    latency_ms: int
    token_action: str
    trace_id: str
    sandbox: bool
    inserted_at_ms: int
    outcome_id: str = ""

    @property
    def place(self) -> str:
        """Where it stands among a message's decisions, as `trace` takes it."""
        return f"{self.occurred_at_ms}/{self.attempt}/{self.outcome_id}"


class Group(msgspec.Struct, frozen=True):
    """How often something was decided about a message, and about how many users."""

    tenant: str
    status: str
    reason: str
    platform: str
    decisions: int
    users: int
    an_example: str


_COLUMNS = ", ".join(
    f"toUnixTimestamp64Milli({name.removesuffix('_ms')}) AS {name}"
    if name in {"occurred_at_ms", "inserted_at_ms"}
    else name
    for name in Decision.__struct_fields__
)


class History(msgspec.Struct, frozen=True):
    """What was found. is_cut: there is more than is given."""

    decisions: Sequence[Decision]
    is_cut: bool = False


class OutcomeHistory:
    """Asks about one message; the index on message_id finds it without reading the table."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def tenants(self, message_id: str) -> list[str]:
        """Give the tenants that have such a message. Raises ClickHouseError, as all of these."""
        rows = self._rows(
            "SELECT DISTINCT tenant FROM outcomes WHERE message_id = {message:String}"
            " ORDER BY tenant LIMIT 100",
            {"message": message_id},
        )
        return [name for (name,) in rows]

    def decisions(self, tenant: str, message_id: str, user_ids: Sequence[str]) -> History:
        """Give what was decided about these users, in time order; "" stands for the message."""
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM outcomes"  # noqa: S608 - our own names
            " WHERE tenant = {tenant:String} AND message_id = {message:String}"
            " AND user_id IN {users:Array(String)}"
            f" ORDER BY occurred_at, attempt, inserted_at, outcome_id LIMIT {MAX_ROWS + 1}",
            {"tenant": tenant, "message": message_id, "users": list(user_ids)},
        )
        return History([Decision(*row) for row in rows[:MAX_ROWS]], len(rows) > MAX_ROWS)

    def any_of(self, tenant: str, message_id: str) -> Decision | None:
        """Give one decision that tells what the message is; feedback does not."""
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM outcomes"  # noqa: S608 - our own names
            " WHERE tenant = {tenant:String} AND message_id = {message:String} AND category != ''"
            " LIMIT 1",
            {"tenant": tenant, "message": message_id},
        )
        return Decision(*rows[0]) if rows else None

    def knows(self, tenant: str, message_id: str) -> bool:
        """Tell whether anything was decided about a message."""
        rows = self._rows(
            "SELECT 1 FROM outcomes"
            " WHERE tenant = {tenant:String} AND message_id = {message:String} LIMIT 1",
            {"tenant": tenant, "message": message_id},
        )
        return bool(rows)

    def trace(
        self, tenant: str, message_id: str, *, user_id: str, after: str, limit: int
    ) -> list[Decision]:
        """Give a message's decisions in time order, from after a place; "" is the beginning.

        user_id: of this user, and of the message as a whole; "" for all users.
        """
        occurred_at_ms, attempt, outcome_id = after.split("/", 2) if after else ("-1", "0", "")
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM outcomes"  # noqa: S608 - our own names
            " WHERE tenant = {tenant:String} AND message_id = {message:String}"
            " AND ({user:String} = '' OR user_id IN ('', {user:String}))"
            " AND (toUnixTimestamp64Milli(occurred_at), attempt, outcome_id)"
            " > ({at:Int64}, {attempt:UInt16}, {outcome:String})"
            " ORDER BY occurred_at, attempt, outcome_id LIMIT {limit:UInt32}",
            {
                "tenant": tenant,
                "message": message_id,
                "user": user_id,
                "at": int(occurred_at_ms),
                "attempt": int(attempt),
                "outcome": outcome_id,
                "limit": limit,
            },
        )
        return [Decision(*row) for row in rows]

    def groups(self, tenant: str, message_id: str) -> list[Group]:
        """Count what was decided about the message's users, by status, reason and platform."""
        rows = self._rows(
            "SELECT tenant, status, reason, platform, count(), uniqExact(user_id), any(user_id)"
            " FROM outcomes"
            " WHERE tenant = {tenant:String} AND message_id = {message:String} AND user_id != ''"
            " GROUP BY tenant, status, reason, platform"
            " ORDER BY count() DESC, status, reason, platform LIMIT 1000",
            {"tenant": tenant, "message": message_id},
        )
        return [Group(*row) for row in rows]

    def users(self, tenant: str, message_id: str) -> int:
        """Count the users about whom anything was decided."""
        rows = self._rows(
            "SELECT uniqExact(user_id) FROM outcomes"
            " WHERE tenant = {tenant:String} AND message_id = {message:String} AND user_id != ''",
            {"tenant": tenant, "message": message_id},
        )
        return int(rows[0][0])

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return self._client.query(
            query, parameters=dict(parameters), settings=_SETTINGS
        ).result_rows
