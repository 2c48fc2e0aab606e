import threading
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse import ClickHouseSettings, ClickHouseWriter, InsertError, connect
from sinks.clickhouse_migrations import migrate
from sinks.clickhouse_once import ExactlyOnceWriter
from tests.contract.clickhouse.outcome_log import TOPIC, record

ROWS, BATCH = 4000, 200
MONTH_MS = 1_793_500_000_000


def test_killed_while_inserting_the_rows_are_all_there_once(
    tmp_path: Path, facade_process: Any
) -> None:
    """ClickHouse is killed among inserts and started again: the replay completes it to the row."""
    log = [record(0, offset, occurred_at_ms=MONTH_MS) for offset in range(ROWS)]
    facade = facade_process(tmp_path)
    settings = ClickHouseSettings(port=facade.start())
    client = connect(settings, database="")
    migrate(client)

    def writer(port: int) -> ExactlyOnceWriter:
        there = ClickHouseSettings(port=port)
        return ExactlyOnceWriter(ClickHouseWriter(client_factory=lambda: connect(there)))

    under_way = threading.Event()

    def write_until_it_dies() -> None:
        once = writer(settings.port)
        once.assign(TOPIC, [0])
        for start in range(0, ROWS, BATCH):
            once.write(log[start : start + BATCH])
            if start >= 3 * BATCH:
                under_way.set()
        under_way.set()

    failed: list[Exception] = []

    def work() -> None:
        try:
            write_until_it_dies()
        except (InsertError, ClickHouseError) as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert under_way.wait(30)
    facade.kill()
    thread.join(30)

    port = facade.start()
    again = connect(ClickHouseSettings(port=port))
    there = again.query("SELECT count(), uniqExact(outcome_id) FROM outcomes").first_row
    assert there[0] == there[1]
    assert there[0] >= 4 * BATCH
    once = writer(port)
    once.assign(TOPIC, [0])
    written = sum(once.write(log[at : at + 333]) for at in range(0, ROWS, 333))
    assert written == ROWS - there[0]
    counted = "SELECT count(), uniqExact(outcome_id), max(kafka_offset) FROM outcomes"
    assert again.query(counted).first_row == (ROWS, ROWS, ROWS - 1)
    assert facade.stop() == 0


@pytest.mark.parametrize("partition", [0, 1])
def test_a_predecessors_insert_is_ended_when_it_takes_too_long(
    client: Any, connect_here: Any, partition: int
) -> None:
    """assign() ends a stuck insert into its partition, which then adds nothing; others go on."""
    client.command("CREATE TABLE gate (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.command("CREATE TABLE seen (id UInt8) ENGINE = MergeTree ORDER BY id")
    client.command(
        "CREATE MATERIALIZED VIEW gated TO seen AS "
        "SELECT sleepEachRow(0.05) AS id FROM outcomes WHERE kafka_partition = 1"
    )
    slow = ExactlyOnceWriter(ClickHouseWriter(client_factory=connect_here))
    slow.assign(TOPIC, [1])
    ended: list[str] = []

    def work() -> None:
        try:
            slow.write([record(1, offset, occurred_at_ms=MONTH_MS) for offset in range(40)])
            ended.append("written")
        except InsertError:
            ended.append("killed")

    thread = threading.Thread(target=work)
    next_owner = ExactlyOnceWriter(
        ClickHouseWriter(client_factory=connect_here), settle_timeout_s=0
    )
    thread.start()
    while not slow_insert_runs(client) and thread.is_alive():
        pass
    next_owner.assign(TOPIC, [partition])
    thread.join(30)
    assert ended == (["killed"] if partition == 1 else ["written"])


def slow_insert_runs(client: Any) -> bool:
    query = (
        "SELECT count() FROM system.processes "
        "WHERE startsWith(Settings['log_comment'], 'clarion-outcomes')"
    )
    return bool(client.query(query).first_row[0])
