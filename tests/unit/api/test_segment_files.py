"""User ids out of files: what is read, and what is said about lines that are none."""

from io import BytesIO

import pytest

from api.segment_files import MAX_LINE_BYTES, BadColumnError, Format, format_of, read_ids

FAULT = "user_id: use 1 to 128 characters without blanks"


def read(raw: bytes, kind: Format, column: str = "user_id") -> list[tuple[int, str, str]]:
    return [tuple(line) for line in read_ids(BytesIO(raw), format=kind, column=column)]  # type: ignore[misc]


def test_a_csv_gives_its_column() -> None:
    """By the header, with quotes, CRLF, a byte order mark and empty lines."""
    raw = b'\xef\xbb\xbfname,user_id\r\n"Doe, J",u1\r\n\r\nx,"u""2"\r\n'
    assert read(raw, "csv") == [(2, "u1", ""), (4, 'u"2', "")]


def test_one_column_needs_no_header() -> None:
    """The header is left out when there is one."""
    assert read(b"u1\nu2", "csv") == [(1, "u1", ""), (2, "u2", "")]
    assert read(b"user_id\nu1\n", "csv") == [(2, "u1", "")]


def test_a_header_without_the_column_is_refused() -> None:
    """And says which columns there are."""
    with pytest.raises(BadColumnError, match=r"no 'user_id' in the header.*--column: id, name"):
        read(b"id,name\n1,x\n", "csv")


def test_bad_lines_are_told_with_their_numbers() -> None:
    """And the others are read."""
    long = b"x" * (MAX_LINE_BYTES + 5)
    raw = b"u1\na b\n\xff\n" + b"y" * 129 + b"\n" + long + b"\nu2\n"
    assert read(raw, "csv") == [
        (1, "u1", ""),
        (2, "", FAULT),
        (3, "", "the line is not valid UTF-8"),
        (4, "", FAULT),
        (5, "", f"the line is longer than {MAX_LINE_BYTES} bytes"),
        (6, "u2", ""),
    ]


def test_ndjson_takes_objects_and_ids() -> None:
    """With the field that was named; numbers are no ids."""
    raw = b'{"user_id": "u1", "x": 1}\n"u2"\n\n{"id": "u3"}\n{"user_id": 7}\n{oops\n'
    assert read(raw, "ndjson") == [
        (1, "u1", ""),
        (2, "u2", ""),
        (4, "", "user_id: is missing, add it or name another with --column"),
        (5, "", "user_id: must be text in quotes"),
        (6, "", "the line is no JSON"),
    ]


def test_the_files_name_tells_its_format() -> None:
    """CSV when it does not."""
    from pathlib import Path  # noqa: PLC0415 - only here

    names = ["a.csv", "a.ndjson", "a.jsonl", "a"]
    assert [format_of(Path(n)) for n in names] == ["csv", "ndjson", "ndjson", "csv"]
    assert format_of(None) == "csv"
