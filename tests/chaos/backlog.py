"""Backlogs of every kind before flows that have just started: memory stays bounded."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome
from schemas.stream import Record
from schemas.topics import OUTCOMES
from tests.chaos import people
from tests.chaos.fault import Fault
from tests.chaos.memory import Peaks
from tests.chaos.probes import RECORDS_READ, metric
from tests.chaos.schedule import Plan
from tests.chaos.stand import FLOWS, Stand, behave_all, open_stand

BACKLOG = 500_000
EACH = 5  # registrations and events of one user; as many as the cap on news lets pass
ANSWER_S = 5.0
SLOW_S = 20.0
LATER_EVERY, LATER_S = 5, 60.0
"""Every fifth event is scheduled; all of these come due at one moment."""
_encode = msgspec.msgpack.Encoder().encode


def backlogs(plan: Plan, directory: Path) -> Fault:
    """Start flows with everything queued before them, and a provider that answers slowly."""
    count = plan.sized(BACKLOG)
    fault = Fault("Backlogs before a start", injected=count)
    peaks = Peaks()
    with open_stand(directory, flows=()) as stand:
        users = max(1, count // EACH)
        devices = list(people.registrations(users, stand.webpush_origin))
        for _ in range(EACH):
            stand.put(devices)
        stand.put(_outcomes(count))
        _start(stand, "registry", "outcomes")
        stand.until_all(lambda: stand.one("SELECT uniqExact(user_id) FROM devices"), users)
        stand.until_all(lambda: stand.one("SELECT count() FROM outcomes"), count)
        _await_read(stand, "registry", len(devices) * EACH)
        peaks.measure(stand)
        stand.remove("registry")
        due_at = datetime.now(UTC) + timedelta(seconds=LATER_S)
        stand.put(_events(count, users, due_at))
        _start(stand, "timers", "route")
        _await_read(stand, "route", count)
        behave_all(stand, answer_s=ANSWER_S)
        _start(stand, *(spec.label for spec in FLOWS if spec.name == "deliver"))
        # Until what was scheduled has come due, and for a while of slow answers after it.
        _last(stand, max(SLOW_S, SLOW_S + due_at.timestamp() - time.time()))
        peaks.measure(stand)
        waiting = stand.lag()
    fault.check(waiting > 0, "nothing waited any more")
    fault.note = (
        f"{count} each of registrations, outcomes and events, {waiting} deliveries waited at the"
        f" end; {peaks.check(fault)}"
    )
    return fault


def _start(stand: Stand, *labels: str) -> None:
    for spec in FLOWS:
        if spec.label in labels:
            stand.add(spec)
    stand.await_ready(*labels)


def _await_read(stand: Stand, label: str, records: int) -> None:
    """Wait until a flow has read so many."""
    stand.until_all(lambda: int(metric(stand.processes[label].port, RECORDS_READ)), records)


def _last(stand: Stand, seconds: float) -> None:
    end = time.monotonic() + seconds
    stand.until(lambda: time.monotonic() > end, "over", timeout_s=seconds + 1)


def _events(count: int, users: int, due_at: datetime) -> Iterator[Record]:
    for number in range(count):
        more: dict[str, str] = {"id": f"b{number}", "idempotency_key": f"b{number}"}
        if number % LATER_EVERY == 0:
            more["send_at"] = due_at.isoformat()
        # The mix of priorities goes by hundreds of numbers, users come one after the other.
        yield people.event(number % users, people.priority_of(number), **more)


def _outcomes(count: int) -> Iterator[Record]:
    now_ms = int(time.time() * 1_000)
    for number in range(count):
        outcome = Outcome(
            outcome_id=f"{number:08x}-1111-5111-8111-{number:012x}",
            occurred_at_ms=now_ms,
            tenant=people.TENANT,
            message_id=f"old{number}",
            status=Status.SENT,
            reason=Reason.ACCEPTED,
            priority="low",
            user_id=f"old{number}",
            device_id=f"d{number}",
            delivery_id=f"{number:08x}-3333-5333-8333-{number:012x}",
            platform=people.platform_of(number),
            category="news",
            type="chaos",
            attempt=1,
            provider_status=200,
        )
        yield Record(OUTCOMES, None, _encode(outcome))
