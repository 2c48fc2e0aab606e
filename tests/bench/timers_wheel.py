"""The timer wheel: how many fire a second, how late, and what it holds in memory.

`make bench ARGS="--only timers"` measures on the embedded broker, which keeps all in memory itself.
With ten million timers on a real Kafka, in half an hour:
`python -m tests.bench.timers_wheel --kafka --pending 10000000 --kills 2`
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from sandbox.broker import EmbeddedBroker
from schemas.settings import load_settings
from tests.bench.result import BenchError, Plan, Result, middle
from tests.bench.timers_load import Load
from tests.bench.timers_run import Figures, measure_wheel
from tests.servers.apache_kafka import ApacheKafka

PER_S = 10_000
NAME = "timers"


def measure(plan: Plan) -> list[Result]:
    """Let timers come due at a steady rate, beside many that stay where they are."""
    load = Load(pending=plan.pick(300_000, 50_000), per_s=PER_S, seconds=plan.pick(20, 10), kills=0)
    runs = [_embedded(load) for _ in range(plan.repeats)]
    if wrong := [one for one in runs if not one.is_exact()]:
        raise BenchError(f"lost, fired twice or early: {wrong[0]}")
    late = [one.late_ms["p99"] for one in runs]
    fired = [one.fired_per_s for one in runs]
    rss_mb = [one.rss_mb for one in runs]
    detail = {
        "pending": load.pending,
        "value_bytes": load.value_bytes,
        "cpu_us_per_timer": middle([one.cpu_us_per_timer for one in runs], 1),
    }
    return [
        Result(
            "timers_fired",
            middle(fired),
            "timers/s",
            # What comes due is 10,000 a second: the clock, not the process, sets the rate.
            target=PER_S * 0.95,
            rss_mb=max(rss_mb),
            runs=fired,
            detail=detail,
        ),
        Result(
            "timers_late_p99",
            middle(late),
            "ms",
            target=1_000,
            at_most=True,
            rss_mb=max(rss_mb),
            runs=late,
        ),
        Result("timers_rss", middle(rss_mb, 1), "MB", target=300, at_most=True, runs=rss_mb),
    ]


def _embedded(load: Load) -> Figures:
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as name:
        broker = EmbeddedBroker(Path(name) / "kafka")
        try:
            settings = load_settings(kafka={"bootstrap": broker.start(), "instance": "timers-0"})
            return measure_wheel(settings, Path(name), load)
        finally:
            broker.stop()


def main() -> None:
    """Measure once, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.timers_wheel", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bootstrap", help="a broker that is there, for this only")
    where.add_argument("--kafka", action="store_true", help="start an Apache Kafka for it")
    parser.add_argument("--pending", type=int, default=10_000_000)
    parser.add_argument("--per-s", type=int, default=PER_S)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--value-bytes", type=int, default=700)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--ahead-s", type=int, default=0)
    parser.add_argument("--is-cold", action="store_true")
    given = vars(parser.parse_args())
    bootstrap, starts_kafka = given.pop("bootstrap"), given.pop("kafka")
    load, log = Load(**given), Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as name:
        kafka = ApacheKafka(Path(name) / "kafka") if starts_kafka else None
        try:
            settings = load_settings(
                kafka={
                    "bootstrap": kafka.start() if kafka is not None else bootstrap,
                    "instance": "timers-0",
                }
            )
            figures = measure_wheel(settings, Path(name), load, say=log.print)
            print(json.dumps(asdict(load) | asdict(figures)))  # noqa: T201 - the answer
        finally:
            if kafka is not None:
                kafka.stop()


if __name__ == "__main__":
    main()
