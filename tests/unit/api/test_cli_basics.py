"""The command line: exit codes, one-line errors, and what it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from api.cli import run
from schemas.export import documents
from schemas.reference import configuration_page

ROOT = Path(__file__).parents[3]


def test_help_lists_the_groups_without_importing_them() -> None:
    """`--help` starts fast: neither pydantic nor the groups' own modules are loaded."""
    code = (
        "import sys; from api.cli import run; rc = run(['--help']);"
        "slow = {'cyclopts', 'pydantic', 'bytewax', 'confluent_kafka', 'api.cli_config'};"
        "heavy = slow & set(sys.modules);"
        "sys.exit(rc or (f'imported {heavy}' if heavy else 0))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "config" in done.stdout
    assert "schemas" in done.stdout


@pytest.mark.parametrize(
    "words", [["nope"], ["schemas", "export", "--nope"], ["config", "check", "a", "b"]]
)
def test_wrong_usage_is_one_line_and_exit_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage errors go to stderr and point to --help."""
    assert run(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("clarion: ")
    assert shown.err.count("\n") == 1


def test_config_check_explains_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fault is a line with file, path and remedy; no traceback."""
    (tmp_path / "t.yaml").write_text(
        "name: t\ncategories: {a: {}}\napps: {ios: {platform: fcm, project_id: my-app,"
        " service_account: {file: 5}}}",
        "utf-8",
    )
    assert run(["config", "check", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "clarion: the configuration has faults"
    assert lines[1] == f"{tmp_path}/t.yaml: apps.ios.service_account.file: must be a valid string"


def test_config_check_reads_secrets_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Structure can be checked where the secrets are not, as in CI; --secrets wants them."""
    (tmp_path / "t.yaml").write_text(
        "name: t\ncategories: {a: {}}\napps: {ios: {platform: fcm, project_id: my-app,"
        " service_account: {file: none.json}}}",
        "utf-8",
    )
    assert run(["config", "check", str(tmp_path)]) == 0
    assert "tenant t, 16 shards, apps: 1 fcm" in capsys.readouterr().out
    assert run(["config", "check", str(tmp_path), "--secrets"]) == 1
    assert "apps.ios.service_account.file: cannot read" in capsys.readouterr().err


def test_config_check_covers_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad variable fails the check too."""
    monkeypatch.setenv("CLARION_FLOW__EPOCH_MS", "1")
    assert run(["config", "check", str(ROOT / "deploy/tenants")]) == 1
    assert "CLARION_FLOW__EPOCH_MS: must be greater" in capsys.readouterr().err


def test_schemas_export_writes_then_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check fails before, and not after, the export."""
    where = ["--directory", str(tmp_path)]
    assert run(["schemas", "export", "--check", *where]) == 1
    assert "out of date" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(["schemas", "export", *where]) == 0
    assert (tmp_path / "v1/event.json").read_text("utf-8") == documents()["v1/event.json"]
    assert run(["schemas", "export", "--check", *where]) == 0


def test_schemas_ls_counts_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """Every published message is listed."""
    assert run(["schemas", "ls", "--directory", str(ROOT / "schemas")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(documents())
    assert not [line for line in lines if line.endswith(" 0 examples")]


def test_configuration_page_is_up_to_date() -> None:
    """docs/configuration.md is what the models say; run `clarion config reference`."""
    assert (ROOT / "docs/configuration.md").read_text("utf-8") == configuration_page()


def test_unforeseen_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even a defect shows no traceback unless CLARION_TRACEBACK is set."""
    (tmp_path / "v0").write_text("in the way", "utf-8")
    assert run(["schemas", "export", "--directory", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("clarion: ")
    assert shown.count("\n") == 1


def test_an_error_behind_an_error_is_named_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataflow's engine says which step failed; the reason is behind it."""

    def fail() -> None:
        raise RuntimeError("in step x") from ValueError("no right")

    monkeypatch.setattr("api.cli.build", fail)
    assert run(["flows", "run"]) == 1
    said = capsys.readouterr().err
    assert said == "clarion: ValueError: no right (then RuntimeError: in step x)\n"


def test_hooks_that_are_not_installed_are_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the place in the tenant's file."""
    tenant = {"name": "acme", "categories": {"news": {}}, "hooks": {"before_send": {"name": "no"}}}
    (tmp_path / "acme.yaml").write_text(json.dumps(tenant))
    assert run(["config", "check", str(tmp_path)]) == 0
    assert run(["config", "check", str(tmp_path), "--secrets"]) == 1
    assert "hooks.before_send.name: no installed package offers" in capsys.readouterr().err
