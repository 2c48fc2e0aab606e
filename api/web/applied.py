"""Waiting until the registry has applied a record: one look at Redis for all who wait."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from schemas.tenant import Tenant
from state.errors import StateError
from state.profiles import Profile, Profiles

POLL_S = 0.02
AT_ONCE = 1_000
"""Profiles that one look reads."""

Holds = Callable[[Profile | None], bool]


class Seen(NamedTuple):
    """The profile for which it came true; None where the user has none."""

    profile: Profile | None


class _Waiter(NamedTuple):
    tenant: Tenant
    user_id: str
    holds: Holds
    seen: "asyncio.Future[Seen]"


class Applied:
    """Looks at the profiles that somebody waits for, every POLL_S while there are any.

    Belongs to one event loop.
    """

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles
        self._waiters: list[_Waiter] = []
        self._looking: asyncio.Task[None] | None = None

    async def until(
        self, tenant: Tenant, user_id: str, holds: Holds, *, timeout_s: float
    ) -> Seen | None:
        """Give the profile once it holds; None when it did not in time. Raises StateError."""
        waiter = _Waiter(tenant, user_id, holds, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.seen
        except TimeoutError:
            return None
        finally:
            waiter.seen.cancel()

    async def _look(self) -> None:
        while self._waiters:
            by_tenant: defaultdict[str, list[_Waiter]] = defaultdict(list)
            for waiter in self._waiters:
                by_tenant[waiter.tenant.name].append(waiter)
            for waiters in by_tenant.values():
                for start in range(0, len(waiters), AT_ONCE):
                    await self._settle(waiters[start : start + AT_ONCE])
            self._waiters = [one for one in self._waiters if not one.seen.done()]
            if self._waiters:
                await asyncio.sleep(POLL_S)

    async def _settle(self, waiters: list[_Waiter]) -> None:
        tenant, users = waiters[0].tenant, [waiter.user_id for waiter in waiters]
        try:
            found = await run_in_threadpool(
                self._profiles.get_many, tenant.name, tenant.shards, users
            )
        except StateError as error:
            for waiter in waiters:
                if not waiter.seen.done():
                    waiter.seen.set_exception(error)
            return
        for waiter, profile in zip(waiters, found, strict=True):
            if not waiter.seen.done() and waiter.holds(profile):
                waiter.seen.set_result(Seen(profile))
