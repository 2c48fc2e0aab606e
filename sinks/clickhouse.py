"""ClickHouse: the connection, and how rows go in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from sinks.clickhouse_errors import is_passing
from sinks.outcome_blocks import COLUMNS, Block
from state.patience import FAIL_FAST, Patience

STORE = "clickhouse"
PING_TIMEOUT_S = 2
T = TypeVar("T")
_UNBOUNDED = 1 << 40
INSERT_SETTINGS: Mapping[str, Any] = {
    # One insert is one block is one part: there as a whole, or not at all.
    "async_insert": 0,
    "max_insert_block_size": _UNBOUNDED,
    "min_insert_block_size_rows": _UNBOUNDED,
    "min_insert_block_size_bytes": _UNBOUNDED,
    "max_partitions_per_insert_block": 1,
    # The answer comes when the views have their rows too, and an error of theirs is ours.
    "materialized_views_ignore_errors": 0,
    # A repeated insert drops what is there and adds what only the views missed.
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}
_KEYS = {
    "devices": {"tenant", "user_id", "device_id", "version"},
    "users": {"tenant", "user_id", "version"},
    "user_events": {"tenant", "user_id", "event_id"},
    "audit": {"at", "tenant", "audit_id"},
}
LOG_COMMENT = "clarion-outcomes"
"""Marks the writer's inserts in system.processes; the partitions follow after a space."""


class InsertError(Exception):
    """ClickHouse did not take rows: it refused them, or the patience with it is used up."""


class ClickHouseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where ClickHouse is. Timeouts in seconds; a query or insert may take request_timeout_s."""

    host: str = "127.0.0.1"
    port: int = 8123
    secure: bool = False
    user: str = "default"
    password: str = ""
    database: str = "clarion"
    connect_timeout_s: int = 5
    request_timeout_s: int = 60
    compress: bool = False


def connect(settings: ClickHouseSettings, *, database: str | None = None) -> Client:
    """Connect. database: another than the settings', "" for none. Raises ClickHouseError.

    The client may be shared by threads: it has no session. compress pays between data centres;
    on a fast network lz4 costs more time than it saves.
    """
    name = settings.database if database is None else database
    return clickhouse_connect.get_client(
        host=settings.host,
        port=settings.port,
        secure=settings.secure,
        username=settings.user,
        password=settings.password,
        database=name or "default",
        connect_timeout=settings.connect_timeout_s,
        send_receive_timeout=settings.request_timeout_s,
        compress=settings.compress,
        autogenerate_session_id=False,
        client_name="clarion",
    )


class ClickHousePing:
    """Asks whether ClickHouse answers, with a client of its own that never waits for long."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = msgspec.structs.replace(
            settings, connect_timeout_s=1, request_timeout_s=PING_TIMEOUT_S
        )
        self._client: Client | None = None

    def ask(self) -> None:
        """Raise ClickHouseError unless it answers."""
        if self._client is None:
            self._client = connect(self._settings)
        if not self._client.ping(timeout=PING_TIMEOUT_S):
            self._client.command("SELECT 1")  # which raises the reason

    def close(self) -> None:
        """Close the client."""
        if self._client is not None:
            self._client.close()


class ClickHouseWriter:
    """Inserts columns. One writer per thread.

    client_factory: connects, at the first use. patience: repeats what ClickHouse cannot do now.
    """

    def __init__(
        self, *, client_factory: Callable[[], Client], patience: Patience = FAIL_FAST
    ) -> None:
        self._client_factory = client_factory
        self._patience = patience
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Give the client, connected."""
        if self._client is None:
            self._client = self._client_factory()
        return self._client

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(self, operation: Callable[[Client], T]) -> T:
        """Do something that may be repeated, with patience. Raises what ClickHouse refuses with."""
        return self._patience.keep(STORE, lambda: operation(self.client), passing=is_passing)

    def insert_block(self, block: Block) -> None:
        """Insert one month's rows as one part. Raises InsertError.

        Repeating is safe: within the table's deduplication window, rows that an attempt left behind
        (its answer was lost, or a view failed after them) are not inserted twice. Recent servers
        know a repeat by its bytes; the token makes it known to all of them.
        """
        topics = sorted(f"{topic}[{partition}]" for topic, partition in block.ends)
        settings = {
            **INSERT_SETTINGS,
            "insert_deduplication_token": block.token,
            "log_comment": " ".join([LOG_COMMENT, *topics]),
        }
        self._insert(
            str(block),
            lambda client: client.raw_insert(
                "outcomes", list(COLUMNS), bytes(block.native), settings=settings, fmt="Native"
            ),
        )

    def insert_rows(self, table: str, columns: Mapping[str, Sequence[Any]]) -> int:
        """Insert what the registry writes, by column name; returns how many rows.

        The highest version of a key wins, so inserting twice changes nothing.

        Columns left out take their defaults; those of _KEYS are needed. A time
        column holds datetimes, or else milliseconds since the epoch. Raises ValueError for
        columns of unequal length or without a key, InsertError when ClickHouse refuses.
        """
        if missing := _KEYS[table] - columns.keys():
            raise ValueError(f"{table} need the columns {sorted(missing)}")
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"columns of {table} differ in length: {sorted(lengths)}")
        rows = lengths.pop()
        if rows:
            self._insert(
                f"{rows} rows into {table}",
                lambda client: client.insert(
                    table,
                    list(columns.values()),
                    column_names=list(columns),
                    column_oriented=True,
                ),
            )
        return rows

    def _insert(self, what: str, operation: Callable[[Client], object]) -> None:
        try:
            self.ask(operation)
        except (ClickHouseError, HTTPError, OSError) as error:
            raise InsertError(f"{what}: {error}") from error
