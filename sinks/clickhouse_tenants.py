"""A tenant's analysts in ClickHouse: a role that sees the tenant's rows, and a user with it.

Sources: clickhouse.com/docs/sql-reference/statements/create/row-policy, and beside it.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from clickhouse_connect.driver.client import Client

from schemas.fields import NAME_PATTERN
from sinks.clickhouse_queries import HIDDEN

MIN_PASSWORD_CHARS: Final = 12
MAX_PASSWORD_CHARS: Final = 200
SERVICE_POLICY: Final = "clarion_service"
_LIMITS: Final = (
    "readonly = 1",  # no writes, and no setting can be changed
    "max_execution_time = 60",
    "max_memory_usage = 4000000000",
    "max_memory_usage_for_user = 8000000000",
    "max_concurrent_queries_for_user = 8",
    "max_result_rows = 1000000",
    "max_result_bytes = 1000000000",
    "result_overflow_mode = 'throw'",
    "allow_ddl = 0",
    "allow_introspection_functions = 0",
)
"""What one analyst may take of the server: seconds, bytes, rows."""


class Names(NamedTuple):
    """What a tenant's things are called. role: also of its row policies and settings profile."""

    user: str
    role: str


def names_of(tenant: str) -> Names:
    """Give the names. Raises ValueError for what is no tenant's name."""
    if not re.fullmatch(NAME_PATTERN, tenant):
        raise ValueError(f"tenant: {tenant!r} is no name of a tenant")
    return Names(f"clarion_{tenant}", f"clarion_analyst_{tenant}")


def tenant_tables(client: Client, database: str) -> list[str]:
    """Give all tables and views with a tenant column that analysts may read.

    Not materialized views, which only feed, nor HIDDEN.
    """
    found = client.query(
        "SELECT DISTINCT c.table FROM system.columns AS c"
        " INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table"
        " WHERE c.database = {database:String} AND c.name = 'tenant'"
        " AND t.engine != 'MaterializedView' ORDER BY c.table",
        parameters={"database": database},
    )
    return [row[0] for row in found.result_rows if row[0] not in HIDDEN]


def grant_statements(
    tenant: str,
    *,
    database: str,
    tables: Sequence[str],
    service_user: str,
    password: str | None,
) -> Iterator[str]:
    """Give the statements, safe to run again. Policies come before rights: never the other way.

    tables: with a tenant column. service_user: Clarion's own, which goes on seeing all rows also
    where users without a policy see none. password: of the user; None leaves the user as it is.
    """
    user, role = names_of(tenant)
    yield f"CREATE ROLE IF NOT EXISTS {_name(role)}"
    for table in tables:
        where = f"{_name(database)}.{_name(table)}"
        yield (
            f"CREATE ROW POLICY OR REPLACE {_name(SERVICE_POLICY)} ON {where}"
            f" AS PERMISSIVE FOR SELECT USING 1 TO {_name(service_user)}"
        )
        yield (
            f"CREATE ROW POLICY OR REPLACE {_name(role)} ON {where}"
            f" AS PERMISSIVE FOR SELECT USING tenant = {_text(tenant)} TO {_name(role)}"
        )
    yield f"CREATE SETTINGS PROFILE OR REPLACE {_name(role)} SETTINGS {', '.join(_LIMITS)}"
    yield f"REVOKE SELECT ON {_name(database)}.* FROM {_name(role)}"  # noqa: S608 - names are quoted
    for table in tables:
        yield f"GRANT SELECT ON {_name(database)}.{_name(table)} TO {_name(role)}"
    if password is None:
        return
    yield (
        f"CREATE USER OR REPLACE {_name(user)} {_identified(password)}"
        f" DEFAULT ROLE NONE DEFAULT DATABASE {_name(database)} SETTINGS PROFILE {_text(role)}"
    )
    yield f"GRANT {_name(role)} TO {_name(user)}"
    yield f"ALTER USER {_name(user)} DEFAULT ROLE {_name(role)}"


def revoke_statements(tenant: str, *, database: str, tables: Iterable[str]) -> Iterator[str]:
    """Give the statements that take everything away again; safe to run again."""
    user, role = names_of(tenant)
    yield f"DROP USER IF EXISTS {_name(user)}"
    yield f"DROP ROLE IF EXISTS {_name(role)}"
    yield f"DROP SETTINGS PROFILE IF EXISTS {_name(role)}"
    for table in tables:
        yield f"DROP ROW POLICY IF EXISTS {_name(role)} ON {_name(database)}.{_name(table)}"


def checked_password(text: str) -> str:
    """Give a password back that is long enough. Raises ValueError, without it."""
    if not MIN_PASSWORD_CHARS <= len(text) <= MAX_PASSWORD_CHARS or not text.isprintable():
        raise ValueError(
            f"password: use {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} printable characters"
        )
    return text


def _identified(password: str) -> str:
    """Hash here, salted: the password is in no query log."""
    salt = secrets.token_hex(16)
    digest = hashlib.sha256((password + salt).encode()).hexdigest()
    return f"IDENTIFIED WITH sha256_hash BY {_text(digest)} SALT {_text(salt)}"


def _name(text: str) -> str:
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
