"""People's queries over ClickHouse: they read one tenant's rows, give user ids, and do no more.

Two locks, both of the server's own making. Its settings: the query runs read-only, within limits
of time, memory and rows, and every table of the database is filtered by the tenant, which the query
cannot change. Its parser: before it runs, the server's own syntax tree of it is looked at, for
table functions and some others would go past the filters.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from sinks.clickhouse_errors import is_passing

MAX_ERROR_CHARS = 400
_NODE = re.compile(r"^( *)(\w+)(?: (.*?))?(?: \(children \d+\))?$", re.DOTALL)
_PLAIN_TABLE = re.compile(r"^[A-Za-z_]\w*(?: \(alias .*\))?$", re.DOTALL)
_FORBIDDEN = re.compile(
    r"^(dict\w*|joinGet\w*|file|hasColumnInTable|catboostEvaluate|naiveBayesClassifier|sleep\w*"
    r"|getMacro|getServerPort|getServerSetting|addressTo\w*|demangle|executable\w*|evalMLMethod"
    r"|remote\w*|url\w*Fetch|showCertificate|serverUUID|hostName|FQDN|fullHostName|tcpPort)$",
    re.IGNORECASE,
)
_IN = re.compile(r"^(global|not|null|ignore)*in(ignoreset)?$", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*(select|with)\b", re.IGNORECASE)

_OF_THE_QUERY = frozenset({159, 160, 241})
"""Codes of a query that took more time or memory than it may; elsewhere they say "busy"."""

HIDDEN = frozenset({"audit"})
"""Tables that give nothing here: who may read them is asked elsewhere."""
TABLES = """
SELECT t.name, countIf(c.name = 'tenant')
FROM system.tables AS t
LEFT JOIN system.columns AS c ON c.database = t.database AND c.table = t.name
WHERE t.database = currentDatabase()
GROUP BY t.name
"""


class RefusedQueryError(Exception):
    """The query is none that people may run, or the server refused it; the message says why."""


def is_away(error: BaseException | None) -> bool:
    """Tell whether what a refusal came from says nothing about the query: the server cannot now."""
    return (
        isinstance(error, Exception)
        and is_passing(error)
        and getattr(error, "code", None) not in _OF_THE_QUERY
    )


class QueryLimits(NamedTuple):
    """What a query may use. execution_s: seconds. memory_mb: of the server. users: ids it gives."""

    execution_s: int = 300
    memory_mb: int = 4_096
    users: int = 20_000_000


class TenantQueries:
    """Runs queries for a tenant, for one thread. client_factory: connects, at the first use."""

    def __init__(
        self, *, client_factory: Callable[[], Client], limits: QueryLimits | None = None
    ) -> None:
        self._client_factory = client_factory
        self._limits = limits or QueryLimits()
        self._client: Client | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def check(self, sql: str) -> None:
        """Look at a query without running it. Raises RefusedQueryError."""
        if not _FIRST_WORD.match(sql):
            raise RefusedQueryError("sql: must begin with SELECT or WITH")
        try:
            tree = self._connected().command(f"EXPLAIN AST {sql}")
        except (ClickHouseError, HTTPError, OSError) as error:
            raise RefusedQueryError(f"sql: {_short(error)}") from error
        check_tree(str(tree))

    def users(self, tenant: str, sql: str) -> Iterator[list[str]]:
        """Give the ids of a query in blocks, each once. Raises RefusedQueryError, also midway."""
        sql = sql.strip().rstrip(";")
        self.check(sql)
        limits = self._limits
        statement = (
            "SELECT DISTINCT toString(user_id) AS user_id FROM (\n"  # noqa: S608 - checked above
            f"{sql}\n) WHERE length(user_id) BETWEEN 1 AND 128 AND user_id NOT LIKE '% %'"
        )
        try:
            settings = {
                "readonly": 1,
                "additional_table_filters": self._filters(tenant),
                "max_execution_time": limits.execution_s,
                "timeout_overflow_mode": "throw",
                "max_memory_usage": limits.memory_mb * 1_048_576,
                "max_result_rows": limits.users,
                "result_overflow_mode": "throw",
                "log_comment": f"clarion-segment {tenant}",
            }
            with self._connected().query_column_block_stream(
                statement, settings=settings
            ) as stream:
                for (block,) in stream:
                    yield [str(user) for user in block]
        except (ClickHouseError, HTTPError, OSError, ValueError) as error:
            raise RefusedQueryError(f"sql: {_short(error)}") from error

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._client_factory()
        return self._client

    def _filters(self, tenant: str) -> str:
        """Give the filter of every table and view: those without a tenant give nothing."""
        client = self._connected()
        rows = client.query(TABLES).result_rows
        wanted = _quoted(f"tenant = {_quoted(tenant)}")
        pairs = [
            f"{_quoted(f'{client.database}.{name}')}: "
            f"{wanted if has_tenant and name not in HIDDEN else _quoted('0')}"
            for name, has_tenant in rows
        ]
        return "{" + ", ".join(pairs) + "}"


def check_tree(tree: str) -> None:
    """Refuse a syntax tree that does more than read plain tables. Raises RefusedQueryError."""
    nodes = [found for line in tree.split("\n") if (found := _NODE.match(line)) is not None]
    if not nodes or nodes[0].group(2) != "SelectWithUnionQuery":
        raise RefusedQueryError("sql: must be one SELECT")
    parents: list[str] = []
    seconds: list[int] = []
    for number, node in enumerate(nodes):
        depth, kind, rest = len(node.group(1)), node.group(2), node.group(3) or ""
        del parents[depth:], seconds[depth:]
        if depth:
            seconds[depth - 1] += 1
        parents.append(f"{kind} {rest}")
        seconds.append(0)
        if depth == 1 and number and kind != "ExpressionList":
            raise RefusedQueryError("sql: leave out FORMAT, SETTINGS and INTO OUTFILE")
        _check_node(kind, rest, parents, seconds)


def _check_node(kind: str, rest: str, parents: list[str], seconds: list[int]) -> None:
    """Refuse one node. parents: it and those above. seconds: how many children each had so far."""
    name = rest.split(" ", maxsplit=1)[0]
    if kind == "Set":
        raise RefusedQueryError("sql: leave out SETTINGS")
    if kind == "TableIdentifier" and not _PLAIN_TABLE.match(rest):
        raise RefusedQueryError(
            f"sql: {name[:60]!r} is out of reach: name a table of docs/analysts.md alone"
        )
    if kind == "Function":
        if parents[-2].startswith("TableExpression"):
            raise RefusedQueryError(f"sql: table functions such as {name[:60]}() are not allowed")
        if _FORBIDDEN.match(name):
            raise RefusedQueryError(f"sql: the function {name[:60]}() is not allowed")
    is_operand = len(parents) > 2 and parents[-2].startswith("ExpressionList")
    if is_operand and kind == "Identifier" and "." in name and seconds[-2] == 2:
        function = parents[-3].split(" ")
        if function[0] == "Function" and _IN.match(function[1]):
            raise RefusedQueryError(
                f"sql: write IN (SELECT ...) with a table of docs/analysts.md, not {name[:60]!r}"
            )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    start = text.find("DB::Exception: ")
    return (text[start + 15 :] if start >= 0 else text)[:MAX_ERROR_CHARS]
