"""A user's rows in ClickHouse: found and removed.

A DELETE marks rows as gone and hides them at once; merges remove them from the disk. It rewrites
the parts that it touches, so it is asked only where there is something. Materialised sums hold no
ids: delivery_minutes counts, and campaign_days has 64-bit hashes of ids inside its sketches, from
which no id can be read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

TABLES = ("outcomes", "user_events", "devices", "users")
_MINE = "tenant = {tenant:String} AND user_id = {user:String}"
_AT = "fromUnixTimestamp64Milli({at:Int64})"
_FROM_BEFORE: Mapping[str, str] = {
    # What was decided then, and what is decided or reported later about messages of then.
    "outcomes": f"(occurred_at <= {_AT} OR created_at <= {_AT})",
    "user_events": f"occurred_at <= {_AT}",
    # Versions of a device are twice a time (operators/registry_rows.py).
    "devices": "(device_id NOT IN {kept:Array(String)} OR version <= 2 * {at:UInt64} + 1)",
    "users": "version <= {at:UInt64}",
}


class Whom(NamedTuple):
    """Whose rows. since_ms: epoch ms; 0 for all of them, else what is from later stays."""

    tenant: str
    user_id: str
    since_ms: int = 0


class ErasedRows:
    """Finds and removes. Every method raises ClickHouseError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def devices(self, whom: Whom) -> list[str]:
        """Give the ids of devices that the user ever had, but for those unregistered since then."""
        rows = self._rows(
            f"SELECT device_id FROM devices WHERE {_MINE} GROUP BY device_id"  # noqa: S608 - our own names
            " HAVING maxIf(version, removal_reason = 'unregistered') < 2 * {at:UInt64}"
            " LIMIT 10000",
            {"tenant": whom.tenant, "user": whom.user_id, "at": whom.since_ms},
        )
        return [device for (device,) in rows]

    def sweep(self, whom: Whom) -> dict[str, int]:
        """Remove the rows; how many there were, by table. Safe to repeat."""
        asked: dict[str, Any] = {"tenant": whom.tenant, "user": whom.user_id, "at": whom.since_ms}
        if whom.since_ms:
            asked["kept"] = self._registered_since(asked)
        found = {}
        for table in TABLES:
            where = f"{_MINE} AND {_FROM_BEFORE[table]}" if whom.since_ms else _MINE
            query = f"SELECT count() FROM {table} WHERE {where}"  # noqa: S608 - our own names
            found[table] = int(self._rows(query, asked)[0][0])
            if found[table]:
                self._client.command(
                    f"DELETE FROM {table} WHERE {where}",  # noqa: S608 - as above
                    parameters=asked,
                )
        return found

    def _registered_since(self, asked: Mapping[str, Any]) -> list[str]:
        rows = self._rows(
            f"SELECT DISTINCT device_id FROM devices WHERE {_MINE} AND registered_at > {_AT}",  # noqa: S608 - as above
            asked,
        )
        return [device for (device,) in rows]

    def _rows(self, query: str, asked: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return self._client.query(query, parameters=dict(asked)).result_rows
