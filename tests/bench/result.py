"""What a measurement is: how often and how long it runs, and the figures it gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Plan:
    """How much to measure. repeats: the median of so many counts. quick: small and short."""

    repeats: int = 3
    quick: bool = False

    def pick(self, full: int, quick: int) -> int:
        """Give the amount for this plan."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Result:
    """One figure.

    target: what it should reach, None for a figure that is only reported. at_most: smaller is
    better. limit_ratio: over a bare loop with only the unavoidable I/O; limit_target: what that
    ratio should reach. peer_ratios: over other libraries, in the same run. rss_mb: resident memory
    of the process measured, at its peak. runs: the figure in each repeat. detail: what else was
    measured, by name with its unit in it. error: why there is no figure.
    """

    name: str
    value: float | None
    unit: str
    target: float | None = None
    at_most: bool = False
    limit_ratio: float | None = None
    limit_target: float | None = None
    peer_ratios: Mapping[str, float] = field(default_factory=dict)
    rss_mb: float | None = None
    runs: Sequence[float] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def reached(self) -> bool | None:
        """Tell whether every target of this figure is reached; None when there is none."""
        if self.error or self.value is None:
            return False
        checks = []
        if self.target is not None:
            checks.append(self.value <= self.target if self.at_most else self.value >= self.target)
        if self.limit_target is not None and self.limit_ratio is not None:
            checks.append(self.limit_ratio >= self.limit_target)
        return all(checks) if checks else None


Measure = Callable[[Plan], list[Result]]


class BenchError(RuntimeError):
    """A measurement could not be made; the message says why."""


def middle(values: Sequence[float], digits: int = 0) -> float:
    """Give the median, rounded."""
    return round(median(values), digits or None)


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """Give the median of the ratios of measurements that were made side by side."""
    return round(median(a / b for a, b in zip(ours, others, strict=True)), 2)
