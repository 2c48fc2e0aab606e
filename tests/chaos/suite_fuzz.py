"""Bad input by the thousand, mixed with good, into a whole Clarion."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from sandbox.keys import SandboxKeys
from sandbox.stack import Stack
from schemas.settings import TimerSettings
from schemas.topics import AUDIT, DEVICES, EVENTS, FEEDBACK, OUTCOMES, USER_EVENTS
from tests.chaos import people
from tests.chaos.fault import Fault
from tests.chaos.fuzz import Fuzz
from tests.chaos.fuzz_input import FUZZ_TENANT, USERS
from tests.chaos.memory import Peaks
from tests.chaos.schedule import Plan
from tests.chaos.stand import Stand

COUNT = 100_000
DEAR = 0.001
MAX_BYTES = 12_000_000
"""What the events topics take here, so that events of 10 MB reach route at all."""
STAGES = ("route", "registry", "outcomes", "timers", "deliver.fcm")
SETTLE_S = 240.0
LOOK_EVERY_S = 3.0
WHEEL = TimerSettings(slots=32, slot_s=1)
"""A lap of 48 s: whatever lies in a slot of the timers is read when its turn comes."""
SHOWN = 10
ROWS = {
    OUTCOMES: "SELECT count() FROM outcomes WHERE startsWith(outcome_id, 'fuzz-o-')",
    FEEDBACK: "SELECT count() FROM outcomes WHERE status = 'opened'",
    DEVICES: "SELECT uniqExact(user_id) FROM devices WHERE startsWith(user_id, 'fuzz-reg-')",
    USER_EVENTS: "SELECT uniqExact(event_id) FROM user_events WHERE startsWith(event_id, 'e-')",
    AUDIT: "SELECT uniqExact(audit_id) FROM audit WHERE startsWith(audit_id, 'a-')",
}
"""What good records of a topic become, where nothing later tells."""


def run(plan: Plan, directory: Path) -> Iterator[Fault]:
    """Put them all, and look until each has come to its end."""
    stand = Stand(directory)
    stand.stack = Stack(
        directory, tenant, options={"timers": WHEEL}, kafka=stand.kafka, redis=stand.redis
    )
    try:
        stand.start()
        yield fuzzed(stand, plan)
    finally:
        stand.stop()


def tenant(keys: SandboxKeys) -> dict[str, Any]:
    """Give the tenant of the chaos runs, with a category and templates for the fuzz."""
    usual = people.tenant(keys)
    return {
        **usual,
        "categories": {**usual["categories"], **FUZZ_TENANT["categories"]},
        "templates": FUZZ_TENANT["templates"],
    }


def fuzzed(stand: Stand, plan: Plan) -> Fault:
    """Put the records into all topics at once; none may be lost, doubled or stop a flow."""
    count = plan.sized(COUNT)
    widen(stand)
    stand.register(USERS)
    fuzz = Fuzz(seed=plan.seed, count=count, stages=STAGES, dear=DEAR)
    options = {**stand.settings.kafka.client_options(), "message.max.bytes": MAX_BYTES}
    fuzz.put(Producer(options))
    started = time.monotonic()
    problems = settled(stand, fuzz)
    fault = Fault("bad input", injected=count, recovery_s=time.monotonic() - started)
    fault.lost = sum("no dead letter" in one or "neither" in one for one in problems)
    fault.duplicated = sum(one.endswith(("dead letters", "times")) for one in problems)
    fault.problems += problems[:SHOWN]
    peaks = Peaks()
    peaks.measure(stand)
    fault.note = peaks.check(fault)
    return fault


def widen(stand: Stand) -> None:
    """Have the events topics take records of 10 MB."""
    entry = ConfigEntry(
        "max.message.bytes", str(MAX_BYTES), incremental_operation=AlterConfigOpType.SET
    )
    wider = [
        ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
        for name in EVENTS.values()
    ]
    admin = AdminClient(stand.settings.kafka.client_options())
    for future in admin.incremental_alter_configs(wider).values():
        future.result(30)


def untaken(stand: Stand, fuzz: Fuzz) -> list[str]:
    """Give the topics of which not every good record is a row, once."""
    found = []
    for topic, query in ROWS.items():
        wanted, rows = fuzz.good_on(topic), stand.one(query)
        if rows != wanted:
            found.append(f"{topic}: {rows} rows, neither more nor less than {wanted} were good")
    return found


def settled(stand: Stand, fuzz: Fuzz) -> list[str]:
    """Look until nothing is missing, or the time is over; give what is still wrong."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        stand.supervise()
        problems = fuzz.problems(lambda topic: (value for _, _, value in stand.read(topic)))
        problems += untaken(stand, fuzz)
        if not problems or time.monotonic() > deadline:
            return problems
        time.sleep(LOOK_EVERY_S)
