"""The drawn flows."""

from pathlib import Path

from flows.diagrams import draw_all

DOCS = Path(__file__).parents[3] / "docs" / "flows"


def test_the_committed_diagrams_are_those_of_the_code(tmp_path: Path) -> None:
    """`make diagrams` would change nothing."""
    drawn = {path.name: path.read_text() for path in draw_all(tmp_path)}
    assert drawn == {path.name: path.read_text() for path in DOCS.glob("*.md")}
