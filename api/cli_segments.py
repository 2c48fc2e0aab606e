"""`clarion segments`: upload, define, look at and count segments."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from api.cli import CommandError

app = App(name="segments", help="Upload, define and count segments.", help_format="plaintext")

TenantOption = Annotated[str, Parameter(help="whose segments")]
JsonFlag = Annotated[bool, Parameter(help="one JSON object a line, for machines")]


@app.command
def upload(
    name: str,
    file: Annotated[str, Parameter(help="CSV or NDJSON; - reads standard input")],
    *,
    tenant: TenantOption,
    mode: Annotated[
        Literal["add", "remove", "replace"], Parameter(help="replace is seen all at once")
    ] = "replace",
    format: Annotated[  # noqa: A002 - what people call it
        Literal["csv", "ndjson"] | None, Parameter(help="else the file's name tells")
    ] = None,
    column: Annotated[str, Parameter(help="of the user ids")] = "user_id",
    strict: Annotated[bool, Parameter(help="stop at the first bad line")] = False,
    max_bad: Annotated[int, Parameter(help="bad lines that are left out before it stops")] = 100,
    wait: Annotated[float, Parameter(help="seconds to wait until the registry has it")] = 60.0,
) -> None:
    """Upload a list of users, of any size, a line at a time.

    A replacement changes nothing until the whole file was read. What is added or removed counts
    as it goes; the same file may be uploaded again.
    """
    from api.segment_commands import upload_file  # noqa: PLC0415 - what --help need not wait for
    from api.segment_files import format_of  # noqa: PLC0415 - as above
    from api.segment_stores import opened  # noqa: PLC0415 - as above
    from api.segment_upload import Job  # noqa: PLC0415 - as above

    path = None if file == "-" else Path(file)
    if path is not None and not path.is_file():
        raise CommandError(f"file: there is no {file}")
    allowed = 0 if strict else max_bad
    job = Job(name, mode, format or format_of(path), column, allowed, dash="--")
    with opened(tenant) as stores:
        upload_file(stores, job, path, wait)


@app.command
def define(
    name: str,
    file: Annotated[Path | None, Parameter(help="YAML or JSON with rule, behaviour or sql")] = None,
    *,
    tenant: TenantOption,
    rule: Annotated[str | None, Parameter(help="instead of a file: a rule as JSON")] = None,
    behaviour: Annotated[str | None, Parameter(help="or a behaviour as JSON")] = None,
    sql: Annotated[str | None, Parameter(help="or a query that gives user_id")] = None,
    every: Annotated[str | None, Parameter(help="how often to look again, such as 15m")] = None,
    wait: Annotated[float, Parameter(help="seconds to wait until it is built; 0 does not")] = 60.0,
) -> None:
    """Define a segment by a rule or a query, or define it anew; print how many users it has.

    A rule's members follow their profiles by themselves; queries are run again every so often.
    """
    from api.segment_commands import define_from  # noqa: PLC0415 - what --help need not wait for
    from api.segment_stores import opened  # noqa: PLC0415 - as above

    said = {"rule": rule, "behaviour": behaviour, "sql": sql, "every": every}
    with opened(tenant) as stores:
        define_from(stores, name, file, said, wait)


@app.command
def refresh(
    name: str | None = None,
    *,
    tenant: TenantOption,
    due: Annotated[bool, Parameter(help="all that are due, instead of one")] = False,
) -> None:
    """Build a rule or query now, in this process; the registry flow does it by itself, too."""
    from api.segment_commands import refresh as run  # noqa: PLC0415 - what --help need not wait for
    from api.segment_stores import opened  # noqa: PLC0415 - as above

    if (name is None) is not due:
        raise CommandError("name: give one segment, or --due")
    with opened(tenant) as stores:
        run(stores, name)


@app.command
def ls(*, tenant: TenantOption, json: JsonFlag = False) -> None:
    """List the segments: what they are made of, how many are in them, since when."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.segment_view import line_of, rows  # noqa: PLC0415 - as above

    with opened(tenant) as stores:
        found = rows(stores)
    for row in found:
        _print(_json(row) if json else line_of(row))
    if not found and not json:
        _print("none")


@app.command
def show(name: str, *, tenant: TenantOption) -> None:
    """Show one segment as JSON, with its definition and its last build."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for
    from api.segment_view import details  # noqa: PLC0415 - as above

    with opened(tenant) as stores:
        _print(_json(details(stores, name), indent=2))


@app.command
def estimate(expression: str, *, tenant: TenantOption, json: JsonFlag = False) -> None:
    """Count exactly how many users an audience such as 'buyers & eu - churned' means now."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for

    with opened(tenant) as stores:
        users = stores.segments.count(tenant, stores.tenant.shards, stores.parsed(expression))
    _print(_json({"expression": expression, "users": users}) if json else str(users))


@app.command
def members(
    expression: str,
    *,
    tenant: TenantOption,
    limit: Annotated[int, Parameter(help="0 gives all")] = 100,
) -> None:
    """Print the ids of the users whom an audience means, shard by shard."""
    from api.segment_stores import opened  # noqa: PLC0415 - what --help need not wait for

    if limit < 0:
        raise CommandError("limit: use 0 for all, or the most that you want to see")
    printed = 0
    with opened(tenant) as stores:
        tree = stores.parsed(expression)
        for shard in range(stores.tenant.shards):
            found = stores.segments.members(tenant, shard, tree)
            for user in found[: limit - printed] if limit else found:
                _print(user)
                printed += 1
            if limit and printed >= limit:
                break


@app.command
def rm(
    name: str,
    *,
    tenant: TenantOption,
    wait: Annotated[float, Parameter(help="seconds to wait until the registry has it")] = 60.0,
) -> None:
    """Remove an uploaded list, a rule or a query, and its members."""
    from api.segment_commands import remove  # noqa: PLC0415 - what --help need not wait for
    from api.segment_stores import opened, own_name  # noqa: PLC0415 - as above

    with opened(tenant) as stores:
        remove(stores, own_name(name), wait)


def _json(value: Any, *, indent: int = 0) -> str:
    import msgspec  # noqa: PLC0415 - what --help need not wait for

    raw = msgspec.json.encode(value)
    return (msgspec.json.format(raw, indent=indent) if indent else raw).decode()


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
