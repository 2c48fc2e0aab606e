"""Which connection takes the next request: the connections to one host and their waiting line."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum

from pyreqwest.client import Client


class State(Enum):
    """What is known of a connection."""

    COLD = "cold"
    """Not connected, as far as is known: its next request goes alone."""
    WARMING = "warming"
    """Its first request is under way."""
    WARM = "warm"
    """It has answered, so the server's stream limit is known to hyper."""


class Lane:
    """One connection: a client of its own, as seen from one host."""

    __slots__ = ("client", "in_flight", "state", "used_s")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.in_flight = 0
        self.state = State.COLD
        self.used_s = 0.0


class Host:
    """The lanes to one host. Not for use from several threads."""

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        max_in_flight_per_lane: int,
        idle_limit_s: float,
    ) -> None:
        self._lanes = [Lane(client) for client in clients]
        self._max_in_flight = max_in_flight_per_lane
        self._idle_limit_s = idle_limit_s
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def idle(self) -> bool:
        """Nothing is under way and nobody waits."""
        return not self._waiters and all(lane.in_flight == 0 for lane in self._lanes)

    def take(self) -> Lane | None:
        """Give the least loaded usable lane and count a request in; None when all are taken."""
        best: Lane | None = None
        least = self._max_in_flight
        for lane in self._lanes:
            if lane.in_flight < least and lane.state is not State.WARMING:
                best, least = lane, lane.in_flight
        if best is None:
            return None
        now_s = time.monotonic()
        if best.state is State.COLD or now_s - best.used_s > self._idle_limit_s:
            best.state = State.WARMING
        best.used_s = now_s
        best.in_flight += 1
        return best

    async def wait(self, timeout_s: float) -> Lane:
        """Like take(), first come first served. Raises TimeoutError after timeout_s."""
        async with asyncio.timeout(timeout_s):
            while True:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                try:
                    await waiter
                except asyncio.CancelledError:
                    if waiter.done() and not waiter.cancelled():
                        self.wake(1)  # the turn that came too late for us is the next one's
                    raise
                lane = self.take()
                if lane is not None:
                    return lane

    def give_back(self, lane: Lane, *, answered: bool, broken: bool = False) -> None:
        """Count a request out. broken: it failed with its connection, not just by itself."""
        lane.in_flight -= 1
        count = 1
        if answered:
            if lane.state is State.WARMING:
                lane.state = State.WARM
                count = self._max_in_flight
        elif broken or lane.state is State.WARMING:
            lane.state = State.COLD
        if self._waiters:
            self.wake(count)

    def wake(self, count: int) -> None:
        """Let up to this many waiters look again."""
        while self._waiters and count > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def wake_all(self) -> None:
        """Let every waiter look again, as when the pool closes."""
        self.wake(len(self._waiters))
