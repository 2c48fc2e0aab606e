"""Each user at their own time: a wall-clock time in their zone, or the hour at which they open."""

from collections import defaultdict
from collections.abc import Sequence

from operators.campaign_times import best_due_ms, local_due_ms
from operators.hold import hold_users
from operators.work import Decided, Work
from schemas.outcomes import Reason
from state.best_hours import BestHours
from state.profiles import Profile


class AtLocalTime:
    """Holds users until the time that their campaign is for, in their own zone.

    Who comes back from the timer, or whose time has passed, goes on. Of a user without a zone, the
    tenant's counts.
    """

    def __init__(self, hours: BestHours) -> None:
        self._hours = hours

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """One round trip per work that asks for best hours; none for all others."""
        going: list[Work] = []
        outs: list[object] = []
        for work in works:
            notice = work.draft.notice
            if notice.local_at or notice.best_from_ms:
                outs += self._hold(work, now_ms)
                if not work.users:
                    continue
            going.append(work)
        return going, outs

    def _hold(self, work: Work, now_ms: int) -> list[object]:
        """Hold who is to wait, and leave the others in the work."""
        dues = self._best(work) if work.draft.notice.best_from_ms else _local(work)
        held: defaultdict[int, list[int]] = defaultdict(list)
        stays: list[int] = []
        for at, due_ms in enumerate(dues):
            if due_ms > now_ms:
                held[due_ms].append(at)
            else:
                stays.append(at)
        outs: list[object] = []
        for due_ms, positions in held.items():
            outs += hold_users(work, now_ms, due_ms, positions, Reason.LOCAL_TIME)
        if held:
            work.profiles = [work.profiles[at] for at in stays]
            work.users = [work.users[at] for at in stays]
            work.devices = [work.devices[at] for at in stays] if work.devices else ()
        return outs

    def _best(self, work: Work) -> list[int]:
        notice, tenant = work.draft.notice, work.draft.tenant
        hours = self._hours.get_many(notice.tenant, tenant.shards, work.users)
        known: dict[tuple[int | None, str], int] = {}
        found: list[int] = []
        for hour, profile in zip(hours, work.profiles, strict=True):
            key = (hour, _zone(profile, tenant.time_zone))
            if key not in known:
                known[key] = best_due_ms(
                    notice.best_from_ms, hour, notice.default_hour or "10:00", key[1]
                )
            found.append(known[key])
        return found


def _local(work: Work) -> list[int]:
    notice, otherwise = work.draft.notice, work.draft.tenant.time_zone
    zones: Sequence[str] = [_zone(profile, otherwise) for profile in work.profiles]
    dues = {zone: local_due_ms(notice.local_at, zone) for zone in set(zones)}
    return [dues[zone] for zone in zones]


def _zone(profile: Profile | None, otherwise: str) -> str:
    return profile.time_zone or otherwise if profile is not None else otherwise
