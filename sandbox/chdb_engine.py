"""The real ClickHouse engine inside this process, one fresh session per request."""

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

_CODE = re.compile(r"Code: (\d+)\. ")
_SETTING = re.compile(r"^[A-Za-z_]\w*$")
UNKNOWN_EXCEPTION = 1002
"""ClickHouse's code for an error without one (src/Common/ErrorCodes.cpp)."""


class EngineError(Exception):
    """The engine refused or failed. code: ClickHouse's error code."""

    def __init__(self, message: str) -> None:
        start = message.find("Code: ")
        self.message = message[start:] if start > 0 else message
        found = _CODE.match(self.message)
        self.code = int(found.group(1)) if found else UNKNOWN_EXCEPTION
        if not found:
            self.message = f"Code: {UNKNOWN_EXCEPTION}. DB::Exception: {self.message}"
        super().__init__(self.message)


class Session(NamedTuple):
    """What one statement runs with. settings: by ClickHouse's names. params: bare names."""

    database: str = ""
    settings: Mapping[str, str] = {}
    params: Mapping[str, str] = {}


_PLAIN = Session()


class Done(NamedTuple):
    """What one statement gave. body: the encoded result."""

    body: bytes
    read_rows: int
    read_bytes: int
    written_rows: int
    written_bytes: int
    elapsed_s: float


class Engine:
    """chDB behind thread-safe calls.

    data_dir: where tables live; None keeps them in a temporary directory that close() removes.
    A directory belongs to one process at a time, and a process can open one directory at a time.
    max_running: statements at once; more wait for a place.

    Each call opens a handle of its own (0.3 ms), so databases, settings and cancellations
    never leak from one request into another. Handles run in parallel and release the GIL.
    """

    def __init__(self, *, data_dir: Path | None, max_running: int = 8) -> None:
        self._data_dir = data_dir
        self._places = threading.BoundedSemaphore(max_running)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._path = ""
        self._root: Any = None
        self.spool_dir = Path()
        self.version = ""
        self.timezone = ""

    def open(self) -> None:
        """Open the directory. Raises EngineError when another process owns it."""
        if self._data_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="clarion-clickhouse-")
            self._path = str(Path(self._temporary.name) / "data")
        else:
            self._path = str(self._data_dir.resolve())
        Path(self._path).mkdir(parents=True, exist_ok=True)
        try:
            self._root = _connect(self._path)
        except RuntimeError as error:
            raise EngineError(f"cannot open {self._path}: {error}") from error
        self.spool_dir = Path(self._path) / "clarion-spool"
        self.spool_dir.mkdir(exist_ok=True)
        for left_behind in self.spool_dir.iterdir():
            left_behind.unlink()
        about = self.run("SELECT version(), timezone()", fmt="TabSeparated")
        self.version, self.timezone = about.body.decode().strip().split("\t")

    def close(self) -> None:
        """Close the directory. Statements must have ended."""
        if self._root is not None:
            self._root.close()
            self._root = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def run(self, statement: str, *, fmt: str, session: Session = _PLAIN) -> Done:
        """Run one statement to its end. Raises EngineError."""
        with self._handle(session) as handle:
            return _done(handle.query(statement, fmt, params=dict(session.params)))

    def insert_file(
        self, before: str, after: str, *, fmt: str, path: Path, session: Session
    ) -> Done:
        """Insert a file's rows: the whole of it is there before the engine begins."""
        quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
        statement = f"{before} FROM INFILE '{quoted}' {after} FORMAT {fmt}"
        return self.run(statement, fmt="TabSeparated", session=session)

    def stream(self, statement: str, *, fmt: str, session: Session) -> Iterator[bytes]:
        """Run a SELECT and yield its blocks as they come. Raises EngineError, also midway."""
        with self._handle(session) as handle:
            stream = handle.send_query(statement, fmt, params=dict(session.params))
            try:
                while True:
                    block = handle.streaming_fetch_result(stream)
                    body: bytes = block.bytes() if block is not None else b""
                    if not body:
                        return
                    yield body
            finally:
                with suppress(RuntimeError):
                    handle.streaming_cancel_query(stream)

    def classify(self, statement: str) -> tuple[int, bool]:
        """Count the statements in the text and tell whether they only read. Never raises."""
        found = self._root.classify_query(statement)
        return found["statement_count"], found["query_class"].name != "MUTATING"

    @contextmanager
    def _handle(self, session: Session) -> Iterator[Any]:
        with self._places:
            try:
                handle = _connect(self._path)
                try:
                    _prepare(handle, session)
                    yield handle
                finally:
                    handle.close()
            except RuntimeError as error:
                raise EngineError(str(error)) from error


def _connect(path: str) -> Any:
    """Open a handle. The import is here because it loads the engine, which takes a second."""
    import chdb  # noqa: PLC0415 - see the docstring

    engine: Any = chdb._chdb  # noqa: SLF001 - chdb.connect wraps it and adds only conversions
    return engine.connect(path)


def _prepare(handle: Any, session: Session) -> None:
    if session.database:
        name = session.database.replace("\\", "\\\\").replace("`", "\\`")
        handle.query(f"USE `{name}`", "TabSeparated")
    if session.settings:
        handle.query(f"SET {_assignments(session.settings)}", "TabSeparated")


def _assignments(settings: Mapping[str, str]) -> str:
    parts = []
    for name, value in settings.items():
        if not _SETTING.match(name):
            raise EngineError(f"Code: 115. DB::Exception: Unknown setting {name!r}")
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        parts.append(f"{name} = '{quoted}'")
    return ", ".join(parts)


def _done(result: Any) -> Done:
    return Done(
        body=result.bytes() or b"",
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        elapsed_s=result.elapsed(),
    )
