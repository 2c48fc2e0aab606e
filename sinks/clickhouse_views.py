"""Do the aggregates still agree with the rows? Find out, and mend them.

ClickHouse writes the parts of a table and of its views one after another. A writer that lives
repeats a failed insert until both have it; but when the ClickHouse server itself dies between the
two, the views lack that block for good. The rows are never in doubt.
"""

from typing import NamedTuple

from clickhouse_connect.driver.client import Client

_TABLES = {"delivery_minutes": ("minute", ""), "campaign_days": ("day", "campaign_id != ''")}
"""By table of aggregates: its time column, and which outcomes it counts."""


class Drift(NamedTuple):
    """A month of aggregates that disagrees with the rows. month: as 202611."""

    table: str
    month: int
    expected: int
    found: int


def find_drift(client: Client) -> list[Drift]:
    """Compare each month's aggregates with its rows. Exact only while nothing is inserted."""
    found = []
    for table, (time_column, counted) in _TABLES.items():
        rows = client.query(f"""
            SELECT month, sum(expected), sum(found) FROM (
                SELECT toYYYYMM(occurred_at) AS month, count() AS expected, 0 AS found
                FROM outcomes {f"WHERE {counted}" if counted else ""} GROUP BY month
                UNION ALL
                SELECT toYYYYMM({time_column}) AS month, 0 AS expected, sum(outcomes) AS found
                FROM {table} GROUP BY month
            )
            GROUP BY month HAVING sum(expected) != sum(found) ORDER BY month
        """).result_rows  # noqa: S608 - our own names
        found += [Drift(table, *row) for row in rows]
    return found


def rebuild(client: Client, drift: Drift) -> None:
    """Compute a month of aggregates anew from its rows. Stop flows/outcomes first.

    Raises ClickHouseError; then run it again: it begins with dropping the month.
    """
    database, select = client.query(
        "SELECT database, as_select FROM system.tables "
        "WHERE database = currentDatabase() AND name = {name:String}",
        parameters={"name": f"{drift.table}_mv"},
    ).result_rows[0]
    client.command(f"ALTER TABLE {drift.table} DROP PARTITION {drift.month:d}")
    month_only = f"{{'{database}.outcomes': 'toYYYYMM(occurred_at) = {drift.month:d}'}}"
    client.command(
        f"INSERT INTO {drift.table} {select}",
        settings={"additional_table_filters": month_only},
    )
