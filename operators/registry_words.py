"""What the registry keeps, as it was said: the way back from operators/registration."""

from datetime import datetime, timedelta
from typing import get_args

from schemas.fields import EPOCH
from schemas.pipeline import Platform
from schemas.registry import (
    Choice,
    DeviceBody,
    PreferencesBody,
    ProfileBody,
    QuietHours,
    Weekday,
)
from state.profiles import Choice as KeptChoice
from state.profiles import Device, Profile
from state.profiles import QuietHours as KeptHours

_DAYS: tuple[Weekday, ...] = get_args(Weekday)


def time_of(at_ms: int) -> datetime:
    """Give the time at these epoch milliseconds."""
    return EPOCH + timedelta(milliseconds=at_ms)


def moment_of(at_ms: int) -> datetime | None:
    """Give the time at these epoch milliseconds; None for 0."""
    return time_of(at_ms) if at_ms else None


def clock_of(minutes: int) -> str:
    """Give the time of day at so many minutes after midnight, such as ``22:30``."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def device_words(device: Device) -> DeviceBody:
    """Give a device as it was registered."""
    return DeviceBody.model_construct(
        platform=device.platform,
        app=device.app,
        token=device.token,
        p256dh=device.p256dh or None,
        auth=device.auth or None,
        environment="sandbox" if device.environment == "sandbox" else "production",
        locale=device.locale or None,
        app_version=device.app_version,
        os_version=device.os_version,
        groups=device.groups,
        registered_at=moment_of(device.registered_at_ms),
    )


def profile_words(profile: Profile | None) -> ProfileBody:
    """Give what was said about a user; of nobody, nothing."""
    if profile is None:
        return ProfileBody()
    return ProfileBody.model_construct(
        locale=profile.locale or None,
        time_zone=profile.time_zone or None,
        country=profile.country or None,
        attributes=profile.attributes,
        segments=profile.segments,
        registered_at=moment_of(profile.registered_at_ms),
    )


def preferences_words(profile: Profile | None) -> PreferencesBody:
    """Give what a user wants; of nobody, nothing.

    Days of quiet hours come in the week's order, and topics once each.
    """
    if profile is None:
        return PreferencesBody()
    first = () if profile.quiet_hours is None else (profile.quiet_hours,)
    return PreferencesBody.model_construct(
        opt_out_all=profile.opted_out_all,
        opted_out_categories=profile.opted_out_categories,
        opted_out_channels=tuple(map(Platform, profile.opted_out_platforms)),
        muted_until=moment_of(profile.muted_until_ms),
        choices=tuple(map(_choice, profile.choices)),
        quiet_hours=tuple(map(_window, (*first, *profile.more_quiet_hours))),
        topics=profile.topics,
    )


def _choice(kept: KeptChoice) -> Choice:
    return Choice.model_construct(
        allow=kept.allow,
        type=kept.type,
        category=kept.category or None,
        channel=Platform(kept.platform) if kept.platform else None,
    )


def _window(kept: KeptHours) -> QuietHours:
    return QuietHours.model_construct(
        start=clock_of(kept.start_min),
        end=clock_of(kept.end_min),
        time_zone=kept.time_zone or None,
        days=tuple(day for bit, day in enumerate(_DAYS) if kept.days >> bit & 1),
    )
