"""Analysts' rights: statements that ClickHouse's parser takes, filters that its engine keeps.

chDB is ClickHouse's engine without users: it parses all statements and runs none about access. Row
filters of its one user can come from a file, though, and are then enforced as a policy's would be.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from sinks.clickhouse_tenants import (
    checked_password,
    grant_statements,
    names_of,
    revoke_statements,
    tenant_tables,
)

TABLES = [
    "audit",
    "campaign_days",
    "campaign_funnel",
    "delivery_minutes",
    "delivery_per_minute",
    "devices",
    "devices_current",
    "outcomes",
    "user_events",
    "users",
    "users_current",
]


PASSWORD = "long enough"


def granted(password: str | None = PASSWORD, tenant: str = "acme") -> list[str]:
    return list(
        grant_statements(
            tenant, database="clarion", tables=TABLES, service_user="writer", password=password
        )
    )


def test_every_table_and_view_with_tenants_is_found(client: Client) -> None:
    """Those of the migrations; what only feeds another, and the audit log, are left out."""
    found = tenant_tables(client, str(client.database))
    assert set(TABLES) - {"audit"} <= set(found)
    assert "audit" not in found
    assert not [name for name in found if name.endswith("_mv")]
    assert "schema_migrations" not in found


def test_the_parser_takes_every_statement(client: Client) -> None:
    """Also for names with all characters that a tenant may have."""
    for tenant in ("acme", "a.b-c_d"):
        statements = granted(tenant=tenant)
        statements += revoke_statements(tenant, database="clarion", tables=TABLES)
        for one in statements:
            client.query("SELECT formatQuery({text:String})", parameters={"text": one})


def test_a_table_has_its_policies_before_anybody_may_read_it() -> None:
    """A run that breaks off leaves too few rights, never too many."""
    statements = granted()
    for table in TABLES:
        policy = next(n for n, one in enumerate(statements) if f"`clarion`.`{table}` AS" in one)
        right = next(
            n for n, one in enumerate(statements) if f"SELECT ON `clarion`.`{table}`" in one
        )
        assert policy < right
    assert not any("GRANT SELECT ON `clarion`.*" in one for one in statements)


def test_the_password_is_in_no_statement() -> None:
    """Only its salted hash, another one each time; without one the user is not touched."""
    one, two = granted("geheim-geheim"), granted("geheim-geheim")
    assert "geheim" not in str(one)
    assert one != two
    assert not any("USER" in statement for statement in granted(None))


@pytest.mark.parametrize("bad", ["", "short", "x" * 201, "with a\nline break"])
def test_a_bad_password_is_refused(bad: str) -> None:
    """With what to do, and without the password."""
    with pytest.raises(ValueError, match="use 12 to 200 printable"):
        checked_password(bad)


@pytest.mark.parametrize("bad", ["", "a b", "a`; DROP USER x", "a'", "-a"])
def test_only_names_of_tenants_get_into_statements(bad: str) -> None:
    """The first of two guards; identifiers and texts are quoted as well."""
    with pytest.raises(ValueError, match="no name of a tenant"):
        names_of(bad)


FILTERED = """
import json, sys
from pathlib import Path
from chdb import session
from sinks.clickhouse_migrations import default_directory, read_migrations

MORE = {
    "outcomes": (", occurred_at, campaign_id", ", now(), 'c1'"),
    "audit": (", at", ", now()"),
    "user_events": (", occurred_at", ", now()"),
}
where, tables = Path(sys.argv[1]), json.loads(sys.argv[2])
engine = session.Session(f"{where}/db?config-file={where}/config.xml")
engine.query("CREATE DATABASE clarion")
engine.query("USE clarion")
for migration in read_migrations(default_directory()):
    for statement in migration.statements:
        engine.query(statement)
for tenant in ("acme", "rival"):
    for table in ("outcomes", "devices", "users", "user_events", "audit"):
        # A row of defaults, but for the tenant, its time (old rows go) and what a view asks for.
        columns, values = MORE.get(table, ("", ""))
        engine.query(f"INSERT INTO clarion.{table} (tenant{columns}) VALUES ('{tenant}'{values})")
seen = {}
for table in tables:
    query = f"SELECT DISTINCT tenant FROM clarion.{table} ORDER BY tenant"
    rows = engine.query(query, "JSONEachRow")
    seen[table] = [json.loads(line)["tenant"] for line in str(rows).splitlines()]
# What counts, joins, subqueries and FINAL could get past a filter on the outer table alone.
for name, query in {
    "count": "SELECT count() AS n FROM clarion.outcomes",
    "subquery": "SELECT countIf(tenant != 'acme') AS n FROM (SELECT * FROM clarion.devices FINAL)",
    "union": "SELECT countIf(tenant = 'rival') AS n FROM (SELECT tenant FROM clarion.users"
    " UNION ALL SELECT tenant FROM clarion.outcomes)",
    "merge": "SELECT countIf(tenant = 'rival') AS n FROM merge('clarion', '^(users|devices)$')",
}.items():
    try:
        seen[name] = json.loads(str(engine.query(query, "JSONEachRow")))["n"]
    except Exception as error:
        seen[name] = str(error)[:100]
print(json.dumps(seen))
"""


def test_a_filtered_user_sees_one_tenant_in_every_table_and_view(tmp_path: Path) -> None:
    """ClickHouse's engine with the policies' conditions as filters of its one user."""
    policies = [one for one in granted() if "USING tenant" in one]
    filters = "".join(
        f"<{table}><filter>{condition}</filter></{table}>"
        for table, condition in (
            re.findall(r"ON `clarion`\.`(\w+)` .* USING (tenant = '\w+') TO", one)[0]
            for one in policies
        )
    )
    (tmp_path / "config.xml").write_text(
        f"<clickhouse><users_config>{tmp_path}/users.xml</users_config></clickhouse>"
    )
    (tmp_path / "users.xml").write_text(
        "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default>"
        "<password/><networks><ip>::/0</ip></networks><profile>default</profile>"
        f"<quota>default</quota><databases><clarion>{filters}</clarion></databases>"
        "</default></users></clickhouse>"
    )
    done = subprocess.run(
        [sys.executable, "-c", FILTERED, str(tmp_path), json.dumps(TABLES)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert {table: seen[table] for table in TABLES} == {table: ["acme"] for table in TABLES}
    assert int(seen["count"]) == 1
    assert int(seen["subquery"]) == 0
    assert int(seen["union"]) == 0
    assert int(seen["merge"]) == 0
