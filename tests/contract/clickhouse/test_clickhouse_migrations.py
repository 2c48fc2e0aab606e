import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from sinks.clickhouse import ClickHouseSettings, connect
from sinks.clickhouse_migrations import (
    MigrationError,
    default_directory,
    migrate,
    read_migrations,
    split_statements,
)

NEXT = f"{len(read_migrations(default_directory())) + 1:04}_more"


@pytest.fixture
def fresh(port: int) -> Iterator[Client]:
    client = connect(ClickHouseSettings(port=port), database="")
    yield client
    client.database = "default"
    client.command("DROP DATABASE IF EXISTS migrated SYNC")
    client.close()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_directory(), tmp_path / "migrations"))


def test_migrations_apply_once_and_record_themselves(fresh: Client) -> None:
    """The first run applies all files, the second none, and the database knows which."""
    names = [each.name for each in read_migrations(default_directory())]
    assert migrate(fresh, database="migrated") == names
    assert migrate(fresh, database="migrated") == []
    recorded = fresh.query("SELECT name FROM schema_migrations FINAL ORDER BY number").result_rows
    assert [row[0] for row in recorded] == names
    tables = {row[0] for row in fresh.query("SHOW TABLES").result_rows}
    assert {"outcomes", "devices", "users", "delivery_per_minute", "campaign_funnel"} <= tables


def test_running_every_statement_again_changes_nothing(fresh: Client) -> None:
    """All statements are idempotent, so a run that failed halfway can be repeated."""
    names = migrate(fresh, database="migrated")
    before = fresh.query(
        "SELECT name, create_table_query FROM system.tables "
        "WHERE database = 'migrated' ORDER BY name"
    ).result_rows
    fresh.command("TRUNCATE TABLE schema_migrations SYNC")
    assert len(migrate(fresh, database="migrated")) == len(names)
    after = fresh.query(
        "SELECT name, create_table_query FROM system.tables "
        "WHERE database = 'migrated' ORDER BY name"
    ).result_rows
    assert after == before


def test_a_changed_file_is_refused_before_anything_runs(fresh: Client, copy: Path) -> None:
    """One byte more in an applied file: the error names it, and a new file is not applied."""
    migrate(fresh, database="migrated", directory=copy)
    changed = copy / "0002_registry.sql"
    changed.write_text(changed.read_text() + "\n")
    (copy / f"{NEXT}.sql").write_text("CREATE TABLE more (a Int8) ENGINE = Memory;")
    with pytest.raises(MigrationError, match="0002_registry was changed"):
        migrate(fresh, database="migrated", directory=copy)
    assert fresh.command("EXISTS TABLE more") == 0


def test_a_failed_file_is_named_and_tried_again(fresh: Client, copy: Path) -> None:
    """It is not recorded, so that it runs whole once it is right."""
    file = copy / f"{NEXT}.sql"
    file.write_text("CREATE TABLE IF NOT EXISTS more (a Int8) ENGINE = Memory; SELECT nope;")
    with pytest.raises(MigrationError, match=f"{NEXT}, statement 2 of 2"):
        migrate(fresh, database="migrated", directory=copy)
    file.write_text("CREATE TABLE IF NOT EXISTS more (a Int8) ENGINE = Memory;")
    assert migrate(fresh, database="migrated", directory=copy) == [NEXT]


def test_a_newer_database_is_left_alone(fresh: Client, copy: Path) -> None:
    """An older release runs beside a newer one while that is rolled out."""
    extra = copy / f"{NEXT}.sql"
    extra.write_text("SELECT 1;")
    migrate(fresh, database="migrated", directory=copy)
    extra.unlink()
    assert migrate(fresh, database="migrated", directory=copy) == []


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, "at least 1"),
        ({"0001_a.sql": "SELECT 1", "0003_c.sql": "SELECT 1"}, "1 to n"),
        ({"0001_a.sql": "SELECT 1", "0001_b.sql": "SELECT 1"}, "once each"),
        ({"first.sql": "SELECT 1"}, "first.sql: name"),
        ({"0001_a.sql": "-- nothing;\n"}, "no statement"),
    ],
)
def test_wrong_directories_are_refused(tmp_path: Path, files: dict[str, str], error: str) -> None:
    """Gaps, doubles, odd names and empty files are errors, named."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if not files:
        assert read_migrations(tmp_path) == []
        with pytest.raises(MigrationError, match=error):
            migrate(None, directory=tmp_path)  # type: ignore[arg-type] - fails before it is used
        return
    with pytest.raises(MigrationError, match=error):
        read_migrations(tmp_path)


def test_a_database_name_is_a_name(tmp_path: Path) -> None:
    """It goes into statements, so nothing but a name is accepted."""
    with pytest.raises(MigrationError, match="not a database name"):
        migrate(None, database="a; DROP", directory=tmp_path)  # type: ignore[arg-type] - not used


def test_semicolons_in_text_do_not_split() -> None:
    """Only semicolons between statements end them; comments go."""
    text = "SELECT ';', \"a;b\", `c;d`; -- no; comment\n/* nor; this */ SELECT 'it''s', 1 / 2 - 3;"
    assert list(split_statements(text)) == [
        "SELECT ';', \"a;b\", `c;d`",
        "SELECT 'it''s', 1 / 2 - 3",
    ]
