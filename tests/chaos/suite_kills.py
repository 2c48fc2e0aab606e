"""Exactly-once under kills, stops, rebalances and a zombie: one long run, every message counted."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from flows.clock import business_clock, wall_ms
from sandbox.stack import ALL, FlowSpec, is_ready
from schemas.pipeline import Platform
from schemas.settings import ClockSettings
from tests.chaos import people
from tests.chaos.count import Counted, count_all
from tests.chaos.fault import Fault
from tests.chaos.schedule import Plan, month_end_ms
from tests.chaos.stand import POLL_S, Process, Stand, behave_all, open_stand

STOPS = 4
EXTRA = (
    FlowSpec("route", None, ALL),
    FlowSpec("deliver", Platform.APNS, ALL),
    FlowSpec("outcomes", None, ALL),
)
ZOMBIES = ("route", "deliver-apns")
FORCED = {0, -signal.SIGKILL, -signal.SIGTERM}
"""Codes of who was told to end, or killed."""
FROZEN_S = 4.0
SCHEDULED_EVERY = 10
SCHEDULED_MS = 20_000
MOST_WAITING = 40_000
FEED = 2_000
REGISTRY_KILLS_EVERY = 6
BEFORE_MIDNIGHT_MS = 60_000
REGISTERED_PER_S = 4_000  # about; the month ends when the devices are registered and events flow


@dataclass
class Run:
    """What happens when, and what came of it. recoveries_s: from a kill until ready again."""

    stand: Stand
    draws: random.Random
    kills: int = 0
    stops: int = 0
    added: list[str] = field(default_factory=list)
    zombies: list[Process] = field(default_factory=list)
    zombies_alive: list[str] = field(default_factory=list)
    zombies_forced: list[str] = field(default_factory=list)
    recoveries_s: list[float] = field(default_factory=list)
    killed: dict[str, float] = field(default_factory=dict)

    def turn(self) -> None:
        """Start again what has died, and note what has recovered."""
        self.stand.supervise()
        for label, at_s in list(self.killed.items()):
            if is_ready(self.stand.processes[label].port):
                self.recoveries_s.append(time.monotonic() - at_s)
                del self.killed[label]

    def kill(self) -> None:
        """Kill one flow at once, whatever it is doing."""
        label = self.draws.choice(sorted(self.stand.processes))
        child = self.stand.processes[label].child
        self.kills += child.returncode() is None
        child.kill()
        self.killed.setdefault(label, time.monotonic())

    def stop(self) -> None:
        """Let one flow drain and end; it is started again."""
        label = self.draws.choice(sorted(self.stand.processes))
        self.stand.processes[label].child.stop()
        self.stops += 1

    def add(self) -> None:
        """Start one more process of a flow: partitions move to it."""
        spec = EXTRA[len(self.added) % len(EXTRA)]
        label = f"{spec.label}-more"
        self.stand.add(spec, label)
        self.added.append(label)

    def remove(self) -> None:
        """Let one of those end: partitions move back."""
        label = self.added.pop(0)
        self.added.append(label)
        self.killed.pop(label, None)
        self.stand.remove(label)

    def freeze(self) -> None:
        """Freeze a flow, start it anew beside, and let the frozen one wake up."""
        label = ZOMBIES[len(self.zombies) % len(ZOMBIES)]
        self.stand.await_ready(label)  # so that it has claimed what its successor takes
        zombie = self.stand.processes[label]
        os.kill(zombie.child.pid, signal.SIGSTOP)
        self.stand.add(zombie.spec, label)
        self.stand.await_ready(label)
        deadline = time.monotonic() + FROZEN_S
        self.stand.until(
            lambda: time.monotonic() > deadline, "a moment later", timeout_s=2 * FROZEN_S
        )
        os.kill(zombie.child.pid, signal.SIGCONT)
        self.zombies.append(zombie)

    def bury(self) -> None:
        """Check that the zombies have ended by themselves."""
        for zombie in self.zombies:
            try:
                self.stand.until(
                    lambda one=zombie: one.child.returncode() is not None,  # type: ignore[misc]  # bound at once
                    "ended by itself",
                    timeout_s=30,
                )
            except TimeoutError:
                self.zombies_alive.append(zombie.label)
                zombie.child.kill()
            else:
                code = zombie.child.returncode()
                if code in FORCED:
                    self.zombies_forced.append(f"{zombie.label}: {code}")


def run(plan: Plan, directory: Path) -> Iterator[Fault]:
    """Run it and report each kind of fault."""
    with open_stand(directory, clock=_before_midnight(plan.events)) as stand:
        behave_all(stand, remember=True)
        made = Run(stand, plan.random("kills"))
        _register(made, plan)
        _feed(made, plan)
        stand.until_all(stand.over, plan.events)
        made.bury()
        counted = count_all(stand, plan.events)
    yield from _report(made, counted, plan)


def _register(made: Run, plan: Plan) -> None:
    """Register all devices, killing the registry now and then."""
    stand = made.stand
    stand.put(people.registrations(plan.events, stand.webpush_origin))
    for kill in range(max(1, plan.kills // REGISTRY_KILLS_EVERY)):
        wanted = plan.events * (kill + 1) // (plan.kills // REGISTRY_KILLS_EVERY + 2)
        stand.until_all(_registered(stand), wanted)
        stand.processes["registry"].child.kill()
        made.killed["registry"] = time.monotonic()
        made.kills += 1
        made.turn()
        stand.await_ready("registry")
        made.turn()
    stand.until_all(_registered(stand), plan.events)


def _registered(stand: Stand) -> Callable[[], int]:
    return lambda: stand.one("SELECT uniqExact(user_id) FROM devices")


def _feed(made: Run, plan: Plan) -> None:
    """Put the events a little ahead of the flows, with a fault every so many."""
    actions: list[Callable[[], None]] = [made.kill] * (plan.kills - made.kills)
    actions += [made.stop] * STOPS + [made.freeze] * len(ZOMBIES)
    made.draws.shuffle(actions)
    third = len(actions) // 3
    # From the back, so that none is removed before it was added, however few actions there are.
    actions[2 * third : 2 * third] = [made.remove] * len(EXTRA)
    actions[third:third] = [made.add] * len(EXTRA)
    stand, put, done = made.stand, 0, 0
    clock = business_clock(stand.settings.clock)
    midnight_ms = month_end_ms(clock())
    while done < len(actions) or put < plan.events:
        over = stand.over()
        # The second half waits for the new month, however fast the machine is.
        end = plan.events if clock() >= midnight_ms else plan.events // 2
        while put < end and put - over < MOST_WAITING:
            count = min(FEED, end - put)
            put += stand.put(_events(count, put, clock()))
        if done < len(actions) and over >= plan.events * (done + 1) // (len(actions) + 2):
            actions[done]()
            done += 1
        made.turn()
        time.sleep(POLL_S)


def _events(count: int, start: int, now_ms: int) -> Iterator[people.Record]:
    """Give events, some of them for later, so that the timers work too."""
    later = datetime.fromtimestamp((now_ms + SCHEDULED_MS) / 1_000, UTC).isoformat()
    for number in range(start, start + count):
        more = {} if number % SCHEDULED_EVERY else {"send_at": later}
        yield people.event(number, people.priority_of(number), **more)


def _before_midnight(devices: int) -> ClockSettings:
    """Let the business clock cross the end of a month soon after the events have begun."""
    now_ms = wall_ms()
    end_ms = month_end_ms(now_ms)
    before_ms = BEFORE_MIDNIGHT_MS + devices * 1_000 // REGISTERED_PER_S
    return ClockSettings(origin_ms=end_ms - before_ms, wall_origin_ms=now_ms)


def _report(made: Run, counted: Counted, plan: Plan) -> Iterator[Fault]:
    recovery_s = sorted(made.recoveries_s)
    middle = recovery_s[len(recovery_s) // 2] if recovery_s else None
    topics = Fault(
        "exactly-once between topics: kill -9, stops, rebalances",
        made.kills + made.stops + 2 * len(EXTRA),
        counted.lost_between_topics,
        counted.doubled_between_topics,
        middle,
        f"{plan.events:,} events, {made.kills} kills, {made.stops} stops, {2 * len(EXTRA)}"
        f" rebalances; {counted.records:,} records counted",
    )
    topics.check(not counted.dead_letters, f"{counted.dead_letters} dead letters")
    topics.check(made.kills >= plan.kills, f"only {made.kills} kills")
    yield topics
    zombie = Fault(
        "fenced zombies", len(made.zombies), note="frozen, replaced, woken; all counts as above"
    )
    zombie.check(not made.zombies_alive, f"still running: {', '.join(made.zombies_alive)}")
    zombie.check(not made.zombies_forced, f"not ended by being fenced: {made.zombies_forced}")
    yield zombie
    yield Fault(
        "providers, bulk: sent at most once",
        made.kills,
        counted.bulk_lost,
        counted.bulk_repeated,
        note=f"{counted.bulk:,} messages, {counted.bulk_unknown} unknown (in flight at a kill)",
    )
    fast = Fault(
        "providers, critical and high: sent at least once",
        made.kills,
        counted.fast_lost,
        counted.fast_strange,
        note=f"{counted.fast:,} messages, {counted.fast_repeated} repeated under the same id",
    )
    yield fast
    analytics = Fault(
        "analytics: to the row, over the end of a month",
        made.kills,
        max(0, counted.records_of_outcomes - counted.rows),
        counted.rows - counted.row_ids,
        note=f"{counted.rows:,} rows in {len(counted.months)} months",
    )
    analytics.check(len(counted.months) > 1, f"the run did not cross a month: {counted.months}")
    analytics.check(
        counted.rows == counted.records_of_outcomes,
        f"{counted.rows} rows of {counted.records_of_outcomes} outcomes",
    )
    yield analytics
