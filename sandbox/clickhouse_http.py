"""One HTTP exchange of the facade: what ClickHouse's HTTP interface does, over the engine."""

import json
import tempfile
import uuid
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP as HTTP_POLICY
from http.server import BaseHTTPRequestHandler
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from sandbox.chdb_engine import Done, Engine, EngineError, Session
from sandbox.clickhouse_body import (
    BodyError,
    BodyTooLargeError,
    answer_encoding,
    compress,
    read_body,
)
from sandbox.clickhouse_errors import (
    BAD_ARGUMENTS,
    INCORRECT_DATA,
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    READONLY,
    SYNTAX_ERROR,
    error_text,
    http_status,
)
from sandbox.clickhouse_statement import DataInsert, can_stream, data_insert, output_format

HEAD_BYTES = 256 * 1024
"""An INSERT's own text must end within this; what follows goes to a file."""
BUFFER_BYTES = 4 * 1024 * 1024
"""A result up to this size is answered whole, with a true status and summary; more is streamed."""
_LINGER_S = 2.0
_LINGER_BYTES = 64 * 1024 * 1024
_EXCEPTION_TAG = "clarionsandbox00"
"""Marks an error inside a streamed answer; the server's is 16 random letters."""
_NOT_SETTINGS = frozenset(
    {
        *("query", "database", "default_format", "user", "password", "quota_key", "role"),
        *("session_id", "session_timeout", "session_check", "close_session", "query_id"),
        *("compress", "decompress", "buffer_size", "wait_end_of_query", "stacktrace"),
        *("client_protocol_version", "enable_http_compression"),
        *("http_write_exception_in_output_format", "send_progress_in_http_headers"),
        *("http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close"),
    }
)
"""URL parameters of the HTTP interface itself; all others are settings for the engine."""


class Request(NamedTuple):
    """One request. statement: the query's text, or its beginning when rest has more."""

    params: dict[str, str]
    session: Session
    statement: bytes
    rest: Iterator[bytes]
    read_only: bool


class Handler(BaseHTTPRequestHandler):
    """Answers /ping, / and /?query=... as ClickHouse's HTTP interface does."""

    protocol_version = "HTTP/1.1"
    server_version = "clarion-clickhouse"
    timeout = 300
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    engine: Engine
    max_body_bytes: int

    def do_GET(self) -> None:
        """Answer a ping, or a query that only reads."""
        if urlsplit(self.path).path in {"/ping", "/replicas_status"}:
            self._answer(200, b"Ok.\n", {})
        else:
            self._exchange(read_only=True)

    def do_HEAD(self) -> None:
        """Answer as GET would, without a body."""
        self._answer(200, b"", {})

    def do_POST(self) -> None:
        """Answer any statement."""
        self._exchange(read_only=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Stay silent: tests and the demo have better logs."""

    def _exchange(self, *, read_only: bool) -> None:
        self.query_id = ""
        try:
            self._serve(self._request(read_only=read_only))
        except EngineError as error:
            self._fail(error.code, error.message)
        except BodyTooLargeError as error:
            self._refuse(QUERY_IS_TOO_LARGE, str(error))
        except BodyError as error:
            self._refuse(INCORRECT_DATA, str(error))

    def _request(self, *, read_only: bool) -> Request:
        params = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        self.query_id = params.get("query_id") or str(uuid.uuid4())
        body = read_body(self.rfile, dict(self.headers.items()), max_bytes=self.max_body_bytes)
        if self.headers.get_content_type() == "multipart/form-data":
            params |= _form_fields(self.headers["Content-Type"], b"".join(body))
            body = iter(())
        head = bytearray(params.get("query", "").encode())
        head += b"\n" if head else b""
        for piece in body:
            head += piece
            if len(head) >= HEAD_BYTES:
                break
        settings = {
            name: value
            for name, value in params.items()
            if name not in _NOT_SETTINGS and not name.startswith("param_")
        }
        bound = {name[6:]: value for name, value in params.items() if name.startswith("param_")}
        database = params.get("database") or (self.headers.get("X-ClickHouse-Database") or "")
        return Request(params, Session(database, settings, bound), bytes(head), body, read_only)

    def _serve(self, request: Request) -> None:
        insert = data_insert(request.statement)
        if insert is not None:
            if request.read_only:
                raise EngineError(error_text(READONLY, "a GET request can only read"))
            self._answer_done(self._insert(insert, request), None, request)
            return
        statement = b"".join(chain([request.statement], request.rest)).decode(errors="replace")
        self._check(statement, read_only=request.read_only)
        fmt = output_format(
            statement.encode(), request.params.get("default_format") or "TabSeparated"
        )
        if fmt is not None and can_stream(statement.encode(), fmt):
            self._stream(statement, fmt, request)
        else:
            done = self.engine.run(statement, fmt=fmt or "TabSeparated", session=request.session)
            self._answer_done(done, fmt, request)

    def _check(self, statement: str, *, read_only: bool) -> None:
        if not statement.strip():
            raise EngineError(error_text(SYNTAX_ERROR, "Empty query"))
        count, reads = self.engine.classify(statement)
        if count > 1:
            raise EngineError(error_text(SYNTAX_ERROR, "Multi-statements are not allowed"))
        if read_only and not reads:
            raise EngineError(error_text(READONLY, "a GET request can only read"))

    def _insert(self, insert: DataInsert, request: Request) -> Done:
        """Spool the rows, then insert them as one: a client that dies midway inserts nothing."""
        with tempfile.NamedTemporaryFile(dir=self.engine.spool_dir) as spool:
            spool.write(request.statement[insert.data_at :])
            for piece in request.rest:
                spool.write(piece)
            spool.flush()
            return self.engine.insert_file(
                insert.before,
                insert.after,
                fmt=insert.data_format,
                path=Path(spool.name),
                session=request.session,
            )

    def _stream(self, statement: str, fmt: str, request: Request) -> None:
        """Answer a result of any size with bounded memory."""
        blocks = self.engine.stream(statement, fmt=fmt, session=request.session)
        held, size = [], 0
        for block in blocks:
            held.append(block)
            size += len(block)
            if size >= BUFFER_BYTES:
                break
        else:
            done = Done(b"".join(held), 0, 0, 0, 0, 0.0)
            self._answer_done(done, fmt, request)
            return
        self.send_response(200)
        for name, value in self._headers(fmt).items():
            self.send_header(name, value)
        self.send_header("X-ClickHouse-Exception-Tag", _EXCEPTION_TAG)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for block in chain(held, blocks):
                self._chunk(block)
        except EngineError as error:
            self._chunk(_exception_block(error.message))
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")

    def _answer_done(self, done: Done, fmt: str | None, request: Request) -> None:
        headers = self._headers(fmt) | {"X-ClickHouse-Summary": _summary(done)}
        encoding = ""
        if request.params.get("enable_http_compression") == "1":
            encoding = answer_encoding(self.headers.get("Accept-Encoding", ""))
        if encoding and done.body:
            headers["Content-Encoding"] = encoding
        self._answer(200, compress(done.body, encoding), headers)

    def _headers(self, fmt: str | None) -> dict[str, str]:
        headers = {
            "X-ClickHouse-Query-Id": self.query_id,
            "X-ClickHouse-Timezone": self.engine.timezone,
            "X-ClickHouse-Server-Display-Name": "clarion-sandbox",
        }
        return headers if fmt is None else headers | {"X-ClickHouse-Format": fmt}

    def _refuse(self, code: int, text: str) -> None:
        """Answer an error in the middle of a body."""
        self._fail(code, error_text(code, text))
        self.wfile.flush()
        self.connection.settimeout(_LINGER_S)
        left = _LINGER_BYTES  # a client hears the answer only once it could send what it had
        while left > 0 and (piece := self.rfile.read1(HEAD_BYTES)):
            left -= len(piece)

    def _fail(self, code: int, message: str) -> None:
        self.close_connection = True  # some of the body may be unread
        if "(version " not in message:
            message += f" (version {self.engine.version} (clarion sandbox))"
        headers = self._headers(None) | {"X-ClickHouse-Exception-Code": str(code)}
        self._answer(http_status(code), message.encode() + b"\n", headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """Read the fields of a multipart form. Raises EngineError for external tables (files)."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP_POLICY).parsebytes(head + body)
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None or not isinstance(name, str):
            text = "the sandbox takes no external tables"
            raise EngineError(error_text(NOT_IMPLEMENTED, text))
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            raise EngineError(error_text(BAD_ARGUMENTS, f"the form field {name} has no value"))
        fields[name] = payload.decode(errors="replace")
    return fields


def _summary(done: Done) -> str:
    numbers = {
        "read_rows": done.read_rows,
        "read_bytes": done.read_bytes,
        "written_rows": done.written_rows,
        "written_bytes": done.written_bytes,
        "elapsed_ns": int(done.elapsed_s * 1e9),
    }
    return json.dumps({name: str(value) for name, value in numbers.items()})


def _exception_block(message: str) -> bytes:
    """Frame an error inside a streamed answer as servers since 25.11 do."""
    text = message.encode()
    tag = _EXCEPTION_TAG.encode()
    return b"\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n" % (
        tag,
        text,
        len(text),
        tag,
    )


def busy_answer() -> bytes:
    """Give a whole HTTP answer that tells the client to come back later."""
    return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
