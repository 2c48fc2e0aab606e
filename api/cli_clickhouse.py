"""`clarion clickhouse`: who may read a tenant's rows."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Annotated

from cyclopts import App, Parameter

from api.cli import CommandError

PASSWORD_VARIABLE = "CLARION_ANALYST_PASSWORD"  # noqa: S105 - a name, no secret

app = App(name="clickhouse", help="Let analysts read a tenant's rows.", help_format="plaintext")

TenantOption = Annotated[str, Parameter(help="whose rows")]
Statements = Callable[[str, Sequence[str], str], list[str]]
"""Of a database, its tables and Clarion's own user."""
ShowFlag = Annotated[bool, Parameter(help="print the statements instead of running them")]


@app.command
def grant(
    *,
    tenant: TenantOption,
    password_stdin: Annotated[
        bool, Parameter(help=f"read the user's password from stdin, not {PASSWORD_VARIABLE}")
    ] = False,
    show: ShowFlag = False,
) -> None:
    """Make a read-only user clarion_TENANT that sees this tenant's rows, and no others.

    Safe to run again, and needed after a migration that adds tables. Without a password the rights
    are brought up to date and the user stays as it is.
    """
    from sinks.clickhouse_tenants import checked_password, grant_statements  # noqa: PLC0415 - what --help need not wait for

    text = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    text = text if text is not None else os.environ.get(PASSWORD_VARIABLE)
    try:
        password = None if text is None else checked_password(text)
    except ValueError as error:
        raise CommandError(str(error)) from error
    _run(
        tenant,
        lambda database, tables, user: list(
            grant_statements(
                tenant, database=database, tables=tables, service_user=user, password=password
            )
        ),
        show=show,
    )


@app.command
def revoke(*, tenant: TenantOption, show: ShowFlag = False) -> None:
    """Remove the tenant's user, role and row policies."""
    from sinks.clickhouse_tenants import revoke_statements  # noqa: PLC0415 - what --help need not wait for

    _run(
        tenant,
        lambda database, tables, _user: list(
            revoke_statements(tenant, database=database, tables=tables)
        ),
        show=show,
    )


def _run(tenant: str, statements: Statements, *, show: bool) -> None:
    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415 - what --help need not wait for
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as above

    from flows.compose_stores import clickhouse_of  # noqa: PLC0415 - as above
    from flows.config import ConfigError, load_tenants  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above
    from sinks.clickhouse import connect  # noqa: PLC0415 - as above
    from sinks.clickhouse_tenants import tenant_tables  # noqa: PLC0415 - as above

    try:
        settings = load_settings()
        tenants = load_tenants(settings.tenants_dir)
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(str(error)) from error
    if tenant not in tenants:
        raise CommandError(f"tenant: there is no {tenant!r}, use one of {', '.join(tenants)}")
    where = settings.clickhouse
    try:
        client = connect(clickhouse_of(settings))
        with closing(client):
            found = statements(where.database, tenant_tables(client, where.database), where.user)
            for one in found:
                if show:
                    print(f"{one};")  # noqa: T201 - a command's output
                else:
                    client.command(one)
    except (ClickHouseError, HTTPError) as error:
        raise CommandError(f"clickhouse: {' '.join(str(error).split())}") from error
    if not show:
        print(f"{len(found)} statements run")  # noqa: T201 - a command's output
