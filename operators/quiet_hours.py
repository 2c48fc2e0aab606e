"""Quiet hours: when a user's night ends, in their own time zone."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY_MIN = 1_440


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


class Nights:
    """Tells for one moment whether it is quiet in a zone, and until when.

    Zones and windows repeat among users, so each pair is worked out once.
    """

    def __init__(self, now_ms: int) -> None:
        self._now = datetime.fromtimestamp(now_ms / 1_000, UTC)
        self._ends: dict[tuple[str, int, int], int] = {}

    def quiet_until_ms(self, zone: str, start_min: int, end_min: int) -> int:
        """Give the end of the quiet window that holds now, in epoch ms, or 0 outside of one.

        start_min, end_min: minutes after local midnight; a window may wrap past midnight. The
        end is a local wall-clock time: over a clock change the wait is an hour more or less.
        """
        key = (zone, start_min, end_min)
        found = self._ends.get(key)
        if found is None:
            found = self._ends[key] = self._until_ms(zone_of(zone), start_min, end_min)
        return found

    def _until_ms(self, zone: ZoneInfo, start_min: int, end_min: int) -> int:
        local = self._now.astimezone(zone)
        minute = local.hour * 60 + local.minute
        length = (end_min - start_min) % DAY_MIN
        if not length or (minute - start_min) % DAY_MIN >= length:
            return 0
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        # fold: the second pass of an hour that an autumn night repeats.
        for days, fold in ((0, 0), (0, 1), (1, 0), (1, 1)):
            end = midnight + timedelta(days=days, minutes=end_min)
            until = end.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            if until > self._now:
                return int(until.timestamp() * 1_000)
        return 0
