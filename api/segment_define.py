"""`clarion segments define`, `refresh` and what `rm` does to a definition."""

import sys
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaException

from api.cli import CommandError
from api.publishing import ConflictError, DefinitionWriter, Publisher, PublishError
from api.segment_stores import Stores
from api.waiting import wait_until
from flows.compose import Composer
from flows.compose_segments import ClickHouseQueries, make_keeper, make_queries
from flows.yaml_files import BadYamlError, read_yaml
from operators.behaviour import sql_of
from operators.segment_builder import LostError
from operators.segment_lists import LIST
from schemas.definitions import Kind
from schemas.segment_definition import BadSegmentBodyError, SegmentBody, body_of
from sinks.clickhouse_queries import RefusedQueryError
from state.segment_work import Note, RedisSegmentWork

MAX_DEFINED = 500
"""Rules and queries of a tenant: each profile that changes is judged by all rules."""


def define(
    stores: Stores, name: str, file: Path | None, said: dict[str, str | None], wait_s: float
) -> None:
    """Check a definition, write it, wait until it is built, and say how many users it has."""
    body = _body(file, said)
    tenant = stores.tenant.name
    counting, defined, exists = stores.what_is(name)
    if exists and defined is None:
        other = (
            "an uploaded list"
            if counting is not None and counting.kind == LIST
            else "made of users' own records"
        )
        raise CommandError(f"name: {name!r} is {other}, choose another")
    if defined is None and len(stores.definitions.all(Kind.SEGMENT, tenant)) >= MAX_DEFINED:
        raise CommandError(f"name: {tenant} has {MAX_DEFINED} already, remove one first")
    if body.rule is None:
        _check_query(stores, body)
    version = _write(stores, name, body)
    if not wait_s:
        sys.stdout.write(f"{name}: version {version} is defined\n")
        return
    note = _built(stores, name, version, wait_s)
    if note is None:
        raise CommandError(
            f"{name}: version {version} is defined, but not built within {wait_s:g} s; see clarion"
            f" segments show {name}"
        )
    _say(stores, name, note)


def refresh(stores: Stores, name: str | None) -> None:
    """Build one segment, or all that are due, now; say what came of it."""
    tenant = stores.tenant.name
    if name is not None and stores.definitions.get(Kind.SEGMENT, tenant, name) is None:
        raise CommandError(f"name: {name!r} is no rule or query; see clarion segments ls")
    composer = Composer(stores.settings, lambda: False)
    queries = ClickHouseQueries(make_queries(composer))
    try:
        keeper = make_keeper(composer, queries, lambda: False, tells=False)
        names = [name] if name is not None else [one.name for one in keeper.due(tenant)]
        found = keeper.refresh(tenant, names)
    except LostError as error:
        raise CommandError(f"{error}; try again when it is done") from error
    finally:
        queries.close()
        composer.redis.close()
    if not names:
        sys.stdout.write("none is due\n")
    for one, note in found.items():
        _say(stores, one, note)


def remove(stores: Stores, name: str) -> None:
    """Remove a definition; its members go within a second. Raises CommandError."""
    try:
        _writer(stores).remove(Kind.SEGMENT, stores.tenant.name, name)
    except PublishError as error:
        raise CommandError(str(error)) from error


def _body(file: Path | None, said: dict[str, str | None]) -> SegmentBody:
    given = {key: text for key, text in said.items() if text is not None}
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


def _from_json(option: str, text: str | None) -> Any:
    try:
        return msgspec.json.decode(text or "")
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandError(f"--{option}: is no JSON: {error}") from error


def _check_query(stores: Stores, body: SegmentBody) -> None:
    composer = Composer(stores.settings, lambda: False)
    queries = make_queries(composer)
    try:
        queries.check(sql_of(body))
    except RefusedQueryError as error:
        raise CommandError(str(error)) from error
    finally:
        queries.close()


def _writer(stores: Stores) -> DefinitionWriter:
    publisher = Publisher(stores.settings.kafka.client_options())
    return DefinitionWriter(publisher, stores.definitions)


def _write(stores: Stores, name: str, body: SegmentBody) -> int:
    said = body.model_dump(mode="json", exclude_defaults=True)
    try:
        return _writer(stores).put(Kind.SEGMENT, stores.tenant.name, name, said)
    except (PublishError, ConflictError, KafkaException) as error:
        raise CommandError(str(error)) from error


def _built(stores: Stores, name: str, version: int, wait_s: float) -> Note | None:
    work, tenant = RedisSegmentWork(stores.client), stores.tenant.name

    def note() -> Note | None:
        found = work.notes(tenant).get(name)
        return found if found is not None and found.version >= version else None

    wait_until(lambda: note() is not None, timeout_s=wait_s)
    return note()


def _say(stores: Stores, name: str, note: Note) -> None:
    if note.error:
        raise CommandError(f"{name}: {note.error}")
    users = stores.segments.count(stores.tenant.name, stores.tenant.shards, name)
    sys.stdout.write(f"{name}: {users} members, built in {note.took_ms / 1_000:.1f} s\n")
