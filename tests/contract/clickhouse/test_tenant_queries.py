"""Queries of people on the real engine: they see their tenant's rows, and reach nothing else."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from operators.behaviour import behaviour_sql
from sandbox.processes import free_port
from schemas.segment_definition import body_of
from sinks.clickhouse import ClickHouseSettings, ClickHouseWriter, connect
from sinks.clickhouse_once import ExactlyOnceWriter
from sinks.clickhouse_queries import QueryLimits, RefusedQueryError, TenantQueries, is_away
from tests.contract.clickhouse.outcome_log import TOPIC, record

DAY_MS = 86_400_000


@pytest.fixture
def queries(connect_here: Callable[[], Client]) -> Iterator[TenantQueries]:
    made = TenantQueries(client_factory=connect_here)
    yield made
    made.close()


@pytest.fixture
def told(client: Client, connect_here: Callable[[], Client]) -> Client:
    """Two tenants with the same story, and users of each alone."""
    client.command("TRUNCATE TABLE user_events SYNC")
    now_ms = int(time.time() * 1_000)
    story: list[dict[str, Any]] = [
        {"user_id": "a", "message_id": "m1", "status": "sent", "campaign_id": "spring"},
        {"user_id": "a", "message_id": "m1", "status": "opened", "campaign_id": ""},
        {"user_id": "a", "message_id": "m1", "status": "opened", "campaign_id": ""},
        {"user_id": "b", "message_id": "m1", "status": "sent", "campaign_id": "spring"},
        {"user_id": "c", "message_id": "m2", "status": "opened", "campaign_id": ""},
    ]
    outcomes = [
        one | {"tenant": tenant, "user_id": f"{tenant}-{one['user_id']}"}
        for tenant in ("acme", "evil")
        for one in story
    ]
    writer = ClickHouseWriter(client_factory=connect_here)
    once = ExactlyOnceWriter(writer)
    once.assign(TOPIC, [0])
    once.write(
        [record(0, n, **one, occurred_at_ms=now_ms - 1_000) for n, one in enumerate(outcomes)]
    )
    for tenant in ("acme", "evil"):
        users = [f"{tenant}-{name}" for name in "abcd"]
        size = len(users)
        writer.insert_rows(
            "users", {"tenant": [tenant] * size, "user_id": users, "version": [1] * size}
        )
        orders = [(users[0], n, now_ms - n * 10 * DAY_MS) for n in (0, 1, 2, 2, 4)]
        orders += [(users[1], 9, now_ms)]
        writer.insert_rows(
            "user_events",
            {
                "tenant": [tenant] * len(orders),
                "user_id": [user for user, _, _ in orders],
                "event_id": [f"{user}-{n}" for user, n, _ in orders],
                "name": ["order"] * len(orders),
                "occurred_at": [at_ms for _, _, at_ms in orders],
            },
        )
    writer.close()
    return client


def users(queries: TenantQueries, sql: str, tenant: str = "acme") -> list[str]:
    return sorted(user for block in queries.users(tenant, sql) for user in block)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"did": "opened"}, "ac"),
        ({"did": "opened", "campaign": "spring"}, "a"),
        ({"did": "opened", "at_least": 2}, ""),
        ({"did": "sent", "campaign": "spring"}, "ab"),
        ({"did": "opened", "at_most": 0}, "bd"),
        ([{"did": "sent", "campaign": "spring"}, {"did": "opened", "at_most": 0}], "b"),
        ({"event": "order", "at_least": 3, "within_days": 30}, "a"),
        ({"event": "order", "at_least": 4, "within_days": 30}, ""),
        ({"event": "order", "at_least": 4, "within_days": 60}, "a"),
        ({"event": "order", "at_least": 1, "at_most": 2}, "b"),
        ({"did": "sent", "campaign": "it's\\"}, ""),
    ],
)
def test_behaviour_means_what_users_did(queries: TenantQueries, said: Any, expected: str) -> None:
    """How often, within which time, of which campaign; repeats are counted once."""
    body = body_of({"behaviour": said})
    found = users(queries, behaviour_sql(body.behaviour or ()))
    assert found == [f"acme-{name}" for name in expected]


SEEN = [
    "SELECT user_id FROM outcomes",
    "SELECT user_id FROM outcomes -- all of them",
    "SELECT user_id FROM users FINAL;",
    "SELECT user_id FROM users_current",
    "SELECT u.user_id AS user_id FROM users AS outcomes JOIN outcomes AS u ON 1 = 1",
    "WITH u AS (FROM outcomes) SELECT user_id FROM u UNION ALL SELECT user_id FROM user_events",
    "SELECT arrayJoin((SELECT groupArray(user_id) FROM outcomes)) AS user_id",
    "SELECT user_id FROM users WHERE user_id IN (SELECT user_id FROM outcomes)",
    "SELECT user_id FROM outcomes PREWHERE tenant = 'evil' OR tenant = 'acme'",
    "SELECT user_id FROM (SELECT user_id FROM outcomes INTERSECT SELECT user_id FROM users)",
    "SELECT max(u.user_id) AS user_id FROM outcomes AS u GROUP BY u.kafka_topic",
    "SELECT campaign_id AS user_id FROM campaign_funnel",
]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("sql", SEEN)
def test_a_query_sees_its_tenant_only(queries: TenantQueries, sql: str) -> None:
    """Through tables, views, names of other tables, subqueries and unions."""
    found = users(queries, sql)
    assert found
    assert all(user.startswith("acme-") or user == "spring" for user in found)


@pytest.mark.usefixtures("told")
def test_the_other_tenant_is_asked_for_in_vain(queries: TenantQueries) -> None:
    """The server adds the tenant to every table."""
    assert users(queries, "SELECT user_id FROM outcomes WHERE tenant = 'evil'") == []
    assert users(queries, "SELECT user_id FROM outcomes WHERE 1 OR tenant = 'evil'")[0] == "acme-a"
    assert users(queries, "SELECT toString(number) AS user_id FROM schema_migrations") == []


REFUSED = [
    ("INSERT INTO users (tenant) VALUES ('acme')", "must begin with SELECT"),
    ("DROP TABLE users", "must begin with SELECT"),
    ("SELECT 1; DROP TABLE users", "Multi-statements"),
    ("SELECT user_id FROM clarion_test.outcomes", "out of reach"),
    ("SELECT user_id FROM `clarion_test`.outcomes", "out of reach"),
    ("SELECT name AS user_id FROM system.tables", "out of reach"),
    ("SELECT 'x' AS user_id WHERE 'x' IN system.one", "write IN (SELECT ...)"),
    ("SELECT 'x' AS user_id WHERE 'x' GLOBAL NOT IN system.one", "write IN (SELECT ...)"),
    ("SELECT user_id FROM merge('clarion_test', 'outcomes')", "table functions such as merge()"),
    ("SELECT user_id FROM mergeTreeIndex(clarion_test, outcomes)", "table functions"),
    ("SELECT user_id FROM (SELECT * FROM (SELECT * FROM merge('c', '.*')))", "table functions"),
    ("SELECT user_id FROM outcomes JOIN url('http://x/', CSV) AS u ON 1", "table functions"),
    ("SELECT user_id FROM remote('127.0.0.1', clarion_test.outcomes)", "table functions"),
    ("SELECT user_id FROM view(SELECT 1)", "table functions"),
    ("SELECT (SELECT line FROM file('/etc/passwd', LineAsString)) AS user_id", "table functions"),
    ("SELECT file('/etc/passwd') AS user_id", "file() is not allowed"),
    ("SELECT FILE('/etc/passwd') AS user_id", "not allowed"),
    ("SELECT dictGet('d', 'x', 1) AS user_id", "dictGet() is not allowed"),
    ("SELECT joinGet('j', 'x', 1) AS user_id", "joinGet() is not allowed"),
    ("SELECT sleep(3) AS user_id", "sleep() is not allowed"),
    ("SELECT user_id FROM outcomes SETTINGS additional_table_filters = {}", "leave out"),
    ("SELECT user_id FROM (SELECT * FROM outcomes SETTINGS readonly = 0)", "leave out SETTINGS"),
    ("SELECT user_id FROM outcomes FORMAT CSV", "sql: "),
    ("SELECT user_id FROM outcomes INTO OUTFILE '/tmp/x'", "leave out FORMAT"),
    ("SELECT user_id FROM outcomes) UNION ALL (SELECT 'x'", "Syntax error"),
    ("SELECT user_id FROM outcomes /*", "omment"),
    ("SELECT message_id FROM outcomes", "user_id"),
    ("SELECT user_id FROM nothing", "nothing"),
    ("SELECT user_id FROM `x.y`", "out of reach"),
    ("SELECT user_id FROM outcomes PARALLEL WITH SELECT 1", "must be one SELECT"),
    ("SELECT throwIf(1) AS user_id FROM outcomes", ""),
    ("", "must begin with SELECT"),
]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(("sql", "why"), REFUSED)
def test_what_would_reach_further_is_refused(queries: TenantQueries, sql: str, why: str) -> None:
    """And the message says what."""
    with pytest.raises(RefusedQueryError) as caught:
        users(queries, sql)
    assert why in str(caught.value)


@pytest.mark.usefixtures("told")
def test_a_literal_cannot_pretend_to_be_a_part_of_the_tree(queries: TenantQueries) -> None:
    """A line break within it makes the check stricter at most."""
    sql = "SELECT concat(user_id, '\n   ', 'TableExpression') AS user_id FROM outcomes LIMIT 0"
    assert users(queries, sql) == []


def test_a_query_is_bounded(connect_here: Callable[[], Client]) -> None:
    """In time, and in how many ids it may give; blocks come one by one."""
    sql = "SELECT toString(arrayJoin(range(200000))) AS user_id"
    few = TenantQueries(client_factory=connect_here, limits=QueryLimits(users=1_000))
    with pytest.raises(RefusedQueryError, match="Limit for result"):
        users(few, sql)
    few.close()
    many = TenantQueries(client_factory=connect_here)
    sizes = [len(block) for block in many.users("acme", sql)]
    assert sum(sizes) == 200_000
    many.close()
    slow = TenantQueries(client_factory=connect_here, limits=QueryLimits(execution_s=1))
    many_pairs = (
        "SELECT toString(count()) AS user_id FROM (SELECT arrayJoin(range(100000)) AS a) AS x,"
        " (SELECT arrayJoin(range(10000000)) AS b) AS y WHERE sipHash64(a, b) = 1"
    )
    with pytest.raises(RefusedQueryError, match=r"[Tt]imeout") as caught:
        users(slow, many_pairs)
    assert not is_away(caught.value.__cause__)
    slow.close()


def test_a_server_that_is_away_is_told_from_a_bad_query(
    queries: TenantQueries,
) -> None:
    """For whoever tries again later, and blames nobody's query."""
    where = ClickHouseSettings(port=free_port())
    away = TenantQueries(client_factory=lambda: connect(where))
    with pytest.raises(RefusedQueryError) as caught:
        users(away, "SELECT user_id FROM outcomes")
    assert is_away(caught.value.__cause__)
    with pytest.raises(RefusedQueryError) as bad:
        users(queries, "SELECT user_id FROM nowhere")
    assert not is_away(bad.value.__cause__)
