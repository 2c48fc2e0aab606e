"""What `clarion segments` says and waits for while segments are uploaded, defined and removed."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from api.cli import CommandError
from api.refusals import RefusedError, Why
from api.segment_define import built, define
from api.segment_files import Line
from api.segment_stores import Stores
from api.segment_upload import Job, Watch, is_applied, take_down, upload
from api.waiting import wait_until
from flows.compose import Composer
from flows.compose_segments import ClickHouseQueries, make_keeper, make_queries
from flows.yaml_files import BadYamlError, read_yaml
from operators.segment_builder import AwayError, LostError
from schemas.definitions import Kind
from schemas.segment_definition import BadSegmentBodyError, SegmentBody, body_of
from state.segment_work import Note

SAY_EVERY_S = 1.0


class _Told(Watch):
    """Says on standard error how an upload goes. source: of the lines."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._said_at = time.monotonic()

    def read(self, users: int) -> None:
        if time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            sys.stderr.write(f"{users} users read\n")

    def refused(self, line: Line) -> None:
        sys.stderr.write(f"{self._source}:{line.number}: {line.fault}\n")


def upload_file(stores: Stores, job: Job, path: Path | None, wait_s: float) -> None:
    """Upload a file, or standard input; print what came of it."""
    source = nullcontext(sys.stdin.buffer) if path is None else path.open("rb")
    with source as file:
        done = upload(stores, job, file, _Told(str(path or "standard input")))
    skipped = f", {done.bad} lines left out" if done.bad else ""
    if not wait_until(lambda: is_applied(stores, done), timeout_s=wait_s):
        raise CommandError(
            f"{done.name}: {done.users} users are on Kafka{skipped}, and nothing is lost, but the"
            f" registry flow has not taken them within {wait_s:g} s: is it running?"
        )
    members = stores.count(done.name)
    sys.stdout.write(
        f"{done.name}: {done.users} users read{skipped}; it has {members} members now\n"
    )


def define_from(
    stores: Stores, name: str, file: Path | None, said: dict[str, str | None], wait_s: float
) -> None:
    """Check a definition, write it, wait until it is built, and say how many users it has."""
    body = _body(file, said)

    def check(sql: str) -> None:
        queries = make_queries(Composer(stores.settings, lambda: False))
        try:
            queries.check(sql)
        finally:
            queries.close()

    version = define(stores, name, body, check=check)
    if not wait_s:
        sys.stdout.write(f"{name}: version {version} is defined\n")
        return
    wait_until(lambda: built(stores, name, version) is not None, timeout_s=wait_s)
    note = built(stores, name, version)
    if note is None:
        raise CommandError(
            f"{name}: version {version} is defined, but not built within {wait_s:g} s; see clarion"
            f" segments show {name}"
        )
    _say(stores, name, note)


def refresh(stores: Stores, name: str | None) -> None:
    """Build one segment, or all that are due, in this process; say what came of it."""
    tenant = stores.tenant.name
    if name is not None and stores.definitions.get(Kind.SEGMENT, tenant, name) is None:
        raise RefusedError(f"name: {name!r} is no rule or query", Why.MISSING)
    composer = Composer(stores.settings, lambda: False)
    queries = ClickHouseQueries(make_queries(composer))
    try:
        keeper = make_keeper(composer, queries, lambda: False, tells=False)
        names = [name] if name is not None else [one.name for one in keeper.due(tenant)]
        found = keeper.refresh(tenant, names)
    except LostError as error:
        raise CommandError(f"{error}; try again when it is done") from error
    except AwayError as error:
        raise CommandError(f"ClickHouse cannot answer now: {error}") from error
    finally:
        queries.close()
        composer.redis.close()
    if not names:
        sys.stdout.write("none is due\n")
    for one, note in found.items():
        _say(stores, one, note)


def remove(stores: Stores, name: str, wait_s: float) -> None:
    """Remove a list, a rule or a query; say so once it is gone."""
    if not wait_until(take_down(stores, name), timeout_s=wait_s):
        raise CommandError(f"{name}: the registry flow has not taken it: is it running?")
    sys.stdout.write(f"{name}: removed\n")


def _body(file: Path | None, said: dict[str, str | None]) -> SegmentBody:
    given: dict[str, Any] = {key: text for key, text in said.items() if text is not None}
    if file is not None:
        if given.keys() - {"every"}:
            raise CommandError("file: give a file, or --rule, --behaviour or --sql")
        given |= _from_file(file)
    else:
        for key in ("rule", "behaviour"):
            if key in given:
                given[key] = _from_json(key, given[key])
    try:
        return body_of(given)
    except BadSegmentBodyError as error:
        raise CommandError(str(error)) from error


def _from_file(file: Path) -> dict[str, Any]:
    try:
        found = read_yaml(file)
    except (OSError, BadYamlError) as error:
        raise CommandError(f"file: {file}: {error}") from error
    if not isinstance(found, dict):
        raise CommandError(f"file: {file} must hold an object with rule, behaviour or sql")
    return found


def _from_json(option: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandError(f"--{option}: is no JSON: {error}") from error


def _say(stores: Stores, name: str, note: Note) -> None:
    if note.error:
        raise CommandError(f"{name}: {note.error}")
    members = stores.count(name)
    sys.stdout.write(f"{name}: {members} members, built in {note.took_ms / 1_000:.1f} s\n")
