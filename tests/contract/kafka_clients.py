"""Shorthands over confluent-kafka, and a bare client that speaks the protocol by hand."""

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer

from sandbox.processes import Child, accepts, free_port
from tests.servers.apache_kafka import ApacheKafka

PATIENCE_S = 30.0
QUIET = {"log_level": 0}


def producer(bootstrap: str, **options: Any) -> Producer:
    """Make a producer; options with _ for dots."""
    return Producer(_settings(bootstrap, {"linger_ms": 0} | options))


def consumer(bootstrap: str, group: str, **options: Any) -> Consumer:
    """Make a consumer that begins at the beginning and does not commit by itself."""
    defaults = {
        "group_id": group,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "heartbeat_interval_ms": 100,
        "fetch_queue_backoff_ms": 5,
        "fetch_wait_max_ms": 50,
    }
    return Consumer(_settings(bootstrap, defaults | options))


def _settings(bootstrap: str, options: dict[str, Any]) -> dict[str, Any]:
    dotted = {key.replace("_", "."): value for key, value in options.items()}
    return {"bootstrap.servers": bootstrap, **QUIET, **dotted}


def send(client: Producer, topic: str, values: Sequence[bytes], **options: Any) -> list[Any]:
    """Produce values and wait; gives the delivered messages. Fails when one was not."""
    delivered: list[Any] = []
    errors: list[Any] = []

    def note(error: Any, message: Any) -> None:
        (delivered if error is None else errors).append(message if error is None else error)

    for value in values:
        client.produce(topic, value, on_delivery=note, **options)
    assert client.flush(PATIENCE_S) == 0
    assert not errors, errors
    return delivered


def read(client: Consumer, count: int) -> list[Any]:
    """Read this many messages; fails on an error or when they do not come."""
    found: list[Any] = []
    while len(found) < count:
        messages = client.consume(count - len(found), PATIENCE_S)
        assert messages, f"{len(found)} of {count} messages came"
        for message in messages:
            if message.error() is None:
                found.append(message)
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
    return found


def values_until(client: Consumer, last: bytes) -> list[bytes]:
    """Read values up to this one."""
    found = [read(client, 1)[0].value()]
    while found[-1] != last:
        found.append(read(client, 1)[0].value())
    return found


def start_broker(directory: Path, port: int, *options: str) -> Child:
    """Start a broker of the test's own."""
    child = Child(
        "kafka",
        [sys.executable, "-m", "sandbox.kafka_broker", "--port", str(port), *options],
        log=directory / "broker.log",
    )
    child.start()
    child.wait_until(lambda: accepts(port))
    return child


@contextmanager
def broker_advertised_as(address: str, directory: Path, *, real: bool) -> Iterator[int]:
    """Run a broker of the test's own that sends its clients to this address. Gives its port."""
    if real:
        told = {"advertised.listeners": f"PLAINTEXT://{address}"}
        kafka = ApacheKafka(directory, config=told)
        try:
            yield int(kafka.start().rpartition(":")[2])
        finally:
            kafka.stop()
    else:
        port = free_port()
        child = start_broker(directory, port, "--advertise", address)
        try:
            yield port
        finally:
            child.stop()


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask until it holds; fails when that takes too long."""
    deadline, poll = time.monotonic() + PATIENCE_S, Event()
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        poll.wait(0.02)


class Bare:
    """A connection that sends requests of non-flexible versions and gives bare responses."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)

    def send(self, key: int, version: int, body: bytes, *, flexible: bool = False) -> None:
        """Send a request."""
        header = struct.pack(">hhih", key, version, 7, 4) + b"bare" + b"\0" * flexible
        self.socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)

    def receive(self) -> bytes:
        """Receive a response, without its length and correlation id."""
        (size,) = struct.unpack(">i", self._exactly(4))
        answer = self._exactly(size)
        assert answer[:4] == struct.pack(">i", 7)
        return answer[4:]

    def ask(self, key: int, version: int, body: bytes, *, flexible: bool = False) -> bytes:
        """Send a request and receive its response."""
        self.send(key, version, body, flexible=flexible)
        return self.receive()

    def ended(self) -> bool:
        """Wait for the broker to close the connection."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.socket.recv(size - len(parts))
            if not part:
                raise ConnectionError("the broker closed the connection")
            parts += part
        return bytes(parts)


@contextmanager
def bare(bootstrap: str) -> Iterator[Bare]:
    """Open a bare connection."""
    client = Bare(bootstrap)
    try:
        yield client
    finally:
        client.socket.close()


def text(value: str | None) -> bytes:
    """Encode a string."""
    if value is None:
        return struct.pack(">h", -1)
    return struct.pack(">h", len(value.encode())) + value.encode()


def fetch_body(
    topic: str,
    *places: tuple[int, int],
    wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 50_000_000,
    partition_max_bytes: int = 1_000_000,
    committed: bool = False,
) -> bytes:
    """Make the body of a Fetch of version 4. places: (partition, offset)."""
    head = struct.pack(">iiiib", -1, wait_ms, min_bytes, max_bytes, committed)
    asked = [struct.pack(">iqi", index, at, partition_max_bytes) for index, at in places]
    return (
        head + struct.pack(">i", 1) + text(topic) + struct.pack(">i", len(asked)) + b"".join(asked)
    )


def fetched(answer: bytes, topic: str) -> dict[int, tuple[int, int, bytes]]:
    """Read a response to Fetch 4: by partition, (error, stable end, records)."""
    at = 4 + 4 + len(text(topic)) + 4
    (count,) = struct.unpack_from(">i", answer, at - 4)
    found = {}
    for _ in range(count):
        index, error, _end, stable_end, aborted = struct.unpack_from(">ihqqi", answer, at)
        at += 26 + max(0, aborted) * 16
        (size,) = struct.unpack_from(">i", answer, at)
        found[index] = (error, stable_end, answer[at + 4 : at + 4 + size])
        at += 4 + size
    assert at == len(answer)
    return found


def batches_of(records: bytes) -> list[tuple[int, int]]:
    """Cut records into whole batches: (base offset, bytes) of each.

    Kafka fills a response up to the limit: its last batch may be cut, and clients pass over that.
    """
    found = []
    at = 0
    while at + 12 <= len(records):
        base_offset, size = struct.unpack_from(">qi", records, at)
        at += size + 12
        if at <= len(records):
            found.append((base_offset, size + 12))
    return found
