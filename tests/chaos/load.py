"""What the provider suites put into a stand, and what they read from its processes."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from threading import Thread

import msgspec

from flows.checkpoint import produce
from sandbox import fcm_tokens
from schemas.pipeline import Content, Delivery, Platform, Priority
from schemas.registry import registry_key
from schemas.stream import Record
from schemas.topics import DELIVERIES, DEVICES
from tests.chaos.people import APPS, TENANT
from tests.chaos.stand import Stand

FEED_EVERY_S = 0.05
_MARK = "#" * 12
_CONTENT = msgspec.msgpack.encode(Content("News", "Something happened, and this is about it."))
_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode


class Feed(Thread):
    """Puts records into a stand at a steady rate, while the suite does something else."""

    def __init__(self, stand: Stand, records: Iterable[Record], *, per_s: float) -> None:
        super().__init__(name="feed", daemon=True)
        self._stand = stand
        self._records = iter(records)
        self._per_s = per_s
        self._error: BaseException | None = None

    def run(self) -> None:
        """Feed until there are no more."""
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - told by finish()
            self._error = error

    def _run(self) -> None:
        started, count = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - started) * self._per_s) - count
            batch = list(islice(self._records, due))
            produce(self._stand.producer, batch)
            count += len(batch)
            if len(batch) < due:
                break
            time.sleep(FEED_EVERY_S)
        self._stand.put(())  # waits until all were taken

    def finish(self) -> None:
        """Wait until all is in. Raises what went wrong."""
        self.join()
        if self._error is not None:
            raise self._error


def token_of(platform: Platform, number: int) -> str:
    """Give the device token of a ready-made delivery to APNs or FCM."""
    if platform is Platform.APNS:
        return hashlib.sha256(b"ready-made %d" % number).hexdigest()
    return fcm_tokens.live_token(number)


def deliveries(
    platform: Platform, numbers: Iterable[int], *, kind: str, priority: Priority = Priority.NORMAL
) -> Iterator[Record]:
    """Give deliveries as route makes them, each to its own device. kind: their event type."""
    topic = DELIVERIES[platform, priority]
    for number in numbers:
        now_ms = time.time_ns() // 1_000_000
        user = f"u{number}"
        delivery = Delivery(
            f"0b0e7a3e-6f0e-5d5e-9d5c-{number:012x}", f"{kind}-{number}", TENANT, APPS[platform],
            user, f"d{number}", platform, priority, "news", kind, token_of(platform, number),
            _CONTENT, now_ms, now_ms, now_ms, collapse_key=f"k{number}",
        )  # fmt: skip
        yield Record(topic, f"{TENANT}/{user}".encode(), _msgpack(delivery))


def backlog(count: int, *, kind: str) -> Iterator[Record]:
    """Give very many bulk deliveries to APNs, cheaply: one, with other ids each time."""
    topic = DELIVERIES[Platform.APNS, Priority.LOW]
    now_ms = time.time_ns() // 1_000_000
    pattern = Delivery(
        f"0b0e7a3e-6f0e-5d5e-9d5d-{_MARK}", f"{kind}-{_MARK}", TENANT, APPS[Platform.APNS],
        f"u{_MARK}", f"d{_MARK}", Platform.APNS, Priority.LOW, "news", kind,
        "0" * 52 + _MARK, _CONTENT, now_ms, now_ms, now_ms,
    )  # fmt: skip
    parts = _msgpack(pattern).split(_MARK.encode())
    for number in range(count):
        mark = b"%012d" % number
        yield Record(topic, mark, mark.join(parts))


def registrations(platform: Platform, tokens: Iterable[str], *, start: int = 0) -> Iterator[Record]:
    """Give devices of users start and on, with these tokens."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    for number, token in enumerate(tokens, start):
        user, device = f"u{number}", f"d{number}"
        said = {
            "tenant": TENANT,
            "user_id": user,
            "device_id": device,
            "platform": platform,
            "app": APPS[platform],
            "registered_at": at,
            "token": token,
        }
        yield Record(DEVICES, registry_key(TENANT, user, device), _json(said))


def ended(stand: Stand, kind: str, *, where: str = "1") -> dict[str, int]:
    """Count the deliveries of an event type by how they ended."""
    rows = stand.clickhouse.query(
        "SELECT status, uniqExact(delivery_id) FROM outcomes WHERE type = {kind:String}"  # noqa: S608 - our own words
        f" AND ({where}) AND status NOT IN ('retry', 'deferred') AND delivery_id != ''"
        " GROUP BY status",
        parameters={"kind": kind},
    ).result_rows
    return {str(status): int(count) for status, count in rows}
