"""User ids out of CSV and NDJSON, one line at a time."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import msgspec

from schemas.fields import ID_PATTERN

Format = Literal["csv", "ndjson"]
MAX_LINE_BYTES = 65_536
MAX_ID_CHARS = 128
_ID = re.compile(ID_PATTERN)
_decode = msgspec.json.Decoder().decode


class BadColumnError(ValueError):
    """The file has no such column; the message says which there are."""


class Line(NamedTuple):
    """What a line holds: a user id, or what is wrong with it. number: from 1."""

    number: int
    user_id: str
    fault: str = ""


def format_of(path: Path | None) -> Format:
    """Tell the format by the file's name; CSV when it does not tell."""
    is_json = path is not None and path.suffix in {".ndjson", ".jsonl", ".json"}
    return "ndjson" if is_json else "csv"


def read_ids(
    file: BinaryIO,
    *,
    format: Format,  # noqa: A002 - the option's name
    column: str,
    option: str = "--column",
) -> Iterator[Line]:
    """Give the ids of a file. Memory: one line, at most MAX_LINE_BYTES of it.

    csv: a header that has the column; a file of one column needs none. ndjson: a line is an object
    with the field, or an id in quotes. Empty lines are skipped. option: what faults call the choice
    of the column. Raises BadColumnError.
    """
    lines = _rows(file, column, option) if format == "csv" else _objects(file, column, option)
    for number, found in lines:
        if isinstance(found, Exception):
            yield Line(number, "", str(found))
        elif len(found) > MAX_ID_CHARS or not _ID.match(found):
            yield Line(number, "", f"{column}: use 1 to {MAX_ID_CHARS} characters without blanks")
        else:
            yield Line(number, found)


Found = tuple[int, str | ValueError]


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | ValueError]]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES):
        number += 1
        if not raw.endswith(b"\n") and len(raw) == MAX_LINE_BYTES:
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, ValueError(f"the line is longer than {MAX_LINE_BYTES} bytes")
            continue
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError:
            yield number, ValueError("the line is not valid UTF-8")


def _objects(file: BinaryIO, column: str, option: str) -> Iterator[Found]:
    for number, line in _lines(file):
        if isinstance(line, str) and not line.strip():
            continue
        if isinstance(line, ValueError):
            yield number, line
        else:
            yield number, _from_json(line, column, option)


def _from_json(line: str, column: str, option: str) -> str | ValueError:
    try:
        found = _decode(line)
    except (msgspec.DecodeError, RecursionError):
        return ValueError("the line is no JSON")
    if isinstance(found, dict):
        if column not in found:
            return ValueError(f"{column}: is missing, add it or name another with {option}")
        found = found[column]
    if not isinstance(found, str):
        return ValueError(f"{column}: must be text in quotes")
    return found


def _rows(file: BinaryIO, column: str, option: str) -> Iterator[Found]:
    at = -1
    for number, line in _lines(file):
        if isinstance(line, ValueError):
            yield number, line
            continue
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            yield number, ValueError(f"the line is no CSV: {error}")
            continue
        if at < 0:
            names = [cell.strip() for cell in cells]
            at = names.index(column) if column in names else 0
            if column in names:
                continue
            if len(names) > 1:
                raise BadColumnError(
                    f"column: there is no {column!r} in the header, name one with {option}:"
                    f" {', '.join(names)[:200]}"
                )
        if at >= len(cells):
            yield number, ValueError(f"{column}: the line has {len(cells)} columns only")
        else:
            yield number, cells[at].strip()
