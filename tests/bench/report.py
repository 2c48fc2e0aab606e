"""Results for people, for documents and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from tests.bench.result import Result

HEADINGS = ("figure", "reached", "target", "of the bare loop", "of other libraries", "peak memory")


def as_document(machine: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """Give the one JSON object."""
    return {"machine": dict(machine), "results": [asdict(result) for result in results]}


def table(results: Sequence[Result]) -> Table:
    """Give a table for the terminal."""
    made = Table("", *HEADINGS)
    for result in results:
        made.add_row(_mark(result), *_cells(result))
    return made


def markdown(machine: Mapping[str, Any], results: Sequence[Result], command: str) -> str:
    """Give the two tables of docs/performance.md: the machine, and the figures."""
    lines = [
        f"Command: `{command}`",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {value} |" for name, value in machine.items()),
        "",
        f"| {' | '.join(HEADINGS)} | |",
        "|---" * (len(HEADINGS) + 1) + "|",
        *(f"| {' | '.join(_cells(result))} | {_mark(result)} |" for result in results),
        "",
        "What else was measured:",
        "",
        *(f"- {result.name}: {_more(result)}" for result in results if not result.error),
    ]
    return "\n".join(lines)


def details(results: Sequence[Result]) -> list[str]:
    """Give a line for each figure with all else that was measured, or why there is none."""
    return [f"{result.name}: {result.error or _more(result)}" for result in results]


def _cells(result: Result) -> list[str]:
    if result.value is None:
        return [result.name, f"no figure: {result.error.splitlines()[0][:80]}", "", "", "", ""]
    target = ""
    if result.target is not None:
        sign = "at most" if result.at_most else "at least"
        target = f"{sign} {_number(result.target)}"
    limit = "" if result.limit_ratio is None else f"{result.limit_ratio:.2f}"
    if limit and result.limit_target is not None:
        limit += f" (at least {result.limit_target})"
    peers = ", ".join(f"{ratio:.1f} times {name}" for name, ratio in result.peer_ratios.items())
    memory = "" if result.rss_mb is None else f"{result.rss_mb:.0f} MB"
    return [result.name, f"{_number(result.value)} {result.unit}", target, limit, peers, memory]


def _mark(result: Result) -> str:
    return {True: "reached", False: "missed", None: ""}[result.reached()]


def _more(result: Result) -> str:
    runs = f"runs {', '.join(_number(run) for run in result.runs)}"
    more = (f"{name} {_shown(value)}" for name, value in result.detail.items())
    return "; ".join([runs, *more])


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    return _number(value) if isinstance(value, (int, float)) else str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 or value == int(value) else f"{value:,}"
