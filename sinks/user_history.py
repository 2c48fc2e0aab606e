"""All rows about one user, for an export: streamed, bounded in number and time."""

from collections.abc import Iterator, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

MAX_ROWS = 100_000
"""Of each table, the newest."""
MAX_S = 60
_SETTINGS = {"max_execution_time": MAX_S, "readonly": 2}
_TIMES = frozenset({"occurred_at", "created_at", "registered_at", "removed_at"})
# Tokens stand there hashed; what an export shows of them is in the profile's devices.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "outcomes": (
        "occurred_at", "message_id", "status", "reason", "priority", "device_id", "platform",
        "category", "type", "campaign_id", "variant", "attempt", "detail", "created_at",
    ),
    "user_events": ("occurred_at", "event_id", "name", "value", "properties"),
    "devices": (
        "device_id", "platform", "app", "environment", "locale", "app_version", "registered_at",
        "removed_at", "removal_reason",
    ),
}  # fmt: skip
_ORDER = {"outcomes": "occurred_at", "user_events": "occurred_at", "devices": "version"}
HELD = tuple(_COLUMNS)
_MINE = "tenant = {tenant:String} AND user_id = {user:String}"


class UserHistory:
    """Reads what ClickHouse has of users. Every method raises ClickHouseError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def counts(self, tenant: str, user_id: str) -> dict[str, int]:
        """Give how many rows there are, by table."""
        return {
            table: int(
                self._client.query(
                    f"SELECT count() FROM {table} WHERE {_MINE}",  # noqa: S608 - our own names
                    parameters={"tenant": tenant, "user": user_id},
                    settings=_SETTINGS,
                ).result_rows[0][0]
            )
            for table in HELD
        }

    def rows(self, table: str, tenant: str, user_id: str) -> Iterator[dict[str, Any]]:
        """Give the newest rows of a table, newest first; times in epoch ms as `<name>_ms`."""
        names = [f"{name}_ms" if name in _TIMES else name for name in _COLUMNS[table]]
        columns = ", ".join(
            f"toUnixTimestamp64Milli({name})" if name in _TIMES else name
            for name in _COLUMNS[table]
        )
        with self._client.query_row_block_stream(
            f"SELECT {columns} FROM {table} WHERE {_MINE}"  # noqa: S608 - our own names
            f" ORDER BY {_ORDER[table]} DESC LIMIT {MAX_ROWS}",
            parameters={"tenant": tenant, "user": user_id},
            settings=_SETTINGS,
        ) as blocks:
            for block in blocks:
                for row in block:
                    yield dict(zip(names, row, strict=True))
