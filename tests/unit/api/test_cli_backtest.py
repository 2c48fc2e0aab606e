"""`clarion backtest`: what it refuses before any store is asked."""

from pathlib import Path

import pytest

from api.cli import run

GOOD = "name: t\ncategories: {a: {}}\n"


@pytest.mark.parametrize(
    ("policy", "words", "said"),
    [
        (GOOD, ["--from", "yesterday"], "--from: write 2h"),
        (GOOD, ["--from", ""], "--from: must not be empty"),
        (GOOD, ["--from", "1h", "--to", "2h"], "--to: must be later than --from"),
        (GOOD, ["--from", "2099-01-01", "--to", "2099-01-02"], "--from: lies ahead"),
        (GOOD, ["--from", "1h", "--limit", "0"], "--limit 0: give a number"),
        (None, ["--from", "1h"], "new.yaml"),
        ("name: t\ncategories: {a: {capz: 1}}\n", ["--from", "1h"], "categories.a.capz"),
        ("name: [", ["--from", "1h"], "new.yaml"),
    ],
)
def test_wrong_input_is_named(
    policy: str | None,
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The option or the place in the YAML, and the fix."""
    path = tmp_path / "new.yaml"
    if policy is not None:
        path.write_text(policy)
    assert run(["backtest", "--policy", str(path), *words]) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
