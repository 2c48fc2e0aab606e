"""What exactly-once costs: a copy flow in Kafka transactions, beside one at-least-once."""

import json
import sys
from itertools import repeat

from sandbox.processes import Child
from sandbox.stack import Stack
from schemas.stream import Record
from tests.bench.arrivals import Ends, read_since, watch
from tests.bench.copy_flow import Copy
from tests.bench.machine import peak_rss_mb
from tests.bench.result import BenchError, Plan, Result, middle, ratio
from tests.bench.stand import load, make_topics, settings_of, stand

EPOCH_MS = 50
RECORD_BYTES = 500
SOURCE = "bench.source"


def measure(plan: Plan) -> list[Result]:
    """Copy the same records both ways, in turns."""
    records = plan.pick(400_000, 150_000)
    rates: dict[bool, list[float]] = {True: [], False: []}
    rss_mb = 0.0
    with stand() as stack:
        make_topics(settings_of(stack), SOURCE)
        load(settings_of(stack), repeat(Record(SOURCE, None, b"x" * RECORD_BYTES), records))
        for turn in range(plan.repeats):
            # Who goes first changes, so that a slowly filling broker wrongs both alike.
            for once in (True, False) if turn % 2 else (False, True):
                rate, peak_mb = _copy(stack, records, turn, once=once)
                rates[once].append(rate)
                if once:
                    rss_mb = max(rss_mb, peak_mb)
    ratios = [ours / other for ours, other in zip(rates[True], rates[False], strict=True)]
    return [
        Result(
            "exactly_once",
            ratio(rates[True], rates[False]),
            "of at-least-once",
            target=0.9,
            rss_mb=rss_mb,
            runs=[round(one, 2) for one in ratios],
            detail={
                "exactly_once_per_s": middle(rates[True]),
                "at_least_once_per_s": middle(rates[False]),
                "epoch_ms": EPOCH_MS,
                "record_bytes": RECORD_BYTES,
                "records": records,
            },
        )
    ]


def _copy(stack: Stack, records: int, turn: int, *, once: bool) -> tuple[float, float]:
    """Copy everything in a process of its own; give records per second and peak memory."""
    settings = settings_of(stack)
    target = f"bench.{'once' if once else 'least'}.{turn}"
    make_topics(settings, target)
    copy = Copy(settings.kafka.client_options(), SOURCE, target, once, EPOCH_MS)
    child = Child(
        target,
        [sys.executable, "-m", "tests.bench.copy_flow", json.dumps(copy._asdict())],
        log=stack.directory / "logs" / f"{target}.log",
    )

    def failed() -> str:
        code = child.returncode()
        return stack.failed() if code is None else f"{target} ended, {code}: {child.tail()}"

    ends = Ends(settings, [target])
    child.start()
    try:
        growth = watch(ends.added, expected=records, alive=failed)
        peak_mb = peak_rss_mb(child.pid)
    finally:
        child.stop()
    copied = read_since(settings, ends).records
    if copied != records:
        raise BenchError(f"{copied} records were copied instead of {records}")
    return growth.rate(until=records), peak_mb
