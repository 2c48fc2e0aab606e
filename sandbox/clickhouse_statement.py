"""What the facade must know of a statement before the engine sees it: no parsing beyond that."""

import re
from typing import NamedTuple

_TOKEN = re.compile(
    rb"""\s+|--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|\w+|.""",
    re.DOTALL,
)
_TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:SETTINGS\b[^;]*)?[;\s]*$", re.IGNORECASE)
_RESULT_WORDS = frozenset(
    {b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN", b"CHECK", b"FROM"}
    | {b"VALUES", b"KILL", b"("}
)
_STREAM_WORDS = frozenset({b"SELECT", b"WITH", b"FROM"})
_STREAM_FORMATS = frozenset({"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"})


class DataInsert(NamedTuple):
    """An INSERT whose rows follow as data.

    before: the statement up to where FROM INFILE may stand. after: its SETTINGS, if any.
    data_format: the input format. data_at: where the data begins, in bytes.
    """

    before: str
    after: str
    data_format: str
    data_at: int


def first_word(statement: bytes) -> bytes:
    """Give the statement's first word in capitals, comments skipped; empty when there is none."""
    for match in _TOKEN.finditer(statement):
        token = match.group()
        if not token.isspace() and not token.startswith((b"--", b"/*")):
            return token.upper()
    return b""


def data_insert(statement: bytes) -> DataInsert | None:
    """Split an INSERT that carries its rows; None for any other statement.

    statement: its beginning, with everything before the data and perhaps some of the data.
    """
    if first_word(statement) != b"INSERT":
        return None
    depth, settings_at = 0, -1
    tokens = _TOKEN.finditer(statement)
    for match in tokens:
        token = match.group()
        word = token.upper()
        depth += (token == b"(") - (token == b")")
        if depth or token.isspace():
            continue
        if word in (b"SELECT", b"WITH", b"INFILE"):
            return None
        if word == b"SETTINGS":
            settings_at = match.start()
        elif word == b"VALUES":
            return _split(statement, settings_at, match.start(), "Values", match.end())
        elif word == b"FORMAT":
            name = next((m for m in tokens if not m.group().isspace()), None)
            if name is None:
                return None
            gap = re.compile(rb"[ \t]*;?[ \t]*\r?\n?").match(statement, name.end())
            data_at = gap.end() if gap else name.end()
            return _split(statement, settings_at, match.start(), name.group().decode(), data_at)
    return None


def _split(statement: bytes, settings_at: int, tail_at: int, fmt: str, data_at: int) -> DataInsert:
    middle = settings_at if settings_at >= 0 else tail_at
    before = statement[:middle].decode(errors="replace")
    after = statement[middle:tail_at].decode(errors="replace")
    return DataInsert(before, after, fmt, data_at)


def output_format(statement: bytes, default_format: str) -> str | None:
    """Name the format in which the statement's result comes; None when it has no result."""
    if first_word(statement) not in _RESULT_WORDS:
        return None
    match = _TRAILING_FORMAT.search(statement)
    return match.group(1).decode() if match else default_format


def can_stream(statement: bytes, fmt: str) -> bool:
    """Tell whether the engine may hand the result out block by block.

    It encodes each block on its own, so only formats without a head and a foot qualify.
    """
    return fmt in _STREAM_FORMATS and first_word(statement) in _STREAM_WORDS
