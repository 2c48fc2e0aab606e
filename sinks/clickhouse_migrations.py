"""Numbered SQL files applied once, in order, and never changed afterwards."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

_NAME = re.compile(r"^(\d{4})_(\w+)\.sql$")
_DATABASE = re.compile(r"^[A-Za-z_]\w*$")
_PIECE = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`|;|[^;'\"`/-]+|.",
    re.DOTALL,
)
_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
"""


class MigrationError(Exception):
    """The files are wrong, one was changed after it was applied, or one failed."""


class Migration(NamedTuple):
    """One file. checksum: SHA-256 of its bytes."""

    number: int
    name: str
    checksum: str
    statements: tuple[str, ...]


def default_directory() -> Path:
    """Give the directory of the migrations: of the installed package, or of the repository."""
    installed = Path(__file__).with_name("_clickhouse_migrations")
    return installed if installed.is_dir() else Path(__file__).parents[1] / "deploy" / "clickhouse"


def read_migrations(directory: Path) -> list[Migration]:
    """Read all files, in order. Raises MigrationError for a wrong name, a gap or an empty file."""
    found = []
    for path in sorted(directory.glob("*.sql")):
        name = _NAME.match(path.name)
        if name is None:
            raise MigrationError(f"{path.name}: name migrations like 0001_what_it_does.sql")
        text = path.read_bytes()
        statements = tuple(split_statements(text.decode()))
        if not statements:
            raise MigrationError(f"{path.name} has no statement")
        checksum = hashlib.sha256(text).hexdigest()
        found.append(Migration(int(name.group(1)), path.stem, checksum, statements))
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"{directory} must hold the numbers 1 to n once each")
    return found


def split_statements(text: str) -> Iterator[str]:
    """Yield the statements between semicolons, without comments; quoted text is left alone."""
    statement = ""
    for match in _PIECE.finditer(text):
        piece = match.group()
        if piece == ";":
            if statement.strip():
                yield statement.strip()
            statement = ""
        elif not piece.startswith(("--", "/*")):
            statement += piece
    if statement.strip():
        yield statement.strip()


def migrate(
    client: Client, *, database: str = "clarion", directory: Path | None = None
) -> list[str]:
    """Create the database and apply what is missing. Returns the names of what was applied.

    Safe to run again, at once from several places, and after a failure: statements are
    idempotent, and a file is recorded only when all of it has run. Numbers in the database
    beyond the files (a newer release ran before) are left alone.
    Raises MigrationError for a file that was changed after it was applied, before running any.
    """
    if not _DATABASE.match(database):
        raise MigrationError(f"{database!r} is not a database name")
    directory = directory or default_directory()
    migrations = read_migrations(directory)
    if not migrations:
        raise MigrationError(f"{directory} must hold at least 1 migration")
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}", use_database=False)
    client.database = database
    client.command(_RECORD)
    known = client.query("SELECT number, checksum FROM schema_migrations FINAL").result_rows
    applied: dict[int, str] = {row[0]: row[1] for row in known}
    for migration in migrations:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"{migration.name} was changed after it was applied to {database}: put it back as "
                "it was and add a new file instead"
            )
    return [_apply(client, each) for each in migrations if each.number not in applied]


def _apply(client: Client, migration: Migration) -> str:
    for position, statement in enumerate(migration.statements, start=1):
        try:
            client.command(statement)
        except ClickHouseError as error:
            raise MigrationError(
                f"{migration.name}, statement {position} of {len(migration.statements)}: {error}"
            ) from error
    client.insert(
        "schema_migrations",
        [[migration.number, migration.name, migration.checksum]],
        column_names=["number", "name", "checksum"],
    )
    return migration.name
