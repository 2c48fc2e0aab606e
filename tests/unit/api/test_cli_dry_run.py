"""`clarion dry-run`: what it refuses before any store is asked."""

from pathlib import Path

import pytest

from api.cli import run
from tests.unit.operators.builders import event


@pytest.mark.parametrize(
    ("raw", "words", "said"),
    [
        (None, [], "No such file"),
        (b"{", [], "event.json: "),
        (event(prioritty="low"), [], "prioritty: is no field here"),
        (event(), ["--users-limit", "-1"], "--users-limit -1: give 0 for all"),
    ],
)
def test_wrong_input_is_named(
    raw: bytes | None,
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file, the field and the fix."""
    file = tmp_path / "event.json"
    if raw is not None:
        file.write_bytes(raw)
    assert run(["dry-run", str(file), *words]) == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err
