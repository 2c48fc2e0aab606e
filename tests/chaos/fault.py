"""One fault that was injected, and what became of the messages."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Fault:
    """A line of the report.

    injected: how often, or how much. lost, duplicated: messages, against what was promised for
    them. recovery_s: from the end of the fault until all was as before, None where that means
    nothing. problems: what did not hold; empty when the promise was kept.
    """

    name: str
    injected: int = 0
    lost: int = 0
    duplicated: int = 0
    recovery_s: float | None = None
    note: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Tell whether the promise held."""
        return not self.problems and not self.lost and not self.duplicated

    def check(self, holds: bool, problem: str) -> None:  # noqa: FBT001 - it reads as an assertion
        """Note a problem unless this holds."""
        if not holds:
            self.problems.append(problem)

    def as_json(self) -> dict[str, Any]:
        """Give the line as the JSON report has it."""
        return {**asdict(self), "kept": self.is_kept}
