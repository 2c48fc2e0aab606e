"""`clarion audit`: who did what through the API."""

from typing import Annotated

from cyclopts import App, Parameter

from api.cli import CommandError

app = App(name="audit", help="Who did what through the API.", help_format="plaintext")

MAX_LIMIT = 10_000
NOBODY = "-"


@app.command(name="ls")
def list_(
    *,
    tenant: Annotated[str, Parameter(help="or - for credentials that proved nobody")],
    since: Annotated[str, Parameter(name="--from", help="2h (ago), or a time; included")] = "",
    until: Annotated[str, Parameter(name="--to", help="as --from; not included")] = "",
    actor: Annotated[str, Parameter(help="the id of a key, or who else it was")] = "",
    action: Annotated[str, Parameter(help="how it begins, such as 'DELETE /v1/users'")] = "",
    target: Annotated[str, Parameter(help="what it was about, such as a user's id")] = "",
    status: Annotated[str, Parameter(help="of the answer: 2xx, 4xx or 5xx")] = "",
    limit: Annotated[int, Parameter(help="how many at most")] = 100,
    json: Annotated[bool, Parameter(help="one JSON object a line, for machines")] = False,
) -> None:
    """List entries of the audit log, newest first."""
    from time import time  # noqa: PLC0415 - what --help need not wait for

    from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415 - as above
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as above

    from api.times import time_ms  # noqa: PLC0415 - as above
    from flows.compose_stores import clickhouse_of  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above
    from sinks.audit_log import AuditFilter, AuditLog  # noqa: PLC0415 - as above
    from sinks.clickhouse import connect  # noqa: PLC0415 - as above

    if not 1 <= limit <= MAX_LIMIT:
        raise CommandError(f"limit: use 1 to {MAX_LIMIT}")
    if status not in {"", "1xx", "2xx", "3xx", "4xx", "5xx"}:
        raise CommandError("status: use 2xx, 4xx or 5xx")
    now_ms = int(time() * 1_000)
    which = AuditFilter(
        time_ms("from", since, now_ms),
        time_ms("to", until, now_ms),
        actor,
        action,
        target,
        int(status[:1] or 0),
    )
    try:
        client = connect(clickhouse_of(load_settings()))
        try:
            name = "" if tenant == NOBODY else tenant
            found = AuditLog(client).entries(name, which, limit=limit)
        finally:
            client.close()
    except BadSettingsError as error:
        raise CommandError(str(error)) from error
    except (ClickHouseError, HTTPError) as error:
        raise CommandError(f"clickhouse: {' '.join(str(error).split())}") from error
    for line in found:
        _say(line._asdict(), as_json=json)


def _say(line: dict[str, object], *, as_json: bool) -> None:
    from msgspec.json import encode  # noqa: PLC0415 - what --help need not wait for

    from api.terminal import safe  # noqa: PLC0415 - as above
    from api.times import clock  # noqa: PLC0415 - as above

    if as_json:
        text = encode(line).decode()
    else:
        at_ms, count = line["at_ms"], line["count"]
        who = f"{line['actor_kind']}:{line['actor']}".strip(":") or NOBODY
        parts = [clock(int(str(at_ms))), who, line["address"] or NOBODY, line["status"]]
        parts += [line["action"], line["target"], f"x{count}" if count != 1 else ""]
        text = safe("  ".join(str(part) for part in parts if part != ""))
    print(text)  # noqa: T201 - a command's output
