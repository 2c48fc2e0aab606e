"""Flows that are told to stop in the worst moments, that move partitions, and that meet backlogs.

That a flow which has lag and reads nothing is reported dead is in tests/unit/flows/test_health.py:
a slow provider, a store that is away and a paused process are all no such case.
"""

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from sandbox.processes import accepts
from sandbox.stack import ALL, FlowSpec
from schemas.outcomes import Reason, Status
from schemas.pipeline import Platform
from tests.chaos.audit import check_ends, check_received, check_rows, ends, over
from tests.chaos.backlog import backlogs
from tests.chaos.fault import Fault
from tests.chaos.outage import Crowd, put
from tests.chaos.probes import RECORDS_READ, metric
from tests.chaos.schedule import Plan
from tests.chaos.stand import FLOWS, Stand, behave_all, open_stand

LOAD, AFTER = 4_000, 400
LEAST_LOAD = 4_000  # fewer are over before the stop
STOP_S = 10.0
STOPPED_TIMEOUT_S = 60.0
FELT_S = 2.0
"""From the start of a trouble until all are told to stop: requests are under way by then."""
POLL_S = 0.05
SLICES, SLICE, SLICE_EVERY_S = 8, 500, 1.5
SLOW_ANSWER_S = 0.5
IN_DOUBT = [(Status.UNKNOWN, Reason.CONNECTION_LOST), (Status.UNKNOWN, Reason.IN_FLIGHT_AT_CRASH)]


class Trouble(NamedTuple):
    """What goes on while the flows are told to stop. in_doubt: bulk may end as unknown.

    hangs: requests do, so some are in doubt. without_answers: ClickHouse is the trouble, and can
    say only before it how much of the load is over; no more can be until it is back.
    by_force: what waits for it cannot be cut short, so it ends as in a crash, and in time.
    """

    name: str
    begin: Callable[[], object] = lambda: None
    end: Callable[[], object] = lambda: None
    in_doubt: bool = False
    hangs: bool = False
    without_answers: bool = False
    by_force: Collection[str] = ()


def run(plan: Plan, directory: Path) -> Iterator[Fault]:
    """Stop flows under load, move partitions, and start before backlogs."""
    with open_stand(directory / "stopping") as stand:
        behave_all(stand, remember=True)
        crowd = Crowd(stand, plan)
        for trouble in troubles(stand):
            yield stop_all(stand, crowd, trouble)
        yield rebalance(stand, crowd)
    yield backlogs(plan, directory / "backlogs")


def troubles(stand: Stand) -> Iterator[Trouble]:
    """Give what goes on at each of the stops."""
    yield Trouble("Stopped under load")
    yield Trouble(
        "Stopped while providers hang",
        lambda: behave_all(stand, remember=True, hang=True),
        lambda: behave_all(stand, remember=True),
        in_doubt=True,
        hangs=True,
    )
    yield Trouble("Stopped while Redis hangs", stand.redis.pause, stand.redis.resume, in_doubt=True)
    server = stand.stack.child("clickhouse")
    port = int(stand.settings.clickhouse.url.rpartition(":")[2])

    def start() -> None:
        server.start()
        server.wait_until(lambda: accepts(port))

    yield Trouble("Stopped while ClickHouse is down", server.kill, start, without_answers=True)
    yield Trouble(
        "Stopped while ClickHouse hangs",
        lambda: os.kill(server.pid, signal.SIGSTOP),
        lambda: os.kill(server.pid, signal.SIGCONT),
        without_answers=True,
        by_force=("outcomes", "registry"),
    )


def stop_all(stand: Stand, crowd: Crowd, trouble: Trouble) -> Fault:
    """Tell all flows to stop in the middle of a load; afterwards nothing is lost or doubled."""
    load, after = crowd.take(LOAD, AFTER, least=LEAST_LOAD)
    users = range(load.start, after.stop)
    fault = Fault(trouble.name, injected=len(stand.processes))
    put(stand, load)
    waiting = len(load) - over(stand, load)
    trouble.begin()
    time.sleep(FELT_S)
    if not trouble.without_answers:
        waiting = len(load) - over(stand, load)
    fault.check(waiting > 0, "the load was over before the stop")
    took_s = stop_flows(stand, fault, by_force=trouble.by_force)
    trouble.end()
    started = time.monotonic()
    for spec in FLOWS:
        stand.add(spec)
    put(stand, after)
    stand.until_all(lambda: over(stand, users), len(users))
    fault.recovery_s = time.monotonic() - started
    check_ends(stand, fault, users, allowed=IN_DOUBT if trouble.in_doubt else ())
    check_rows(stand, fault)
    unknown = sum(n for end, n in ends(stand, users).by.items() if end in IN_DOUBT)
    again = check_received(stand, fault, users, missing=unknown)
    fault.check(unknown + again > 0 or not trouble.hangs, "no request hung")
    each = ", ".join(f"{label} {took_s[label]:.1f}" for label in sorted(took_s))
    fault.note = (
        f"{len(users)} events, {waiting} under way; {unknown} bulk in doubt, {again} urgent ones"
        f" sent again; seconds to stop: {each}"
    )
    return fault


def stop_flows(stand: Stand, fault: Fault, *, by_force: Collection[str] = ()) -> dict[str, float]:
    """Tell all flows to stop; gives how long each took, in seconds."""
    ending = dict(stand.processes)
    began = time.monotonic()
    for one in ending.values():
        one.child.ask_to_stop()
    took_s: dict[str, float] = {}
    while len(took_s) < len(ending) and time.monotonic() - began < STOPPED_TIMEOUT_S:
        for label, one in ending.items():
            code = one.child.returncode()
            if code is None or label in took_s:
                continue
            took_s[label] = time.monotonic() - began
            fault.check(code == 0 or label in by_force, f"{label} ended with {code}")
        time.sleep(POLL_S)
    for label in ending.keys() - took_s.keys():
        took_s[label] = STOPPED_TIMEOUT_S
    late = {label: round(s, 1) for label, s in took_s.items() if s > STOP_S}
    fault.check(not late, f"took longer than {STOP_S:.0f} s: {late}")
    stand.remove(*ending)
    return took_s


def rebalance(stand: Stand, crowd: Crowd) -> Fault:
    """Add a second sender to a slow provider in the middle of a load, and take it away again."""
    fault = Fault("A sender comes and goes", injected=2)
    slices = crowd.take(*[SLICE] * SLICES)
    users = range(slices[0].start, slices[-1].stop)
    behave_all(stand, remember=True, answer_s=SLOW_ANSWER_S)
    second = FlowSpec("deliver", Platform.FCM, ALL)
    label = f"{second.label}-2"
    for number, part in enumerate(slices):
        put(stand, part)
        if number == SLICES // 4:
            stand.add(second, label)
            stand.await_ready(label)
        if number == SLICES * 3 // 4:
            did = metric(stand.processes[label].port, RECORDS_READ)
            stand.remove(label)
            fault.check(did > 0, "the second sender got nothing")
            fault.note = f"{len(users)} events; the second sender read {did:.0f}"
        time.sleep(SLICE_EVERY_S)
    ended = time.monotonic()
    stand.until_all(lambda: over(stand, users), len(users))
    fault.recovery_s = time.monotonic() - ended
    behave_all(stand, remember=True)
    check_ends(stand, fault, users)
    check_rows(stand, fault)
    again = check_received(stand, fault, users)
    fault.note += f", {again} urgent ones sent again"
    return fault
