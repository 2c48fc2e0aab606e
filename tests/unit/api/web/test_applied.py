"""Waiting for the registry."""

import asyncio
from collections.abc import Callable, Sequence

from api.web.applied import Applied, Seen
from schemas.tenant import Tenant
from state.errors import StateError
from state.memory import MemoryProfiles
from state.profiles import Profile

ACME, RIVAL = (
    Tenant.model_validate({"name": name, "shards": 4, "categories": {"news": {}}})
    for name in ("acme", "rival")
)


class Counting(MemoryProfiles):
    """Profiles that count how often they are read, and fail when told to.

    at_fourth: called when they are read for the fourth time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, int]] = []
        self.fails = False
        self.at_fourth: Callable[[], None] = lambda: None

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Profile | None]:
        self.reads.append((tenant, len(user_ids)))
        if len(self.reads) == 4:
            self.at_fourth()
        if self.fails:
            raise StateError("away")
        return super().get_many(tenant, shards, user_ids)

    def put(self, tenant: str, user_id: str) -> None:
        self.update_many(tenant, 4, {user_id: lambda _: Profile(user_id, 0, locale="de")})


def is_there(profile: Profile | None) -> bool:
    return profile is not None


async def test_what_holds_already_is_seen_at_once() -> None:
    """With the profile for which it holds; nobody is looked for afterwards."""
    profiles = Counting()
    profiles.put("acme", "u1")
    seen = await Applied(profiles).until(ACME, "u1", is_there, timeout_s=5)
    assert seen is not None
    assert seen.profile is not None
    assert seen.profile.locale == "de"
    assert profiles.reads == [("acme", 1)]


async def test_all_who_wait_share_a_look() -> None:
    """One read for a tenant's users, whoever came first."""
    profiles = Counting()
    applied = Applied(profiles)
    users = [f"u{n}" for n in range(50)]

    def appear() -> None:
        for user_id in users:
            profiles.put("acme", user_id)
        profiles.put("rival", "u1")

    profiles.at_fourth = appear
    seen = await asyncio.gather(
        *(applied.until(ACME, user_id, is_there, timeout_s=5) for user_id in users),
        applied.until(RIVAL, "u1", is_there, timeout_s=5),
    )
    assert all(seen)
    assert set(profiles.reads) == {("acme", 50), ("rival", 1)}


async def test_what_does_not_come_true_ends_in_time() -> None:
    """None; others go on waiting, and the next is looked for as well."""
    profiles = Counting()
    applied = Applied(profiles)
    assert await applied.until(ACME, "u1", is_there, timeout_s=0.01) is None
    assert await applied.until(ACME, "u1", lambda now: now is None, timeout_s=5) == Seen(None)


async def test_a_store_that_is_away_is_told_to_all() -> None:
    """And the next who waits is served when it is back."""
    profiles = Counting()
    applied = Applied(profiles)
    profiles.fails = True
    results = await asyncio.gather(
        *(applied.until(ACME, f"u{n}", is_there, timeout_s=5) for n in range(2)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [StateError, StateError]
    profiles.fails = False
    profiles.put("acme", "u1")
    assert await applied.until(ACME, "u1", is_there, timeout_s=5)


async def test_who_leaves_is_not_looked_for() -> None:
    """A request that was broken off leaves nothing behind."""
    profiles = Counting()
    applied = Applied(profiles)
    gone = asyncio.create_task(applied.until(ACME, "u1", is_there, timeout_s=5))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    profiles.reads.clear()
    profiles.put("acme", "u2")
    assert await applied.until(ACME, "u2", is_there, timeout_s=5)
    assert profiles.reads[-1] == ("acme", 1)
