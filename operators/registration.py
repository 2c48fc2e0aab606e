"""Registrations to changes of profiles: what each message means for its user."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from operators.quiet_hours import windows_of
from operators.registry_rows import AuditRow, UserEventRow
from operators.segment_lists import ListChange, PutUp, decode_list
from operators.work import Decided
from schemas import topics
from schemas.audit import AuditEntry
from schemas.decode import BadMessageError, decode
from schemas.definitions import (
    MAX_DEFINITION_BYTES,
    Definition,
    DefinitionRecord,
    split_definition_key,
)
from schemas.fields import Id, Name, epoch_ms
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import DeadLetter, TokenDeath
from schemas.registry import DeviceRegistration, UserPreferences, UserProfile, split_registry_key
from schemas.stream import Message
from schemas.user_events import UserEvent
from state.definitions import Removed
from state.profiles import Choice, Device, Profile

UNREGISTERED = "unregistered"
SKEW_MS = 60_000
"""Clocks of those who write to the registry's topics may differ by this much."""
END_OF_TIME_MS = 10_413_792_000_000
"""The year 2300. Source: ClickHouse's DateTime64 ends in 2299."""

_tenant_name = TypeAdapter(Name)
_id = TypeAdapter(Id)
_decode_death = msgspec.msgpack.Decoder(TokenDeath).decode
M = TypeVar("M", bound=BaseModel)


class Registration(NamedTuple):
    """A device says where it can be reached."""

    tenant: str
    user_id: str
    device: Device
    app_version: str


class Removal(NamedTuple):
    """A device is gone: unregistered, its token dead, or taken over by another user.

    token: only while the device has this one, and a registration after at_ms survives. Empty when
    the device was unregistered: that is the last word on it, whenever it registered.
    """

    tenant: str
    user_id: str
    device_id: str
    token: str
    at_ms: int
    reason: str


class UserChange(NamedTuple):
    """The user record changed; None when the user is gone."""

    tenant: str
    user_id: str
    profile: UserProfile | None
    at_ms: int


class PreferenceChange(NamedTuple):
    """The user's preferences changed; None when they are forgotten."""

    tenant: str
    user_id: str
    preferences: UserPreferences | None
    at_ms: int


Change = Registration | Removal | UserChange | PreferenceChange
"""What changes a user's profile."""
Read = Change | Definition | Removed | ListChange | UserEventRow | AuditRow
"""What a record of the registry's topics may say."""


def decode_registrations(messages: list[Message], now_ms: int) -> Decided:
    """Turn records of the registry's topics into changes; what is none becomes a dead letter."""
    changes: list[Read] = []
    letters: list[Any] = []
    for message in messages:
        try:
            change = _DECODERS[message.topic()](message)
        except (BadMessageError, *UNREADABLE) as error:
            why = str(error) if isinstance(error, BadMessageError) else fault_of(error)
            at = (message.topic(), message.partition(), message.offset())
            raw, key = message.value() or b"", message.key() or b""
            letters.append(DeadLetter(*at, error=why, raw=raw, at_ms=now_ms, key=key))
        else:
            if change is not None:
                changes.append(change)
    return changes, letters


def _read(message: Message, model: type[M]) -> M | None:
    value = message.value()
    return None if value is None else decode(model, value)


def _at_ms(message: Message, said: datetime) -> int:
    """When it happened: as said, but not after Kafka took the record.

    An app's clock may be ahead; nothing that followed it would count until that time had come.
    """
    return min(epoch_ms(said), message.timestamp()[1])


def _key_of(message: Message, *, parts: int) -> tuple[str, ...]:
    """Take a tombstone's key apart. Raises BadMessageError when no such record can exist."""
    found = split_registry_key(message.key(), parts=parts)
    _check_names("the record key", *found)
    return found


def _check_names(where: str, tenant: str, *ids: str) -> None:
    """Refuse names that no registration can have: no store takes them. Raises BadMessageError."""
    try:
        _tenant_name.validate_python(tenant)
        for one in ids:
            _id.validate_python(one)
    except ValidationError:
        raise BadMessageError(
            f"{where} must hold a tenant's name and ids such as registrations have"
        ) from None


def _device(message: Message) -> Change:
    said = _read(message, DeviceRegistration)
    if said is None:
        tenant, user_id, device_id = _key_of(message, parts=3)
        return Removal(tenant, user_id, device_id, "", message.timestamp()[1], UNREGISTERED)
    device = Device(
        device_id=said.device_id,
        platform=said.platform,
        app=said.app,
        token=said.token,
        registered_at_ms=_at_ms(message, said.registered_at),
        environment=said.environment,
        locale=said.locale or "",
        p256dh=said.p256dh or "",
        auth=said.auth or "",
        app_version=said.app_version,
        os_version=said.os_version,
        groups=said.groups,
    )
    return Registration(said.tenant, said.user_id, device, said.app_version)


def _user(message: Message) -> Change:
    said = _read(message, UserProfile)
    if said is None:
        tenant, user_id = _key_of(message, parts=2)
        return UserChange(tenant, user_id, None, message.timestamp()[1])
    return UserChange(said.tenant, said.user_id, said, _at_ms(message, said.updated_at))


def _preferences(message: Message) -> Change:
    said = _read(message, UserPreferences)
    if said is None:
        tenant, user_id = _key_of(message, parts=2)
        return PreferenceChange(tenant, user_id, None, message.timestamp()[1])
    return PreferenceChange(said.tenant, said.user_id, said, _at_ms(message, said.updated_at))


def _death(message: Message) -> Change | None:
    if message.value() is None:
        # A user was erased: the report of the death goes, and what it did stays.
        _key_of(message, parts=3)
        return None
    death = _decode_death(message.value() or b"")
    if not death.token:
        raise BadMessageError("token: is missing: it tells which registration is dead")
    _check_names("the report of a dead token", death.tenant, death.user_id, death.device_id)
    if not 0 <= death.invalid_at_ms < END_OF_TIME_MS:
        raise BadMessageError("invalid_at_ms: must lie between the years 1970 and 2299")
    return Removal(
        death.tenant,
        death.user_id,
        death.device_id,
        death.token,
        death.invalid_at_ms,
        death.reason,
    )


def _definition(message: Message) -> Definition | Removed:
    at_ms = message.timestamp()[1]
    value = message.value()
    if value is None:
        kind, tenant, name = split_definition_key(message.key())
        _check_names("the record key", tenant, name)
        return Removed(kind, tenant, name, at_ms)
    said = decode(DefinitionRecord, value, max_bytes=MAX_DEFINITION_BYTES)
    if message.key() != said.key:
        raise BadMessageError(f"the record key must be {said.key.decode()}, as the body says")
    body = to_json(said.body)
    return Definition(said.kind, said.tenant, said.name, said.version, body, at_ms)


def _user_event(message: Message) -> UserEventRow:
    return UserEventRow.of(decode(UserEvent, message.value()))


def _audit(message: Message) -> AuditRow:
    said = decode(AuditEntry, message.value())
    return AuditRow.of(said, _at_ms(message, said.at))


def _list(message: Message) -> ListChange:
    change = decode_list(message)
    named = change.head if isinstance(change, PutUp) else change
    _check_names("the record key", named.tenant, named.segment)
    return change


_DECODERS: dict[str, Callable[[Message], Read | None]] = {
    topics.DEFINITIONS: _definition,
    topics.SEGMENTS: _list,
    topics.USER_EVENTS: _user_event,
    topics.AUDIT: _audit,
    topics.DEVICES: _device,
    topics.USERS: _user,
    topics.PREFERENCES: _preferences,
    topics.TOKEN_DEATHS: _death,
}


def with_change(profile: Profile | None, change: Change) -> Profile | None:
    """Apply one change to a profile; an older one than what is known changes nothing."""
    return _APPLY[type(change)](profile, change)


def _register(profile: Profile | None, change: Registration) -> Profile:
    profile = profile or Profile(change.user_id, 0)
    device = change.device
    for known in profile.devices:
        if known.device_id == device.device_id and known.registered_at_ms > device.registered_at_ms:
            return profile
    others = tuple(d for d in profile.devices if d.device_id != device.device_id)
    return msgspec.structs.replace(profile, devices=(*others, device))


def _remove(profile: Profile | None, change: Removal) -> Profile | None:
    if profile is None:
        return None
    kept = tuple(d for d in profile.devices if not removes(change, d))
    return profile if kept == profile.devices else msgspec.structs.replace(profile, devices=kept)


def removes(change: Removal, device: Device) -> bool:
    """Tell whether a removal means this device: same id, same token, registered no later."""
    if device.device_id != change.device_id:
        return False
    return not change.token or (
        device.token == change.token and device.registered_at_ms <= change.at_ms
    )


def _change_user(profile: Profile | None, change: UserChange) -> Profile | None:
    said = change.profile
    if said is None:
        return _forgotten(profile, change.at_ms)
    profile = profile or Profile(change.user_id, 0)
    if change.at_ms < profile.updated_at_ms:
        return profile
    return msgspec.structs.replace(
        profile,
        locale=said.locale or "",
        time_zone=said.time_zone or "",
        country=said.country or "",
        attributes=said.attributes,
        segments=said.segments,
        registered_at_ms=epoch_ms(said.registered_at),
        updated_at_ms=change.at_ms,
    )


def outlives(device: Device, at_ms: int) -> bool:
    """Tell whether a device surely registered after its user's tombstone."""
    return device.registered_at_ms > at_ms + SKEW_MS


def _forgotten(profile: Profile | None, at_ms: int) -> Profile | None:
    """Give what of a profile is surely from after a user's tombstone: mostly nothing.

    Devices stand on another topic, so one that registered later may have been read before.
    """
    if profile is None:
        return None
    surely_ms = at_ms + SKEW_MS
    devices = tuple(one for one in profile.devices if outlives(one, at_ms))
    if not devices and max(profile.updated_at_ms, profile.preferences_at_ms) <= surely_ms:
        return None
    kept = Profile(profile.user_id, profile.version, devices=devices)
    of_user, of_preferences = _PARTS
    if profile.updated_at_ms > surely_ms:
        kept = _with(kept, profile, of_user)
    if profile.preferences_at_ms > surely_ms:
        kept = _with(kept, profile, of_preferences)
    return kept


_PARTS = (
    ("locale", "time_zone", "country", "attributes", "segments", "registered_at_ms",
     "updated_at_ms"),
    ("opted_out_all", "opted_out_categories", "opted_out_platforms", "quiet_hours",
     "more_quiet_hours", "choices", "muted_until_ms", "topics", "preferences_at_ms"),
)  # fmt: skip
"""The fields of a profile that come from the user's record, and from the preferences."""


def _with(kept: Profile, profile: Profile, names: Sequence[str]) -> Profile:
    return msgspec.structs.replace(kept, **{name: getattr(profile, name) for name in names})


_NOTHING_SAID = UserPreferences.model_construct(
    tenant="", user_id="", updated_at=datetime.fromtimestamp(0, UTC)
)


def _change_preferences(profile: Profile | None, change: PreferenceChange) -> Profile | None:
    said = change.preferences
    if profile is None and said is None:  # of a user who is gone
        return None
    said = said or _NOTHING_SAID
    profile = profile or Profile(change.user_id, 0)
    if change.at_ms < profile.preferences_at_ms:
        return profile
    windows = windows_of(said.quiet_hours)
    return msgspec.structs.replace(
        profile,
        opted_out_all=said.opt_out_all,
        opted_out_categories=said.opted_out_categories,
        opted_out_platforms=tuple(said.opted_out_channels),
        quiet_hours=windows[0] if windows else None,
        more_quiet_hours=windows[1:],
        choices=tuple(
            Choice(one.allow, one.type, one.category or "", one.channel or "")
            for one in said.choices
        ),
        muted_until_ms=epoch_ms(said.muted_until),
        topics=tuple(dict.fromkeys(said.topics)),
        preferences_at_ms=change.at_ms,
    )


_APPLY: dict[type, Callable[[Profile | None, Any], Profile | None]] = {
    Registration: _register,
    Removal: _remove,
    UserChange: _change_user,
    PreferenceChange: _change_preferences,
}
