"""The sinks' sends per second, each beside a bare pyreqwest loop and other libraries."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.bench.fresh import run_fresh
from tests.bench.result import Plan, Result, middle, ratio

LIMIT_RATIO = 0.7


class _Bench(NamedTuple):
    """A module's run(): for how many seconds, and which of its figures is what."""

    module: str
    seconds: float
    quick_s: float
    target: float
    ours: str
    bare: str
    peers: Mapping[str, str]
    cpu: str


APNS = _Bench(
    "sink_apns", 4.0, 1.6, 12_000, "sends_per_s", "bare_pyreqwest_per_s",
    {"aioapns": "aioapns_per_s", "httpx": "httpx_per_s"}, "cpu_us_per_send",
)  # fmt: skip
FCM = _Bench(
    "sink_fcm", 4.0, 1.5, 12_000, "sends_per_s", "bare_pyreqwest_per_s",
    {"firebase-admin send_each": "firebase_admin_send_each_per_s"}, "cpu_us_per_send",
)  # fmt: skip
WEBPUSH = _Bench(
    "sink_webpush", 12.0, 4.0, 2_500, "sink_per_s", "bare_pyreqwest_per_s",
    {"pywebpush": "pywebpush_sender_per_s"}, "sink_cpu_us",
)  # fmt: skip


def measure_apns(plan: Plan) -> list[Result]:
    """Beside aioapns and httpx with HTTP/2."""
    return [_measure(APNS, plan)]


def measure_fcm(plan: Plan) -> list[Result]:
    """Beside firebase-admin."""
    return [_measure(FCM, plan)]


def measure_webpush(plan: Plan) -> list[Result]:
    """Encryption included, beside pywebpush. Its bare loop encrypts nothing."""
    return [_measure(WEBPUSH, plan)]


def _measure(bench: _Bench, plan: Plan) -> Result:
    seconds = bench.quick_s if plan.quick else bench.seconds
    runs = [run_fresh(bench.module, seconds) for _ in range(plan.repeats)]

    def all_of(name: str) -> list[float]:
        return [float(run[name]) for run in runs]

    ours = all_of(bench.ours)
    cpu: Any = runs[-1][bench.cpu]
    return Result(
        bench.module,
        middle(ours),
        "sends/s",
        target=bench.target,
        limit_ratio=ratio(ours, all_of(bench.bare)),
        # What Web Push must encrypt is no overhead, so its ratio has no target.
        limit_target=None if bench is WEBPUSH else LIMIT_RATIO,
        peer_ratios={name: ratio(ours, all_of(key)) for name, key in bench.peers.items()},
        rss_mb=max(all_of("rss_mb")),
        runs=[round(rate) for rate in ours],
        detail={
            "bare_per_s": middle(all_of(bench.bare)),
            **{f"{name}_per_s": middle(all_of(key)) for name, key in bench.peers.items()},
            "cpu_us_per_send": cpu["ours"] if isinstance(cpu, dict) else cpu,
        },
    )
