"""Ten million pending timers on disk: memory, rate and lateness, and kills in the middle."""

from collections.abc import Iterator
from pathlib import Path

from schemas.settings import load_settings
from tests.bench.timers_load import Load
from tests.bench.timers_run import Figures, measure_wheel
from tests.chaos.fault import Fault
from tests.chaos.schedule import Plan
from tests.servers.apache_kafka import ApacheKafka

PENDING = 10_000_000
PER_S = 10_000
SECONDS = 30
KILLS = 2
MOST_MB = 300
MOST_LATE_MS = 1_000
FULL_SHARE = 0.98
"""Of the rate asked for: the first and the last second are not whole."""


def run(plan: Plan, directory: Path) -> Iterator[Fault]:
    """Fire at full rate without a fault first, then with kills, on the same backlog."""
    kafka = ApacheKafka(directory / "kafka")
    settings = load_settings(kafka={"bootstrap": kafka.start()})
    try:
        calm = Load(plan.sized(PENDING), PER_S, SECONDS)
        yield _report(calm, measure_wheel(settings, directory, calm))
        killed = Load(0, PER_S, SECONDS, kills=KILLS)
        yield _report(killed, measure_wheel(settings, directory, killed))
    finally:
        kafka.stop()


def _report(load: Load, found: Figures) -> Fault:
    late_ms = found.late_ms["p99"]
    fault = Fault(
        f"timers: {load.kills} kills" if load.kills else f"timers: {load.pending:,} pending",
        load.kills or load.firing,
        found.lost,
        found.twice + found.early,
        max(found.back_s, default=None),
        f"{found.fired_per_s:,} fired/s, p99 {late_ms} ms late, {found.rss_mb:.0f} MB",
    )
    fault.check(found.rss_mb < MOST_MB, f"{found.rss_mb:.0f} MB")
    if not load.kills:
        fault.check(found.fired_per_s >= FULL_SHARE * PER_S, f"{found.fired_per_s} fired/s")
        fault.check(late_ms < MOST_LATE_MS, f"p99 {late_ms} ms late")
    return fault
