"""Quiet hours: when a user's night ends, in their own time zone."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.registry import WEEKDAYS
from schemas.registry import QuietHours as SaidHours
from state.profiles import QuietHours

DAY_MIN = 1_440
LONGEST = timedelta(days=8)
"""Windows that never leave a minute between them end somewhere: the message is looked at again."""

Windows = tuple[QuietHours, ...]


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> ZoneInfo:
    """Give the zone of this IANA name; UTC for one that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a region such as "America"
        return ZoneInfo("UTC")


def minutes_of(clock: str) -> int:
    """Give the minutes after midnight of a time such as ``22:30``."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def windows_of(said: Iterable[SaidHours]) -> Windows:
    """Give windows as they are kept."""
    return tuple(
        QuietHours(
            minutes_of(one.start),
            minutes_of(one.end),
            one.time_zone or "",
            sum(1 << WEEKDAYS.index(day) for day in set(one.days)),
        )
        for one in said
    )


class Nights:
    """Tells for one moment whether it is quiet in a zone, and until when.

    Zones and windows repeat among users, so each pair is worked out once.
    """

    def __init__(self, now_ms: int) -> None:
        self._now = datetime.fromtimestamp(now_ms / 1_000, UTC)
        self._ends: dict[tuple[str, Windows], int] = {}

    def quiet_until_ms(self, zone: str, windows: Windows) -> int:
        """Give when none of these windows holds any more, in epoch ms; 0 when none holds now.

        zone: for windows that name none. A window may wrap past midnight; its day is that on which
        it begins. Its end is a local wall-clock time: over a clock change the wait is an hour more
        or less. Windows that meet or overlap are one long wait, of LONGEST at most.
        """
        found = self._ends.get((zone, windows))
        if found is None:
            found = self._ends[zone, windows] = self._until_ms(zone, windows)
        return found

    def _until_ms(self, zone: str, windows: Windows) -> int:
        moment = self._now
        while moment - self._now < LONGEST:
            ends = [_end_of(moment, zone_of(one.time_zone or zone), one) for one in windows]
            latest = max((end for end in ends if end is not None), default=None)
            if latest is None:
                break
            moment = latest
        return int(moment.timestamp() * 1_000) if moment > self._now else 0


def _end_of(moment: datetime, zone: ZoneInfo, window: QuietHours) -> datetime | None:
    """Give when this window ends, in UTC, if it holds the moment."""
    local = moment.astimezone(zone)
    minute = local.hour * 60 + local.minute
    length = (window.end_min - window.start_min) % DAY_MIN
    if not length or (minute - window.start_min) % DAY_MIN >= length:
        return None
    began = local.weekday() if minute >= window.start_min else (local.weekday() - 1) % 7
    if window.days and not window.days >> began & 1:
        return None
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    # fold: the second pass of an hour that an autumn night repeats.
    for days, fold in ((0, 0), (0, 1), (1, 0), (1, 1)):
        end = midnight + timedelta(days=days, minutes=window.end_min)
        until = end.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if until > moment:
            return until
    return None
