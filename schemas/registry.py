"""What the compacted topics hold: the last word on each device, user and preference.

Keys are `tenant/user` or `tenant/user/device` with each part percent-encoded; a record without
a value (a tombstone) forgets the device, the user or the preferences.
"""

from base64 import urlsafe_b64decode
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import quote, unquote

from pydantic import BeforeValidator, Field, model_validator

from schemas.content import Wire, one_or_more
from schemas.decode import BadMessageError, check_json
from schemas.fields import (
    ClockTime,
    Country,
    Id,
    Locale,
    Name,
    Time,
    TimeZone,
    TopicName,
)
from schemas.pipeline import Platform

MAX_ATTRIBUTES_BYTES = 4_096
MAX_TOKEN_CHARS = 4_096
MAX_SEGMENTS_PER_USER = 1_000
MAX_QUIET_WINDOWS = 10
MAX_CHOICES = 200
EVERYONE = "everyone"
"""The segment that Clarion keeps itself: all users of the tenant."""

SegmentName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.-]*$")
]
MAX_TOPICS = 200
MAX_GROUPS = 50
_BASE64URL_PATTERN = r"^[A-Za-z0-9_-]+={0,2}$"
_Base64Url = Annotated[str, Field(max_length=100, pattern=_BASE64URL_PATTERN)]


class DeviceBody(Wire):
    """A device as an app tells of it; see DeviceRegistration.

    registered_at: now when absent.
    """

    schema_version: Literal[1] = 1
    platform: Platform
    app: Name
    token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARS)]
    p256dh: _Base64Url | None = None
    auth: _Base64Url | None = None
    environment: Literal["production", "sandbox"] = "production"
    locale: Locale | None = None
    app_version: Annotated[str, Field(max_length=64)] = ""
    os_version: Annotated[str, Field(max_length=64)] = ""
    groups: Annotated[tuple[TopicName, ...], Field(max_length=MAX_GROUPS)] = ()
    registered_at: Time | None = None

    @model_validator(mode="after")
    def _token_fits_platform(self) -> Self:
        _TOKEN_CHECKS[self.platform](self.token)
        if self.platform is not Platform.WEBPUSH:
            if self.p256dh is not None or self.auth is not None:
                raise ValueError("p256dh, auth: belong to webpush devices only, remove them")
            return self
        if not _is_p256_point(self.p256dh):
            raise ValueError("p256dh: give the subscription's public key, 65 bytes as base64url")
        if _decoded(self.auth or "", 16) is None:
            raise ValueError("auth: give the subscription's secret, 16 bytes as base64url")
        return self


class DeviceRegistration(DeviceBody):
    """An app's installation on a device and the token to reach it.

    platform webpush: token is the subscription's endpoint URL, p256dh and auth are its keys
    (W3C Push API, getKey). environment: of an APNs token. registered_at: when the app got or
    confirmed the token; a provider's report that it died earlier than that is ignored.
    groups: device groups, such as `tv`, to send to these devices only.
    """

    tenant: Name
    user_id: Id
    device_id: Id
    registered_at: Time


class ProfileBody(Wire):
    """What a client says about a user; see UserProfile."""

    schema_version: Literal[1] = 1
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    country: Country | None = None
    attributes: dict[str, Any] = Field(default_factory=dict, max_length=100)
    segments: Annotated[
        tuple[SegmentName, ...], Field(max_length=MAX_SEGMENTS_PER_USER, fail_fast=True)
    ] = ()
    registered_at: Time | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if EVERYONE in self.segments:
            raise ValueError(f"segments: {EVERYONE!r} holds all users already, remove it")
        check_json(self.attributes, "attributes", max_bytes=MAX_ATTRIBUTES_BYTES)
        return self


class UserProfile(ProfileBody):
    """What is known about a user.

    locale: for texts, when a device has none. time_zone: IANA name, for quiet hours and local
    delivery. segments: the segments that the user is in. attributes: for templates and rules.
    registered_at: when the user signed up.
    """

    tenant: Name
    user_id: Id
    updated_at: Time


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[str, ...] = get_args(Weekday)


class QuietHours(Wire):
    """A window of the day, start included and end not; it may pass midnight.

    time_zone: instead of the user's own. days: on which it begins; every day when empty.
    """

    start: ClockTime
    end: ClockTime
    time_zone: TimeZone | None = None
    days: Annotated[tuple[Weekday, ...], Field(max_length=7)] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end are the same: use two times, or opt_out_all")
        return self


QuietWindows = Annotated[
    tuple[QuietHours, ...],
    Field(max_length=MAX_QUIET_WINDOWS),
    BeforeValidator(one_or_more, json_schema_input_type=QuietHours | tuple[QuietHours, ...] | None),
]


class Choice(Wire):
    """A user's yes or no to some messages: those of a type or a category, maybe on one channel.

    Of several that fit a message the most specific holds: type before category, and with a
    channel before without.
    """

    allow: Annotated[bool, Field(strict=True)]
    type: Annotated[str, Field(max_length=128)] = ""
    category: Name | None = None
    channel: Platform | None = None

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if not self.type and self.category is None:
            raise ValueError("give a type or a category; to silence a channel: opted_out_channels")
        return self


class PreferencesBody(Wire):
    """What a client says about a user's wishes; see UserPreferences."""

    schema_version: Literal[1] = 1
    opt_out_all: Annotated[bool, Field(strict=True)] = False
    opted_out_categories: Annotated[tuple[Name, ...], Field(max_length=1_000, fail_fast=True)] = ()
    opted_out_channels: Annotated[tuple[Platform, ...], Field(max_length=10)] = ()
    muted_until: Time | None = None
    choices: Annotated[tuple[Choice, ...], Field(max_length=MAX_CHOICES, fail_fast=True)] = ()
    quiet_hours: QuietWindows = ()
    topics: Annotated[tuple[TopicName, ...], Field(max_length=MAX_TOPICS, fail_fast=True)] = ()

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        about = [(one.type, one.category, one.channel) for one in self.choices]
        if len(set(about)) < len(about):
            raise ValueError("choices: two say yes or no to the same, remove one")
        return self


class UserPreferences(PreferencesBody):
    """What a user wants and does not want.

    opt_out_all: nothing at all. opted_out_channels: platforms that stay silent, whatever else is
    said. muted_until: nothing but critical messages before this time. opted_out_categories: short
    for choices that refuse a category. choices: see Choice; where none fits, the tenant's category
    decides. quiet_hours: one window or several. topics: that the user subscribed to.
    """

    tenant: Name
    user_id: Id
    updated_at: Time


def registry_key(*parts: str) -> bytes:
    """Give the record key of (tenant, user) or (tenant, user, device)."""
    return "/".join(quote(part, safe="@:.") for part in parts).encode()


def split_registry_key(key: bytes | None, *, parts: int) -> tuple[str, ...]:
    """Take a record key apart, as a tombstone has no more than that. Raises BadMessageError."""
    found = split_key(key)
    if len(found) != parts:
        shape = "tenant/user/device" if parts == 3 else "tenant/user"
        raise BadMessageError(f"the record key must be {shape}, each part percent-encoded")
    return found


def split_key(key: bytes | None) -> tuple[str, ...]:
    """Give the parts of a record key; none when it cannot be read or a part is empty."""
    try:
        found = tuple(unquote(part, errors="strict") for part in (key or b"").decode().split("/"))
    except UnicodeDecodeError:
        return ()
    return found if all(found) else ()


def _check_apns(token: str) -> None:
    """Hexadecimal; Apple gives no fixed length, today's tokens have 64 digits or more."""
    if len(token) % 2 or not 64 <= len(token) <= 200 or not _is_hex(token):
        raise ValueError("token: an APNs token is 64 to 200 hexadecimal digits")


def _is_hex(text: str) -> bool:
    return text.isascii() and all(character in "0123456789abcdefABCDEF" for character in text)


def _check_fcm(token: str) -> None:
    allowed = token.replace("_", "").replace("-", "").replace(":", "")
    if len(token) < 20 or not (allowed.isascii() and allowed.isalnum()):
        raise ValueError("token: an FCM token is 20 or more letters, digits, '_', '-' and ':'")


def _check_endpoint(token: str) -> None:
    """Want an https URL (RFC 8030 §8); the tenant's allowed_hosts are checked before sending."""
    printable = token.isascii() and token.isprintable() and " " not in token
    if not token.startswith("https://") or len(token) > 2048 or not printable:
        raise ValueError("token: a Web Push endpoint is an https:// URL of at most 2048 characters")


_TOKEN_CHECKS = {
    Platform.APNS: _check_apns,
    Platform.FCM: _check_fcm,
    Platform.WEBPUSH: _check_endpoint,
}


def _decoded(text: str, length: int) -> bytes | None:
    """Base64url to exactly this many bytes, or None. Padding may be there or not."""
    bare = text.rstrip("=")
    try:
        found = urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except ValueError:
        return None
    return found if len(found) == length else None


def _is_p256_point(text: str | None) -> bool:
    """Want an uncompressed point: 0x04, x, y. Source: RFC 8291 §3.1, X9.62."""
    point = _decoded(text or "", 65)
    return point is not None and point[0] == 4
