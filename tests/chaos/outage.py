"""One store away for a while, with events before, during and after it."""

import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from flows.checkpoint import produce
from tests.chaos import people
from tests.chaos.audit import check_ends, check_received, check_rows, over
from tests.chaos.fault import Fault
from tests.chaos.probes import Watched
from tests.chaos.schedule import Plan
from tests.chaos.stand import Stand

SIZES = (1_000, 2_000, 1_000)
"""Events before, during and after an outage."""


class Outage(NamedTuple):
    """A store that cannot serve for a while. needing: the flows that must say so.

    word: what they must say of it. turn: waited for when half of the time is over; the other half
    of the events come after it.
    """

    name: str
    store: str
    needing: Collection[str]
    seconds: float
    begin: Callable[[], object]
    end: Callable[[], object]
    word: str = ""
    turn: Callable[[], bool] = lambda: True


class Suffered(NamedTuple):
    """What an outage came to. users: of all its events. during: of those put while it lasted."""

    fault: Fault
    users: range
    during: range


class Crowd:
    """Users of a stand, a range of them for each fault."""

    def __init__(self, stand: Stand, plan: Plan) -> None:
        self._stand = stand
        self._plan = plan
        self._next = 0

    def take(self, *sizes: int, least: int = 1) -> list[range]:
        """Register so many users more, as the plan scales it; gives a range for each size.

        least: a size is not scaled below it.
        """
        first = self._next
        ranges = []
        for size in sizes:
            scaled = max(min(size, least), self._plan.sized(size))
            ranges.append(range(self._next, self._next + scaled))
            self._next = ranges[-1].stop
        self._stand.register(self._next - first, start=first)
        return ranges


def suffer(stand: Stand, crowd: Crowd, outage: Outage) -> Suffered:
    """Go through an outage: every event must end as sent, once, and no flow may end."""
    before, during, after = crowd.take(*SIZES)
    users = range(before.start, after.stop)
    fault = Fault(outage.name, injected=1)
    watched = Watched(stand)
    put(stand, before)
    began = time.monotonic()
    outage.begin()
    try:
        half = during.start + len(during) // 2
        send(stand, range(during.start, half))
        watched.watch_for(outage.seconds / 2)
        watched.watch(outage.turn)
        send(stand, range(half, during.stop))
        watched.watch_for(outage.seconds - (time.monotonic() - began))
    finally:
        outage.end()
    ended = time.monotonic()
    put(stand, after)
    stand.until_all(lambda: over(stand, users), len(users))
    fault.recovery_s = time.monotonic() - ended
    stand.await_ready()
    watched.check(fault, outage.store, outage.needing, word=outage.word)
    check_ends(stand, fault, users)
    check_rows(stand, fault)
    again = check_received(stand, fault, users)
    fault.note = f"{len(users)} events, {ended - began:.0f} s long, {again} urgent ones sent again"
    return Suffered(fault, users, during)


def put(stand: Stand, users: range) -> None:
    """Put an event for each user."""
    stand.put(people.events(len(users), start=users.start))


def send(stand: Stand, users: range) -> None:
    """Hand an event for each user to the producer, which keeps them while Kafka is away."""
    produce(stand.producer, list(people.events(len(users), start=users.start)))
