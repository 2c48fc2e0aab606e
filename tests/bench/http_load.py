"""Sends one HTTP/1.1 request over and over: `python -m tests.bench.http_load < job.json`.

A process of its own and no more than a socket and a search for the end of an answer, so that it
takes little from the cores that it shares with what it measures.
"""

import asyncio
import json
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections import Counter, deque
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import Any

import uvloop

from tests.bench.result import BenchError

ANSWER_TIMEOUT_S = 30.0
TICK_S = 0.001
_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(frozen=True)
class Job:
    """What to send. rate: requests a second at fixed times, 0 for as fast as answers come.

    request: the bytes in base64. warm_s: before the first that counts.
    """

    port: int
    request: str
    connections: int
    seconds: float
    warm_s: float = 1.0
    rate: float = 0.0


@dataclass
class Load:
    """What came of it. Latencies in ms; at a fixed rate from when a request was due."""

    per_s: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    cpu_s: float


def request(method: str, path: str, body: bytes, headers: dict[str, str]) -> str:
    """Give a request's bytes as a Job takes them."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return b64encode(("\r\n".join(lines) + "\r\n\r\n").encode() + body).decode()


def load(job: Job) -> Load:
    """Send in a process of its own. Raises BenchError."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.http_load"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        timeout=job.seconds + job.warm_s + 2 * ANSWER_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the load generator failed: {done.stderr[-500:]}")
    found = Load(**json.loads(done.stdout))
    if not found.statuses:
        raise BenchError("nothing was answered")
    return found


class _Connection(asyncio.Protocol):
    """Sends a request, and the next when its answer is there."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._got = b""
        self._transport: Any = None
        self.due = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._run.idle(self)

    def send(self, due: float) -> None:
        self.due = due
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        got = self._got + data if self._got else data
        end = got.find(_END)
        if end >= 0:
            at = got.lower().find(_LENGTH, 0, end)
            length = int(got[at + len(_LENGTH) : got.find(b"\r\n", at)]) if at >= 0 else 0
            if len(got) >= end + 4 + length:
                self._got = b""
                self._run.answered(self, got[9:12].decode())
                return
        self._got = got

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost(exc)


class _Run:
    def __init__(self, job: Job) -> None:
        self.request = b64decode(job.request)
        self._job = job
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._counts_from = self._until = 0.0
        self._failure = ""

    def idle(self, connection: _Connection) -> None:
        if not self._job.rate:
            if time.perf_counter() < self._until or not self._until:
                connection.send(time.perf_counter())
        elif self._due:
            connection.send(self._due.popleft())
        else:
            self._idle.append(connection)

    def answered(self, connection: _Connection, status: str) -> None:
        now = time.perf_counter()
        if self._counts_from <= now < self._until:
            self._statuses[status] += 1
            self._latencies.append(now - connection.due)
        self.idle(connection)

    def lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self._failure = f"a connection was closed: {error}"

    async def go(self) -> Load:
        job, loop = self._job, asyncio.get_running_loop()
        self._counts_from = time.perf_counter() + job.warm_s
        self._until = self._counts_from + job.seconds
        transports = [
            (await loop.create_connection(lambda: _Connection(self), "127.0.0.1", job.port))[0]
            for _ in range(job.connections)
        ]
        if job.rate:
            await self._tick()
        else:
            await asyncio.sleep(self._until - time.perf_counter())
        for transport in transports:
            transport.abort()
        if self._failure:
            raise BenchError(self._failure)
        cuts = quantiles(self._latencies, n=100) if len(self._latencies) > 1 else [0.0] * 99
        return Load(
            per_s=len(self._latencies) / job.seconds,
            statuses=dict(self._statuses),
            p50_ms=round(cuts[49] * 1_000, 2),
            p99_ms=round(cuts[98] * 1_000, 2),
            cpu_s=round(time.process_time(), 2),
        )

    async def _tick(self) -> None:
        """Send what is due, on whatever connection is free."""
        gap = 1 / self._job.rate
        due = time.perf_counter()
        while (now := time.perf_counter()) < self._until:
            while due <= now:
                if self._idle:
                    self._idle.popleft().send(due)
                else:
                    self._due.append(due)
                due += gap
            await asyncio.sleep(TICK_S)


def main() -> None:
    """Run the job on standard input; print what came of it as JSON."""
    job = Job(**json.load(sys.stdin))
    print(json.dumps(asdict(uvloop.run(_Run(job).go()))))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
