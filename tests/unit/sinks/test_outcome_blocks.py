from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome
from sinks.outcome_blocks import COLUMNS, month_of, prepare
from sinks.outcome_rows import FIELD_NAMES, SLICE_ROWS, Record, token_hash

NOW_MS = 1_795_000_000_000


def value(**fields: Any) -> bytes:
    base: dict[str, Any] = {
        "outcome_id": "o",
        "occurred_at_ms": NOW_MS,
        "tenant": "acme",
        "message_id": "m",
        "status": Status.SENT,
        "reason": Reason.ACCEPTED,
    }
    return msgspec.msgpack.encode(Outcome(**(base | fields)))


def log(count: int) -> list[Record]:
    return [("outcomes", 0, offset, value(outcome_id=f"o{offset}")) for offset in range(count)]


def test_every_field_of_an_outcome_has_its_column() -> None:
    """Columns follow the struct's fields, so a new field fails here until it has a column."""
    renamed = {"token": "token_hash"}
    expected = [renamed.get(name, name) for name in FIELD_NAMES]
    expected = [name.removesuffix("_ms") if name.endswith("_at_ms") else name for name in expected]
    assert list(COLUMNS) == [*expected, "kafka_topic", "kafka_partition", "kafka_offset"]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xc1",
        b"\x90",
        msgspec.msgpack.encode({"a": 1}),
        value() * 2,
        value()[:-1],
        value(attempt=65536),
        value(latency_ms=2**63),
        value(occurred_at_ms=-1),
        value(occurred_at_ms=NOW_MS * 1000),
    ],
    ids=["empty", "no code", "no fields", "map", "two", "cut", "attempt", "latency", "past", "µs"],
)
def test_what_is_no_outcome_is_set_apart(bad: bytes) -> None:
    """Only the bad record is named, with its coordinates; its neighbours are kept."""
    records = log(SLICE_ROWS + 10)
    records[5] = ("outcomes", 3, 77, bad)
    prepared = prepare(records, {})
    assert [each[:3] for each in prepared.bad] == [("outcomes", 3, 77)]
    assert prepared.bad[0].why
    assert prepared.rows == SLICE_ROWS + 9


def test_rows_at_or_below_their_own_point_are_left_out() -> None:
    """A point counts for its topic, partition and month, and for no other."""
    month = month_of(NOW_MS)
    assert prepare(log(20), {("outcomes", 0, month): 11}).rows == 8
    assert prepare(log(20), {("outcomes", 0, month - 1): 11}).rows == 20
    assert prepare(log(20), {("outcomes", 1, month): 11, ("other", 0, month): 11}).rows == 20


def test_the_token_names_the_rows() -> None:
    """The same rows give the same token, any other rows another."""

    def token(records: list[Record]) -> str:
        return next(iter(prepare(records, {}).blocks.values())).token

    assert token(log(1000)) == token(log(1000))
    assert len({token(log(1000)), token(log(999)), token(log(1000)[1:])}) == 3


def test_ends_span_each_partition_over_all_slices() -> None:
    """First and last offset are the batch's, however it was sliced."""
    records = [("outcomes", i % 2, i // 2, value(outcome_id=f"o{i}")) for i in range(1500)]
    block = prepare(records, {}).blocks[month_of(NOW_MS)]
    assert block.ends == {("outcomes", 0): (0, 749), ("outcomes", 1): (0, 749)}
    assert block.rows == 1500


@pytest.mark.parametrize("year", [1970, 2024, 2026, 2099])
def test_months_end_where_utc_ends_them(year: int) -> None:
    """The last millisecond of a month belongs to it, the next to the next."""
    for month in range(1, 13):
        at = int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)
        assert month_of(at) == year * 100 + month
        if at:
            assert month_of(at - 1) == (
                year * 100 + month - 1 if month > 1 else (year - 1) * 100 + 12
            )


def test_a_token_is_only_known_by_its_hash() -> None:
    """Equal tokens meet, different ones do not, and none stays none."""
    assert token_hash("") == ""
    assert token_hash("abc") == "ba7816bf8f01cfea414140de5dae2223"


def test_text_that_is_no_utf8_is_a_bad_record() -> None:
    """Msgspec raises Python's own error for it."""
    broken = value().replace(b"\xa4acme", b"\xa4a\xff\xfee")
    prepared = prepare([("outcomes", 0, 0, broken), ("outcomes", 0, 1, value())], {})
    assert [(bad.offset, bad.why) for bad in prepared.bad] == [(0, "a text is not valid UTF-8")]
    assert prepared.rows == 1


def test_two_in_one_beside_none_are_two_bad_records() -> None:
    """Their number is right, but the rows would have each other's places."""
    records = [("outcomes", 0, 0, value() + value()), ("outcomes", 0, 1, b"")]
    assert [bad.offset for bad in prepare(records, {}).bad] == [0, 1]
