"""Metrics and health over HTTP: /metrics, /healthz and /readyz."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas import metrics

STALLED_AFTER_S = 60.0
LAG_EVERY_S = 1.0


class Health:
    """What a flow reports about itself.

    It is unhealthy when there is lag and nothing was read for stalled_after_s: a stuck process,
    which a restart may cure. An idle flow without lag is healthy, and so is one that waits for a
    store: that is excused. lag: counts waiting records; it is called by the flow's own thread only,
    as consumers are not to be shared.
    """

    def __init__(
        self,
        flow: str,
        lag: Callable[[], int],
        *,
        stalled_after_s: float = STALLED_AFTER_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flow = flow
        self._lag = lag
        self._stalled_after_s = stalled_after_s
        self._monotonic = monotonic
        self._progress_at = monotonic()
        self._lag_at = 0.0
        self._beat_at = monotonic()
        self.lag = 0
        self._read = metrics.RECORDS_READ.labels(flow)
        self._last_progress = metrics.LAST_PROGRESS.labels(flow)

    def beat(self, count: int) -> None:
        """Note a turn of the flow that read ``count`` records."""
        now = self._beat_at = self._monotonic()
        if count:
            self._read.inc(count)
            self._last_progress.set_to_current_time()
            self._progress_at = now
        if now - self._lag_at >= LAG_EVERY_S:
            self._lag_at = now
            self.lag = self._lag()
            metrics.LAG_RECORDS.labels(self._flow).set(self.lag)
            if not self.lag:
                self._progress_at = now

    def excuse(self) -> None:
        """Note that the flow cannot turn for now, and why is known. Any thread may call it."""
        self._beat_at = self._progress_at = self._monotonic()

    def problem(self) -> str:
        """Say what is wrong, or an empty string."""
        now = self._monotonic()
        stuck_s = now - self._beat_at
        if stuck_s > self._stalled_after_s:
            return f"the flow has not turned for {stuck_s:.0f} s"
        idle_s = now - self._progress_at
        if self.lag and idle_s > self._stalled_after_s:
            return f"{self.lag} records wait and none was read for {idle_s:.0f} s"
        return ""


class HealthServer:
    """Serves /metrics, /healthz (alive) and /readyz (nothing that the flow needs is missing).

    missing: gives a line for each store that is missing, at once.
    """

    def __init__(
        self, health: Health, missing: Callable[[], Sequence[str]], *, host: str, port: int
    ) -> None:
        handler = _handler(health, missing)
        self._server = _Server((host, port), handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless a probe just did not wait for its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(health: Health, missing: Callable[[], Sequence[str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz":
                problem = health.problem()
                self._answer(503 if problem else 200, (problem or "ok").encode())
            elif self.path == "/readyz":
                lines = missing()
                self._answer(503 if lines else 200, ("; ".join(lines) or "ok").encode())
            else:
                self._answer(404, b"try /metrics, /healthz or /readyz")

        def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Probes are not worth a line each."""

    return Handler
