"""When campaigns run, by the clocks of people."""

from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from operators.quiet_hours import minutes_of, zone_of
from schemas.campaigns import Schedule
from schemas.fields import epoch_ms

FIRST_ZONE_AHEAD = timedelta(hours=14)
"""The day begins in UTC+14 first. Source: IANA time zone database, Pacific/Kiritimati."""
LEAD = timedelta(minutes=5)
"""So long before the first zone's time the users are looked up and put on their timers."""
DAY = timedelta(days=1)
DAY_MIN = 1_440


def first_due_ms(schedule: Schedule, now_ms: int) -> int:
    """Give when a campaign that is started now runs first; now when its time has passed.

    0 when it never comes: `until` is over.
    """
    if schedule.cron is not None:
        return next_due_ms(schedule, now_ms)
    if schedule.local_at is not None:
        wanted = datetime.fromisoformat(schedule.local_at).replace(tzinfo=UTC)
        return max(now_ms, epoch_ms(wanted - FIRST_ZONE_AHEAD - LEAD))
    return max(now_ms, epoch_ms(schedule.at or schedule.best_hour_from))


def next_due_ms(schedule: Schedule, after_ms: int) -> int:
    """Give when a recurring campaign runs next, after this time; 0 for never again.

    By the wall clock of its zone: a time that a clock change skips comes as soon as it is over, and
    one that is repeated comes once.
    """
    if schedule.cron is None:
        return 0
    zone = zone_of(schedule.time_zone)
    moment = datetime.fromtimestamp(after_ms / 1_000, UTC).astimezone(zone)
    due_ms = epoch_ms(next(CronSim(schedule.cron, moment)).astimezone(UTC))
    if schedule.until is not None and due_ms > epoch_ms(schedule.until):
        return 0
    return due_ms


def local_due_ms(local_at: str, zone: str) -> int:
    """Give when it is this wall-clock time in a zone: the first of two such times, if there are.

    A time that the clocks skip is taken by the offset before, so an hour later by the new one.
    """
    return epoch_ms(datetime.fromisoformat(local_at).replace(tzinfo=zone_of(zone)).astimezone(UTC))


def best_due_ms(from_ms: int, hour_utc: int | None, default_hour: str, zone: str) -> int:
    """Give when, within the day after from_ms, a user's best hour begins.

    hour_utc: 0 to 23 as learned from opens; None for the default hour, a time of their zone's day.
    """
    start = datetime.fromtimestamp(from_ms / 1_000, UTC)
    if hour_utc is not None:
        found = start.replace(hour=hour_utc, minute=0, second=0, microsecond=0)
        return epoch_ms(found if found >= start else found + DAY)
    minute = minutes_of(default_hour)
    local = start.astimezone(zone_of(zone))
    for days in (0, 1):
        day = local.replace(tzinfo=None) + timedelta(days=days)
        wanted = day.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
        due = wanted.replace(tzinfo=local.tzinfo).astimezone(UTC)
        if due >= start:
            return epoch_ms(due)
    return epoch_ms(start + DAY)
