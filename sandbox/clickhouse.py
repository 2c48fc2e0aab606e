"""ClickHouse without a server: the real engine (chDB) behind its HTTP interface.

clickhouse-connect, curl and Grafana speak to it as to a server. What differs:
users, passwords, roles and grants do not exist: any credentials are accepted, so it binds to
127.0.0.1 and is for development, demos and tests only. Sessions do not exist: a session_id is
ignored, and so temporary tables and SET end with their request. The server's compressed block
protocol (compress=1), external tables and binary data for INSERT ... SELECT FROM input() are not
offered. A streamed answer (over 4 MiB) carries no summary.
"""

import argparse
import signal
import socket
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox.chdb_engine import Engine, EngineError
from sandbox.child import die_with_parent
from sandbox.clickhouse_http import Handler, busy_answer

_STOP_TIMEOUT_S = 10.0


class ClickHouseFacade:
    """ClickHouse's HTTP interface over the embedded engine.

    data_dir: where tables live, owned by one process at a time; None for a temporary directory.
    max_body_bytes: largest request body, decompressed; more is refused with 413.
    max_connections: more are answered 503. max_running: statements at once; others wait.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        max_body_bytes: int = 1 << 30,
        max_connections: int = 64,
        max_running: int = 8,
    ) -> None:
        self._engine = Engine(data_dir=data_dir, max_running=max_running)
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Open the directory and listen; port 0 picks a free one. Returns the port.

        Raises EngineError when another process owns the directory, OSError when the port is taken.
        """
        self._engine.open()
        handler = type(
            "BoundHandler",
            (Handler,),
            {"engine": self._engine, "max_body_bytes": self._max_body_bytes},
        )
        try:
            self._server = _Server((host, port), handler, max_connections=self._max_connections)
        except OSError:
            self._engine.close()
            raise
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="clickhouse", daemon=True
        )
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening, end open connections, and close the directory; at most 10 s each."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join(_STOP_TIMEOUT_S)
        self._server.server_close()
        self._server.end_connections(_STOP_TIMEOUT_S)
        self._engine.close()
        self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Any, *, max_connections: int) -> None:
        super().__init__(address, handler)
        self._max_connections = max_connections
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or a 503 when there are too many."""
        with self._lock:
            full = len(self._open) >= self._max_connections
            if not full:
                thread = threading.Thread(
                    target=self._work, args=(request, client_address), daemon=True
                )
                self._open[request] = thread
        if full:
            request.sendall(busy_answer())
            self.shutdown_request(request)
        else:
            thread.start()

    def _work(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what broke, except clients that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def end_connections(self, timeout_s: float) -> None:
        """End idle connections at once; wait for running statements."""
        with self._lock:
            left = list(self._open.items())
        for connection, _ in left:
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:  # it has just ended by itself
                continue
        for _, thread in left:
            thread.join(timeout_s)


def main(arguments: list[str] | None = None) -> int:
    """Run as a child process: print "ready <port>", end on SIGTERM or with the parent."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.clickhouse", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=None)
    options = parser.parse_args(arguments)
    die_with_parent()
    facade = ClickHouseFacade(options.data_dir)
    try:
        port = facade.start(options.host, options.port)
    except (EngineError, OSError) as error:
        print(f"clickhouse: {error}", file=sys.stderr)  # noqa: T201 - a program's own error line
        return 1
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(f"ready {port}", flush=True)  # noqa: T201 - the line its starter waits for
    while not ended.wait(1.0):  # a wait without an end would keep signals from Python
        pass
    facade.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
