"""State for events run again: read from live stores where it is first asked for, kept in memory."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from operators.cap import Limits
from sinks.outcome_counts import Had
from state.caps import CapCheck
from state.memory_limits import MemoryCaps
from state.profiles import Change, Profile, Profiles

PROFILES_KEPT = 100_000
_UNBOUNDED = 2**31


class CachedProfiles:
    """Live profiles, read once each while they are among the last PROFILES_KEPT. See Profiles."""

    def __init__(self, profiles: Profiles, *, most: int = PROFILES_KEPT) -> None:
        self._profiles = profiles
        self._most = most
        self._kept: OrderedDict[tuple[str, str], Profile | None] = OrderedDict()

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[Profile | None]:
        """See Profiles; one round trip for those that are not at hand, none otherwise."""
        kept = self._kept
        missing = [u for u in dict.fromkeys(user_ids) if (tenant, u) not in kept]
        if missing:
            found = self._profiles.get_many(tenant, shards, missing)
            kept.update(((tenant, u), one) for u, one in zip(missing, found, strict=True))
        given = [kept[tenant, user] for user in user_ids]
        while len(kept) > self._most:
            kept.popitem(last=False)
        return given

    def update_many(
        self, tenant: str, shards: int, changes: Mapping[str, Change]
    ) -> dict[str, Profile | None]:
        """Refuse: what runs again changes nobody."""
        raise PermissionError(f"{len(changes)} profiles of {tenant} in {shards} shards: read only")


class SeededCaps:
    """Caps in memory that begin with what users had before; see Caps.

    had: gives that for users, each of whom is asked about once. limits_of: by category and type.
    Memory: the messages that each user met got within the longest window.
    """

    def __init__(
        self,
        had: Callable[[Sequence[str]], Sequence[Had]],
        limits_of: Callable[[str, str], Limits],
    ) -> None:
        self._had = had
        self._limits_of = limits_of
        self._caps = MemoryCaps()
        self._known: set[str] = set()

    def seed(self, tenant: str, shards: int, user_ids: Sequence[str]) -> None:
        """Learn what these users had; nothing for those that are known."""
        new = [user for user in dict.fromkeys(user_ids) if user not in self._known]
        if not new:
            return
        self._known.update(new)
        for had in self._had(new):
            limits = self._limits_of(had.category, had.type)
            counted = tuple((name, _UNBOUNDED, window_ms) for name, _, window_ms in limits)
            if counted:
                check = CapCheck(had.user_id, had.message_id, counted)
                self._caps.admit_many(tenant, shards, [check], had.at_ms)

    def admit_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        self.seed(tenant, shards, [check.user_id for check in checks])
        return self._caps.admit_many(tenant, shards, checks, now_ms)

    def peek_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        self.seed(tenant, shards, [check.user_id for check in checks])
        return self._caps.peek_many(tenant, shards, checks, now_ms)
