"""The audit log, read for people: newest first, by page, bounded in rows and in time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

MAX_S = 20
"""A question takes no longer than this; ClickHouse ends it."""
_SETTINGS = {"max_execution_time": MAX_S, "readonly": 2}


class AuditLine(NamedTuple):
    """An entry, as it is shown. at_ms: epoch ms; others as in schemas/audit.AuditEntry."""

    at_ms: int
    audit_id: str
    actor_kind: str
    actor: str
    action: str
    target: str
    status: int
    address: str
    user_agent: str
    request_id: str
    before: str
    after: str
    count: int  # type: ignore[assignment]  # it hides a method of tuples that nobody needs


class AuditFilter(NamedTuple):
    """Which entries are meant; what is empty or 0 leaves nothing out.

    from_ms: included; to_ms: not. action: how it begins, such as "PUT /v1/users". status_class: 2
    for 200 to 299.
    """

    from_ms: int = 0
    to_ms: int = 0
    actor: str = ""
    action: str = ""
    target: str = ""
    status_class: int = 0


Place = tuple[int, str]
"""(at_ms, audit_id) of an entry: the next page begins behind it."""

_COLUMNS = ", ".join(("toUnixTimestamp64Milli(at) AS at_ms", *AuditLine._fields[1:]))


class AuditLog:
    """Asks for entries of one tenant."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def entries(
        self, tenant: str, which: AuditFilter, *, limit: int, after: Place | None = None
    ) -> list[AuditLine]:
        """Give entries, newest first, at most `limit`. Raises ClickHouseError."""
        asked: dict[str, Any] = {"tenant": tenant, "limit": limit}
        rules = ["tenant = {tenant:String}"]

        def rule(text: str, **more: Any) -> None:
            rules.append(text)
            asked.update(more)

        if which.from_ms:
            rule("at >= fromUnixTimestamp64Milli({from:Int64})", **{"from": which.from_ms})
        if which.to_ms:
            rule("at < fromUnixTimestamp64Milli({to:Int64})", to=which.to_ms)
        if which.actor:
            rule("actor = {actor:String}", actor=which.actor)
        if which.action:
            rule("startsWith(action, {action:String})", action=which.action)
        if which.target:
            rule("target = {target:String}", target=which.target)
        if which.status_class:
            rule("intDiv(status, 100) = {class:UInt16}", **{"class": which.status_class})
        if after is not None:
            # The time alone first: the table's order finds it.
            rule("at <= fromUnixTimestamp64Milli({last:Int64})", last=after[0])
            rule("(toUnixTimestamp64Milli(at), audit_id) < ({last:Int64}, {id:String})",
                 id=after[1])  # fmt: skip
        rows: Sequence[Sequence[Any]] = self._client.query(
            f"SELECT {_COLUMNS} FROM audit WHERE {' AND '.join(rules)}"  # noqa: S608 - our own names
            " ORDER BY at DESC, audit_id DESC LIMIT 1 BY at, audit_id LIMIT {limit:UInt32}",
            parameters=asked,
            settings=_SETTINGS,
        ).result_rows
        return [AuditLine(*row) for row in rows]
