import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.pipeline import Outcome
from sinks.clickhouse import ClickHouseSettings, ClickHouseWriter, InsertError, connect
from sinks.clickhouse_once import (
    ExactlyOnceWriter,
    NotAssignedError,
    OffsetsRestartedError,
    resume_points,
)
from sinks.clickhouse_views import find_drift, rebuild
from sinks.outcome_blocks import Block
from sinks.outcome_rows import BadRecordError, Record
from state.patience import FAIL_FAST, Patience
from tests.contract.clickhouse.outcome_log import MONTH_END_MS, TOPIC, record


def records(count: int, partitions: int = 3) -> list[Record]:
    return [record(i % partitions, i // partitions) for i in range(count)]


class CrashError(Exception):
    """The process dies here."""


class CrashingWriter(ClickHouseWriter):
    """Dies after so many blocks; after=True: when the last one is in, and nobody knows."""

    def __init__(self, factory: Callable[[], Client], *, blocks: int) -> None:
        super().__init__(client_factory=factory)
        self._left = blocks

    def insert_block(self, block: Block) -> None:
        if self._left == 0:
            raise CrashError
        self._left -= 1
        super().insert_block(block)


@pytest.fixture
def start(connect_here: Callable[[], Client], client: Client) -> Callable[..., ExactlyOnceWriter]:
    """Start a writer as a new process would: nothing known but what ClickHouse says."""
    assert client.database

    def start_writer(
        blocks: int | None = None, patience: Patience = FAIL_FAST
    ) -> ExactlyOnceWriter:
        inner = (
            ClickHouseWriter(client_factory=connect_here, patience=patience)
            if blocks is None
            else CrashingWriter(connect_here, blocks=blocks)
        )
        writer = ExactlyOnceWriter(inner)
        writer.assign(TOPIC, range(3))
        return writer

    return start_writer


def assert_exactly(client: Client, count: int) -> None:
    counted = client.query("SELECT count(), uniqExact(outcome_id) FROM outcomes").first_row
    assert counted == (count, count)
    assert find_drift(client) == []


def test_a_replayed_batch_adds_nothing(start: Any, client: Client) -> None:
    """Crash after the insert and before the offset commit: all is read again, none is doubled."""
    batch = records(300)
    assert start().write(batch) == 300
    assert start().write(batch) == 0
    assert_exactly(client, 300)


def test_a_crash_between_the_months_is_completed(start: Any, client: Client) -> None:
    """One month is in, the other is not: the replay adds just the other."""
    batch = records(300)
    with pytest.raises(CrashError):
        start(blocks=1).write(batch)
    there = client.query("SELECT count(), uniqExact(toYYYYMM(occurred_at)) FROM outcomes").first_row
    assert there[1] == 1
    assert start().write(batch) == 300 - there[0]
    assert_exactly(client, 300)


@pytest.mark.parametrize("seed", range(2))
def test_any_crashes_and_any_batch_boundaries(start: Any, client: Client, seed: int) -> None:
    """Crashes at random blocks, replays from any commit in other batches: to the row."""
    dice = random.Random(seed)  # noqa: S311 - not for secrets
    log, committed = records(400), 0
    while committed < len(log):
        writer, at = start(blocks=dice.randrange(1, 8)), committed
        try:
            while at < len(log):
                size = dice.randrange(1, 200)
                writer.write(log[at : at + size])
                at += size
                committed = at if dice.random() < 0.3 else committed
            committed = len(log)
        except CrashError:
            continue
    assert_exactly(client, 400)


def test_months_go_in_as_one_part_each(start: Any, client: Client) -> None:
    """3,000 rows of many slices, two months: two parts, so each month is atomic."""
    client.command("SYSTEM STOP MERGES outcomes")
    start().write(records(3000))
    client.command("SYSTEM START MERGES outcomes")
    parts = client.query(
        "SELECT partition, count(), sum(rows) FROM system.parts WHERE active "
        "AND table = 'outcomes' AND database = currentDatabase() "
        "GROUP BY partition ORDER BY partition"
    ).result_rows
    assert [row[:2] for row in parts] == [("202610", 1), ("202611", 1)]
    assert sum(row[2] for row in parts) == 3000


def test_all_fields_arrive_and_no_token_does(start: Any, client: Client) -> None:
    """Every field of Outcome is in its column; the device token only as its hash."""
    fields = {
        field.name: f"{field.name}-ü"
        for field in msgspec.structs.fields(Outcome)
        if field.type is str
    }
    numbers = {"attempt": 65535, "provider_status": 410, "latency_ms": 2**40, "sandbox": True}
    times = {"token_invalid_at_ms": 1_700_000_000_123, "created_at_ms": 1_700_000_000_456}
    start().write([record(2, 5, **fields, **numbers, **times)])
    row = client.query("SELECT * FROM outcomes").first_item
    for name, value in (fields | numbers).items():
        if name != "token":
            assert row[name] == value
    assert (row["status"], row["reason"], row["token_action"]) == ("sent", "accepted", "keep")
    assert (row["kafka_topic"], row["kafka_partition"], row["kafka_offset"]) == (TOPIC, 2, 5)
    assert client.query(
        "SELECT toUnixTimestamp64Milli(token_invalid_at), toUnixTimestamp64Milli(created_at), "
        "token_hash = lower(substring(hex(SHA256('token-ü')), 1, 32)) FROM outcomes"
    ).first_row == (*times.values(), 1)
    assert "token-ü" not in str(row)


def test_records_of_older_and_newer_releases_are_read(start: Any, client: Client) -> None:
    """Fewer fields take their defaults, more are ignored, an unknown status is kept."""
    whole = msgspec.msgpack.decode(record(0, 0)[3])
    short, long = whole[:6], [*whole, "from the future"]
    short[0], long[0], long[4] = "short", "long", "teleported"
    batch = [record(0, 0)] + [
        (TOPIC, 0, offset, msgspec.msgpack.encode(row)) for offset, row in ((1, short), (2, long))
    ]
    assert start().write(batch) == 3
    statuses = client.query("SELECT status FROM outcomes ORDER BY kafka_offset").result_rows
    assert [row[0] for row in statuses] == ["sent", "sent", "teleported"]


def test_a_bad_record_is_named_and_the_rest_goes_in(start: Any, client: Client) -> None:
    """write() refuses the batch and names the coordinates; prepare() sets the record apart."""
    batch = records(30)
    batch[7] = (TOPIC, batch[7][1], batch[7][2], b"\xc1")
    writer = start()
    with pytest.raises(BadRecordError, match=rf"{TOPIC}\[1\]@2: "):
        writer.write(batch)
    assert client.query("SELECT count() FROM outcomes").first_row == (0,)
    prepared = writer.prepare(batch)
    assert [bad[:3] for bad in prepared.bad] == [(TOPIC, 1, 2)]
    assert writer.insert(prepared) == 29
    assert_exactly(client, 29)


def test_a_lost_answer_is_repeated_without_doubling(
    client: Client, connect_here: Callable[[], Client]
) -> None:
    """The block went in and its answer was lost: the next attempt changes nothing."""

    class Deaf(ClickHouseWriter):
        """Hears of no first insert."""

        lost = 0

        @property
        def client(self) -> Any:
            inner, outer = super().client, self

            class Once:
                def raw_insert(self, *args: Any, **options: Any) -> None:
                    inner.raw_insert(*args, **options)
                    if outer.lost == 0:
                        outer.lost = 1
                        raise OperationalError("the connection broke before the answer came")

                def query(self, *args: Any, **options: Any) -> Any:
                    return inner.query(*args, **options)

            return Once()

    waits: list[float] = []
    deaf = Deaf(client_factory=connect_here, patience=Patience(sleep=waits.append))
    writer = ExactlyOnceWriter(deaf)
    writer.assign(TOPIC, [0])
    assert writer.write([record(0, offset, occurred_at_ms=MONTH_END_MS) for offset in range(50)])
    assert (deaf.lost, len(waits)) == (1, 1)
    assert_exactly(client, 50)


def test_a_failed_view_is_completed_by_the_next_attempt(start: Any, client: Client) -> None:
    """Rows were in when a view failed: the repeat gives the views theirs, and only theirs."""
    client.command("CREATE TABLE gate (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.command(
        "CREATE TABLE seen (id String) ENGINE = MergeTree ORDER BY id "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    client.command(
        "CREATE MATERIALIZED VIEW gated TO seen AS SELECT outcome_id AS id FROM outcomes "
        "WHERE NOT throwIf((SELECT count() FROM gate) = 0, 'no memory', toInt16(241)) "
        "SETTINGS allow_custom_error_code_in_throwif = 1"
    )
    opened = Patience(sleep=lambda _: client.command("INSERT INTO gate VALUES (1)"))
    writer = start(patience=opened)
    assert writer.write([record(0, i, occurred_at_ms=MONTH_END_MS) for i in range(40)]) == 40
    assert client.query("SELECT count() FROM seen").first_row == (40,)
    assert_exactly(client, 40)


def test_views_that_lack_a_block_are_found_and_rebuilt(start: Any, client: Client) -> None:
    """What a dying server can leave behind is seen, and mended from the rows."""
    start().write(records(300))
    client.command("ALTER TABLE delivery_minutes DROP PARTITION 202611")
    before = client.query("SELECT * FROM campaign_funnel").result_rows
    client.command("ALTER TABLE campaign_days DROP PARTITION 202610")
    drift = find_drift(client)
    assert [(each.table, each.month, each.found) for each in drift] == [
        ("delivery_minutes", 202611, 0),
        ("campaign_days", 202610, 0),
    ]
    for each in drift:
        rebuild(client, each)
    assert find_drift(client) == []
    assert client.query("SELECT * FROM campaign_funnel").result_rows == before


def test_a_refusal_ends_at_once(client: Client, settings: ClickHouseSettings) -> None:
    """Waiting would not help: it raises, naming the block, and the next process inserts it."""
    waits: list[float] = []
    elsewhere = msgspec.structs.replace(settings, database="default")  # without tables
    inner = ClickHouseWriter(
        client_factory=lambda: connect(elsewhere), patience=Patience(sleep=waits.append)
    )
    prepared = ExactlyOnceWriter(inner)
    prepared._owned = {(TOPIC, 0)}
    with pytest.raises(
        InsertError, match=rf"1 outcomes of 2026\d\d \({TOPIC}\[0\]@0-0\): .*code: 60"
    ):
        prepared.write([record(0, 0)])
    assert waits == []
    assert client.query("SELECT count() FROM outcomes").first_row == (0,)


def test_an_outage_is_waited_out_and_nothing_is_doubled(
    client: Client, connect_here: Callable[[], Client]
) -> None:
    """The server is away, full, then read-only: the rows go in afterwards, once."""
    troubles: list[Exception] = [
        OperationalError("Error executing HTTP request: connection refused"),
        DatabaseError("DB::Exception", code=252),
        DatabaseError("DB::Exception", code=164),
    ]

    def connect_with_trouble() -> Client:
        if troubles:
            raise troubles.pop(0)
        return connect_here()

    told: list[str] = []

    class Told:
        def began(self, store: str, why: str) -> None:
            told.append(f"{store} {why}")

        def goes_on(self, store: str, why: str) -> None:
            told.append(f"{store} {why}")

        def ended(self, store: str, *, answered: bool) -> None:
            told.append(f"{store} {answered}")

    patience = Patience(sleep=lambda _: None, watch=Told())
    writer = ExactlyOnceWriter(
        ClickHouseWriter(client_factory=connect_with_trouble, patience=patience)
    )
    writer.assign(TOPIC, [0])
    assert (
        writer.write([record(0, offset, occurred_at_ms=MONTH_END_MS) for offset in range(5)]) == 5
    )
    assert [line.split()[0] for line in told] == ["clickhouse"] * 4
    assert told[-1] == "clickhouse True"
    assert_exactly(client, 5)


def test_a_topic_made_again_is_noticed(start: Any, client: Client) -> None:
    """New records under old offsets stop the writer instead of being skipped."""
    times = {"occurred_at_ms": MONTH_END_MS}
    start().write([record(0, offset, **times) for offset in range(10)])
    reborn = [record(0, offset, outcome_id=f"new-{offset}", **times) for offset in range(10)]
    with pytest.raises(OffsetsRestartedError, match=r"outcomes\[0\]@9 .* made again"):
        start().write(reborn)
    assert_exactly(client, 10)


def test_an_erased_row_does_not_stop_the_replay(start: Any, client: Client) -> None:
    """A user's rows were deleted on request: the replay goes on and brings them not back."""
    batch = [record(0, i, occurred_at_ms=MONTH_END_MS, user_id=f"u{i}") for i in range(10)]
    start().write(batch)
    client.command("DELETE FROM outcomes WHERE user_id = 'u5' SETTINGS mutations_sync = 2")
    assert start().write(batch[:6]) == 0
    assert client.query("SELECT count() FROM outcomes").first_row == (9,)


def test_only_own_partitions_are_written(start: Any, client: Client) -> None:
    """After a revoke the writer refuses the partition; after a new assign it knows its point."""
    writer = start()
    writer.write([record(1, 0), record(1, 1)])
    writer.revoke(TOPIC, [1])
    with pytest.raises(NotAssignedError, match=r"outcomes\[1\]"):
        writer.write([record(0, 0), record(1, 2)])
    assert client.query("SELECT count() FROM outcomes").first_row == (2,)
    writer.assign(TOPIC, [1])
    assert writer.write([record(1, 1), record(1, 2)]) == 1


def test_assign_waits_for_inserts_of_the_predecessor(
    client: Client, connect_here: Callable[[], Client]
) -> None:
    """While an insert into a partition runs, its points are not asked for; then it is ended."""
    now = [0.0]
    asked: list[list[str]] = []

    class Watched(ExactlyOnceWriter):
        def _running(self, names: set[str]) -> list[str]:
            asked.append(sorted(names))
            return ["no-such-query"]

    def pass_time(seconds: float) -> None:
        now[0] += seconds * 100

    writer = Watched(
        ClickHouseWriter(client_factory=connect_here),
        settle_timeout_s=25,
        sleep=pass_time,
        clock=lambda: now[0],
    )
    writer.assign(TOPIC, [2])
    assert asked == [[f"{TOPIC}[2]"]] * 4
    assert writer.write([record(2, 0)]) == 1
    assert resume_points(client, TOPIC, [2]).popitem()[1] == 0


def test_resume_points_read_the_projection(start: Any, client: Client) -> None:
    """Asking reads the small projection, not the rows, and knows each month."""
    start().write(records(300))
    points = resume_points(client, TOPIC, [0, 2])
    assert {key[1:] for key in points} == {(p, m) for p in (0, 2) for m in (202610, 202611)}
    assert max(points.values()) == 99
    plan = client.query(
        "EXPLAIN projections = 1 SELECT kafka_partition, toYYYYMM(occurred_at) AS month, "
        "max(kafka_offset) FROM outcomes WHERE kafka_topic = 'outcomes' AND kafka_partition IN (0) "
        "GROUP BY kafka_partition, month"
    ).result_rows
    assert any("ReadFromMergeTree (resume_points)" in row[0] for row in plan)
