"""`make bench`: the product's figures beside bare loops and other libraries, in one run."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

from rich.console import Console

from tests.bench import (
    api_door,
    backlog,
    exactly_once,
    idle_latency,
    machine,
    outcomes_flow,
    report,
    route,
    segments,
    segments_live,
    sink_benches,
    timers_wheel,
)
from tests.bench.result import Measure, Plan, Result

BENCHES: Mapping[str, Measure] = {
    "route": route.measure,
    "route_single_events": route.measure_singles,
    "sink_apns": sink_benches.measure_apns,
    "sink_fcm": sink_benches.measure_fcm,
    "sink_webpush": sink_benches.measure_webpush,
    "outcomes": outcomes_flow.measure,
    "exactly_once": exactly_once.measure,
    "idle_latency_critical": idle_latency.measure,
    "backlog_rss": backlog.measure,
    "timers": timers_wheel.measure,
    "segments": segments.measure,
    "segments_live": segments_live.measure,
    "api": api_door.measure,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the arguments name; give 1 when a measurement failed, else 0.

    A target that is missed is a result, not a failure.
    """
    options = _arguments(argv)
    log = Console(stderr=True)
    described = machine.describe()
    log.print(", ".join(f"{name} {value}" for name, value in described.items()), highlight=False)
    if warning := machine.warning(described):
        log.print(f"warning: {warning}", style="yellow")
    plan = Plan(repeats=options.repeats, quick=options.quick)
    results = [result for name in options.only or BENCHES for result in _measured(name, plan, log)]
    if options.markdown:
        command = " ".join(["python -m tests.bench", *(sys.argv[1:] if argv is None else argv)])
        print(report.markdown(described, results, command))  # noqa: T201 - the program's answer
    else:
        out = Console(width=None if sys.stdout.isatty() else 160)
        out.print(report.table(results))
        for line in report.details(results):
            out.print(line, highlight=False, soft_wrap=True)
    if options.json:
        print(json.dumps(report.as_document(described, results)))  # noqa: T201 - as above
    return int(any(result.error for result in results))


def _measured(name: str, plan: Plan, log: Console) -> list[Result]:
    """Measure one; a failure is a result too, so that the others still run."""
    started = time.monotonic()
    log.print(f"{name} …", highlight=False)
    try:
        found = BENCHES[name](plan)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is reported and the rest goes on
        log.print(traceback.format_exc(), style="red", markup=False, highlight=False)
        found = [Result(name, None, "", error=f"{type(error).__name__}: {error}")]
    log.print(f"{name} took {time.monotonic() - started:.0f} s", highlight=False)
    return found


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, choices=range(1, 21), metavar="N",
                        help="measure so many times, give the median (default: 3)")  # fmt: skip
    parser.add_argument("--only", action="append", choices=list(BENCHES), metavar="NAME",
                        help=f"measure this one, repeatable: {', '.join(BENCHES)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small and short, for a first look")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--markdown", action="store_true", help="print the page's tables")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
