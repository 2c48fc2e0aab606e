"""outcomes: rows per second from Kafka into ClickHouse through the real flow process."""

import time

from clickhouse_connect.driver.client import Client

from flows.compose_stores import clickhouse_of
from sandbox.stack import FlowSpec
from schemas.pipeline import Priority
from schemas.settings import Settings
from schemas.stream import Record
from schemas.topics import OUTCOMES
from sinks.clickhouse import INSERT_SETTINGS, connect
from sinks.outcome_blocks import COLUMNS, prepare
from tests.bench.arrivals import watch
from tests.bench.machine import cpu_s, peak_rss_mb
from tests.bench.outcomes_insert import _log
from tests.bench.result import BenchError, Plan, Result, middle, ratio
from tests.bench.stand import load, running, settings_of, stand

INSERT_ROWS = 50_000
OUTCOMES_FLOW = FlowSpec("outcomes", None, tuple(Priority))


def measure(plan: Plan) -> list[Result]:
    """Preload outcomes; start the flow and watch the table grow. Beside it, bare inserts."""
    rows = plan.pick(500_000, 150_000)
    values = [value for _, _, _, value in _log(rows)]
    rates, bare_rates, cpu_us, rss_mb = list[float](), list[float](), list[float](), 0.0
    with stand() as stack:
        settings = settings_of(stack)
        client = connect(clickhouse_of(settings))
        for turn in range(plan.repeats):
            load(settings, (Record(OUTCOMES, None, value) for value in values))
            before = _count(client, OUTCOMES)
            with running(stack, OUTCOMES_FLOW) as (child,):
                used_s = cpu_s(child.pid)
                growth = watch(
                    lambda: _count(client, OUTCOMES) - before,  # noqa: B023 - called in this turn
                    expected=rows,
                    alive=stack.failed,
                )
                cpu_us.append((cpu_s(child.pid) - used_s) / rows * 1e6)
                rss_mb = max(rss_mb, peak_rss_mb(child.pid))
            if growth.last != rows:
                raise BenchError(f"{growth.last} rows instead of {rows}")
            rates.append(growth.rate())
            bare_rates.append(_bare(settings, values, turn))
        client.close()
    return [
        Result(
            "outcomes",
            middle(rates),
            "rows/s",
            target=100_000,
            limit_ratio=ratio(rates, bare_rates),
            rss_mb=rss_mb,
            runs=[round(rate) for rate in rates],
            detail={
                "rows": rows,
                "bare_per_s": middle(bare_rates),
                "cpu_us_per_row": middle(cpu_us, 1),
            },
        )
    ]


def _count(client: Client, topic: str) -> int:
    answer = client.query(
        "SELECT count() FROM outcomes WHERE kafka_topic = {topic:String}",
        parameters={"topic": topic},
    )
    return int(answer.result_rows[0][0])


def _bare(settings: Settings, values: list[bytes], turn: int) -> float:
    """Insert blocks that were encoded beforehand, with coordinates of their own."""
    start = turn * len(values)
    log = [("bench", 0, start + at, value) for at, value in enumerate(values)]
    blocks = [
        block
        for at in range(0, len(log), INSERT_ROWS)
        for block in prepare(log[at : at + INSERT_ROWS], {}).blocks.values()
    ]
    client = connect(clickhouse_of(settings))
    try:
        started = time.perf_counter()
        for block in blocks:
            client.raw_insert(
                "outcomes",
                list(COLUMNS),
                bytes(block.native),
                settings=dict(INSERT_SETTINGS),
                fmt="Native",
            )
        return len(values) / (time.perf_counter() - started)
    finally:
        client.close()
