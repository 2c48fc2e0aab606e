"""docs/security.md, whose configurations these tests run."""

from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/security.md").read_text()
