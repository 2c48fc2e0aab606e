"""How fast outcomes get from Kafka records into ClickHouse, against a bare insert."""

import resource
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome
from sinks.clickhouse import INSERT_SETTINGS, ClickHouseSettings, ClickHouseWriter, connect
from sinks.clickhouse_migrations import migrate
from sinks.clickhouse_once import ExactlyOnceWriter
from sinks.outcome_blocks import COLUMNS, prepare
from sinks.outcome_rows import Record

ROOT = Path(__file__).parents[2]
BATCH_ROWS = 50_000
TOPIC = "outcomes"


def _log(rows: int) -> list[Record]:
    now_ms = int(time.time() * 1000)
    log = []
    for i in range(rows):
        outcome = Outcome(
            outcome_id=f"{i:08x}-1111-5111-8111-{i:012x}",
            occurred_at_ms=now_ms - i % 1000,
            tenant=f"tenant{i % 5}",
            message_id=f"{i // 3:08x}-2222-5222-8222-{i:012x}",
            status=Status.FAILED if i % 10 == 0 else Status.SENT,
            reason=Reason.TOKEN_UNREGISTERED if i % 10 == 0 else Reason.ACCEPTED,
            priority="low",
            user_id=f"user-{i * 7919 % 1_000_003}",
            device_id=f"device-{i:x}",
            delivery_id=f"{i:08x}-3333-5333-8333-{i:012x}",
            platform=("apns", "fcm", "webpush")[i % 3],
            category="marketing",
            type="promo",
            campaign_id=f"campaign-{i % 3}",
            attempt=1,
            provider_status=410 if i % 10 == 0 else 200,
            provider_id=f"projects/app/messages/{i:016x}",
            latency_ms=i % 2000,
            token=f"{i:064x}" if i % 10 == 0 else "",
            trace_id=f"{i:032x}",
            created_at_ms=now_ms - 1000,
        )
        log.append((TOPIC, i % 4, i // 4, msgspec.msgpack.encode(outcome)))
    return log


def run(rows: int) -> dict[str, Any]:
    """Measure through the facade in a child process.

    rows_per_s: ExactlyOnceWriter.write, batch after batch. overlapped_rows_per_s: the next batch is
    prepared while the last one is inserted. bare_rows_per_s: blocks that were encoded beforehand.
    ratio: rows_per_s over bare_rows_per_s. prepare_us_per_row: processor time of decode and encode.
    """
    command = [sys.executable, "-m", "sandbox.clickhouse"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        try:
            assert child.stdout is not None
            settings = ClickHouseSettings(port=int(child.stdout.readline().split()[1]))
            return _measure(settings, _log(rows))
        finally:
            child.terminate()


def _measure(settings: ClickHouseSettings, log: list[Record]) -> dict[str, Any]:
    client = connect(settings, database="")
    migrate(client)
    batches = [log[i : i + BATCH_ROWS] for i in range(0, len(log), BATCH_ROWS)]
    started = time.process_time()
    blocks = [block for batch in batches for block in prepare(batch, {}).blocks.values()]
    prepare_s = time.process_time() - started

    bare_s = 0.0
    for block in blocks:
        started = time.perf_counter()
        client.raw_insert(
            "outcomes", list(COLUMNS), bytes(block.native), settings=dict(INSERT_SETTINGS)
        )
        bare_s += time.perf_counter() - started
    once_s = _timed(client, lambda: _once(settings, batches))
    overlapped_s = _timed(client, lambda: _overlapped(settings, batches))
    counted = client.query("SELECT count(), uniqExact(outcome_id) FROM outcomes").first_row
    assert counted == (len(log), len(log)), counted
    return {
        "rows": len(log),
        "rows_per_s": round(len(log) / once_s),
        "overlapped_rows_per_s": round(len(log) / overlapped_s),
        "bare_rows_per_s": round(len(log) / bare_s),
        "ratio": round(bare_s / once_s, 2),
        "prepare_us_per_row": round(prepare_s / len(log) * 1e6, 2),
        "client_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _timed(client: Any, work: Any) -> float:
    for table in ("outcomes", "delivery_minutes", "campaign_days"):
        client.command(f"TRUNCATE TABLE {table} SYNC")
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _writer(settings: ClickHouseSettings) -> ExactlyOnceWriter:
    writer = ExactlyOnceWriter(ClickHouseWriter(client_factory=lambda: connect(settings)))
    writer.assign(TOPIC, range(4))
    return writer


def _once(settings: ClickHouseSettings, batches: list[list[Record]]) -> None:
    writer = _writer(settings)
    for batch in batches:
        writer.write(batch)


def _overlapped(settings: ClickHouseSettings, batches: list[list[Record]]) -> None:
    writer = _writer(settings)
    with ThreadPoolExecutor(1) as pool:
        last: Future[int] | None = None
        for batch in batches:
            prepared = writer.prepare(batch)
            if last is not None:
                last.result()
            last = pool.submit(writer.insert, prepared)
        if last is not None:
            last.result()


if __name__ == "__main__":
    print(run(200_000))  # noqa: T201 - the figures are the point
