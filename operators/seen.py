"""What a decision against sending was made from, in a few words: the detail of its outcome.

Only called for what is not sent now, so that what is sent never pays for it. Nothing here is
secret: no token, no text of a message.
"""

from functools import lru_cache

from operators.consent import refused_by
from operators.work import Draft
from schemas.moments import moment
from schemas.outcomes import Reason
from schemas.registry import WEEKDAYS
from state.profiles import Profile, QuietHours

MAX_TEXT_CHARS = 200
UNTIL = "until "
"""Begins what is said of anything held; api/explain.py finds the time by it."""


def until(at_ms: int, why: str = "") -> str:
    """Say until when something is held, and for what."""
    return f"{UNTIL}{moment(at_ms)}{f', {why}' if why else ''}"


def refusal_seen(reason: Reason, profile: Profile | None, draft: Draft, wanted: str) -> str:
    """Say what of a user's profile refused a message. wanted: the one device asked for, or ""."""
    if profile is None:
        return ""
    if reason is Reason.MUTED:
        return until(profile.muted_until_ms)
    if profile.opted_out_all:
        return "everything is opted out"
    if reason is Reason.NO_DEVICE:
        return f"not among the user's {len(profile.devices)} devices" if wanted else "none known"
    notice = draft.notice
    whys = dict.fromkeys(
        refused_by(profile, notice.category, notice.type, one.platform)
        for one in profile.devices
        if wanted in ("", one.device_id)
    )
    return "; ".join(whys)[:MAX_TEXT_CHARS]


@lru_cache(maxsize=4_096)
def windows_seen(zone: str, windows: tuple[QuietHours, ...], whose: str) -> str:
    """Say which quiet hours: 22:00-07:00 mon,tue Europe/Berlin (the user's)."""
    said = ", ".join(_window(one, zone) for one in windows)
    return f"{said} ({whose})"[:MAX_TEXT_CHARS]


def _window(one: QuietHours, zone: str) -> str:
    days = ",".join(day for bit, day in enumerate(WEEKDAYS) if one.days >> bit & 1)
    parts = (f"{_clock(one.start_min)}-{_clock(one.end_min)}", days, one.time_zone or zone)
    return " ".join(part for part in parts if part)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
