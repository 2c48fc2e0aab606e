"""`make chaos`: injects faults into a whole Clarion and reports what was lost or doubled.

One line for each fault; the exit code is 1 when a promise was broken. SEED and KILLS choose the
schedule, SCALE makes all but the kill run smaller, EVENTS the kill run; --only picks suites.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.table import Table

from tests.chaos.fault import Fault
from tests.chaos.schedule import Plan

SUITES = ("kills", "outages", "providers", "isolation", "stopping", "fuzz", "timers")
Run = Callable[[Plan, Path], Iterator[Fault]]


def suite(name: str) -> Run:
    """Give a suite's run(plan, directory) -> faults."""
    found: Run = import_module(f"tests.chaos.suite_{name}").run
    return found


def main() -> int:
    """Run the suites asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--only", default=",".join(SUITES), help="suites, by commas")
    parser.add_argument("--keep", type=Path, help="a directory for logs and data, kept afterwards")
    given = parser.parse_args()
    console = Console(stderr=given.json, width=140)
    plan = Plan.of_environment()
    faults: list[Fault] = []
    for name in given.only.split(","):
        started = time.monotonic()
        console.print(f"[bold]{name}[/bold] (seed {plan.seed})")
        for fault in _guarded(name, plan, given.keep):
            faults.append(fault)
            console.print(f"  {line(fault)}", markup=False)
        console.print(f"  took {time.monotonic() - started:.0f} s", style="dim")
    if given.json:
        print(json.dumps({"faults": [fault.as_json() for fault in faults]}))  # noqa: T201 - the report
    else:
        console.print(table(faults))
    broken = [fault for fault in faults if not fault.is_kept]
    # The closing line that test runners print.
    console.print(f"{len(faults) - len(broken)} passed, {len(broken)} failed", highlight=False)
    return 1 if broken or not faults else 0


@contextmanager
def _directory(name: str, keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        (keep / name).mkdir(parents=True)
        yield keep / name
        return
    with tempfile.TemporaryDirectory(prefix="clarion-chaos-") as made:
        yield Path(made)


def _guarded(name: str, plan: Plan, keep: Path | None) -> Iterator[Fault]:
    """Run a suite; one that cannot go on is a broken promise, and the others still run."""
    with _directory(name, keep) as directory:
        try:
            yield from suite(name)(plan, directory)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is reported
            traceback.print_exc()
            yield Fault(f"{name}: did not end", problems=[f"{type(error).__name__}: {error}"[:500]])


def line(fault: Fault) -> str:
    """Write a fault as one line."""
    state = "kept" if fault.is_kept else "BROKEN"
    recovery = "" if fault.recovery_s is None else f", recovery {fault.recovery_s:.1f} s"
    told = "; ".join([*([fault.note] if fault.note else []), *fault.problems])
    return (
        f"{state}  {fault.name}: {fault.injected} injected, {fault.lost} lost, "
        f"{fault.duplicated} duplicated{recovery}. {told}"
    )


def table(faults: list[Fault]) -> Table:
    """Draw the report."""
    drawn = Table(title="Faults and what became of the messages")
    for name, justify in COLUMNS.items():
        drawn.add_column(name, justify=justify)
    for fault in faults:
        drawn.add_row(
            fault.name,
            str(fault.injected),
            str(fault.lost),
            str(fault.duplicated),
            "" if fault.recovery_s is None else f"{fault.recovery_s:.1f}",
            "; ".join([fault.note, *fault.problems]).strip("; "),
            style=None if fault.is_kept else "red",
        )
    return drawn


COLUMNS: Mapping[str, JustifyMethod] = {
    "fault": "left",
    "injected": "right",
    "lost": "right",
    "duplicated": "right",
    "recovery s": "right",
    "note": "left",
}

if __name__ == "__main__":
    sys.exit(main())
