"""Who of an audience gets the message now."""

from collections import defaultdict
from functools import partial

from operators.consent import refusal
from operators.flags import is_on
from operators.hold import hold_users
from operators.holdout import Holdout, holdouts_of, left_out
from operators.quiet_hours import Nights, Windows, windows_of
from operators.seen import refusal_seen, windows_seen
from operators.work import Decided, Draft, Recipient, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Priority
from schemas.tenant import Tenant
from state.profiles import Profile


def admit(works: list[Work], now_ms: int) -> Decided:
    """Keep the users who exist, have a device, agreed, and neither muted it nor are asleep.

    Quiet hours hold a message until they end, or drop it, as its category says; a critical one
    passes through them and through a mute, and says so. Who is held goes round as a chunk of its
    own, one per end of night.
    """
    sleeps = _Sleep(now_ms)
    outs: list[object] = []
    for work in works:
        _admit_one(work, sleeps, now_ms, outs)
    return works, outs


def _admit_one(work: Work, sleeps: "_Sleep", now_ms: int, outs: list[object]) -> None:
    draft = work.draft
    at_night = draft.category.quiet_hours
    is_critical = draft.notice.priority is Priority.CRITICAL
    groups = holdouts_of(draft)
    chooses = bool(groups) or draft.category.flag is not None
    held: defaultdict[int, list[int]] = defaultdict(list)
    for at, profile in enumerate(work.profiles):
        wanted = work.devices[at] if work.devices else ""
        found = _reachable(profile, draft, wanted)
        if not isinstance(found, Reason) and found[0].muted_until_ms > now_ms and not is_critical:
            found = Reason.MUTED
        detail = ""
        if chooses and not isinstance(found, Reason):
            found, detail = _chosen(found, draft, groups)
        if isinstance(found, Reason):
            outs.append(
                work.decide(
                    now_ms,
                    Status.SUPPRESSED,
                    found,
                    user_id=work.users[at],
                    device_id=wanted,
                    detail=detail or refusal_seen(found, profile, draft, wanted),
                )
            )
        elif is_critical:
            if passed := _passed(found[0], draft, sleeps, now_ms):
                work.bypassed[found[0].user_id] = passed
            work.recipients.append(found)
        elif at_night != "ignore" and (ends_ms := sleeps.until_ms(found[0], draft.tenant)):
            held[ends_ms].append(at)
        else:
            work.recipients.append(found)
    for ends_ms, positions in held.items():
        outs += hold_users(
            work,
            now_ms,
            ends_ms,
            positions,
            Reason.QUIET_HOURS,
            why=partial(_windows_of, work, sleeps),
            drop=at_night == "drop",
        )


def _windows_of(work: Work, sleeps: "_Sleep", at: int) -> str:
    profile = work.profiles[at]
    return "" if profile is None else sleeps.seen(profile, work.draft.tenant)


def _chosen(
    found: Recipient, draft: Draft, groups: tuple[Holdout, ...]
) -> tuple[Recipient | Reason, str]:
    """Leave out those for whom a flag is off, and holdout groups, with what says so."""
    flag, user_id = draft.category.flag, found[0].user_id
    if flag is not None and not is_on(draft.tenant, flag, user_id):
        return Reason.FLAG_OFF, f"flag {flag}"
    group = left_out(groups, draft.tenant.name, user_id)
    return (Reason.HOLDOUT, group) if group else (found, "")


def _reachable(profile: Profile | None, draft: Draft, wanted: str) -> Recipient | Reason:
    """Give the devices that may get it, or why there are none. wanted: one device, "" for all."""
    if profile is None:
        return Reason.UNKNOWN_USER
    if profile.opted_out_all:
        return Reason.OPTED_OUT
    devices = profile.devices
    if wanted:
        devices = tuple(d for d in devices if d.device_id == wanted)
    if draft.notice.device_group:
        devices = tuple(d for d in devices if draft.notice.device_group in d.groups)
    if not devices:
        return Reason.NO_DEVICE
    notice, rules = draft.notice, draft.category
    if not (profile.choices or profile.opted_out_platforms):
        # One answer for all devices; most users have made no finer choice.
        why = refusal(profile, notice.category, notice.type, rules, devices[0].platform)
        return why or (profile, devices)
    whys = [refusal(profile, notice.category, notice.type, rules, d.platform) for d in devices]
    agreed = tuple(device for device, why in zip(devices, whys, strict=True) if why is None)
    return (profile, agreed) if agreed else whys[0] or Reason.OPTED_OUT


def _passed(profile: Profile, draft: Draft, sleeps: "_Sleep", now_ms: int) -> str:
    """Say what would have held back this message, were it not critical."""
    passed = ["mute"] if profile.muted_until_ms > now_ms else []
    if draft.category.quiet_hours != "ignore" and sleeps.until_ms(profile, draft.tenant):
        passed.append("quiet hours")
    return ", ".join(passed)


class _Sleep:
    """When the users of a batch sleep: as they said, or as their tenant assumes."""

    def __init__(self, now_ms: int) -> None:
        self._nights = Nights(now_ms)
        self._defaults: dict[str, Windows] = {}

    def until_ms(self, profile: Profile, tenant: Tenant) -> int:
        """Give when the user's night ends, 0 when it is day."""
        windows = self._windows(profile, tenant)
        if not windows:
            return 0
        return self._nights.quiet_until_ms(profile.time_zone or tenant.time_zone, windows)

    def seen(self, profile: Profile, tenant: Tenant) -> str:
        """Say which windows these are."""
        whose = "the tenant's" if profile.quiet_hours is None else "the user's"
        zone = profile.time_zone or tenant.time_zone
        return windows_seen(zone, self._windows(profile, tenant), whose)

    def _windows(self, profile: Profile, tenant: Tenant) -> Windows:
        if profile.quiet_hours is not None:
            return (profile.quiet_hours, *profile.more_quiet_hours)
        if (known := self._defaults.get(tenant.name)) is None:
            known = self._defaults[tenant.name] = windows_of(tenant.quiet_hours)
        return known
