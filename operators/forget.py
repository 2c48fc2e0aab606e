"""The records that make everybody forget a user."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from operators.recall import erased_control
from schemas.campaigns import Control, ControlState
from schemas.definitions import DefinitionRecord, Kind, definition_key
from schemas.erasures import Erasure, ErasureBody
from schemas.registry import registry_key
from schemas.segment_lists import ListPart, part_key
from schemas.stream import Record
from schemas.topics import DEFINITIONS, DEVICES, PREFERENCES, SEGMENTS, TOKEN_DEATHS, USERS
from state.profiles import Profile

_encode = msgspec.msgpack.Encoder().encode


def device_tombstones(tenant: str, user_id: str, device_ids: Iterable[str]) -> list[Record]:
    """Forget devices, and that their tokens died."""
    return [
        Record(topic, registry_key(tenant, user_id, device_id), None)
        for device_id in sorted(set(device_ids))
        for topic in (DEVICES, TOKEN_DEATHS)
    ]


def user_tombstones(tenant: str, user_id: str, device_ids: Iterable[str]) -> list[Record]:
    """Forget devices, preferences and, last, the user."""
    key = registry_key(tenant, user_id)
    return [
        *device_tombstones(tenant, user_id, device_ids),
        Record(PREFERENCES, key, None),
        Record(USERS, key, None),
    ]


def control_record(one: Erasure, now_ms: int) -> Record:
    """End what is under way to the user, from before the erasure."""
    body = Control(
        state=ControlState.CANCELLED, start_id=one.id, erased_ms=one.body.erased_ms, by="erasure"
    )
    return _defined(
        kind=Kind.CONTROL,
        tenant=one.tenant,
        name=erased_control(one.tenant, one.body.user_id),
        version=1,
        body=body.model_dump(mode="json", exclude_defaults=True),
        updated_at=_time(now_ms),
    )


def control_tombstone(tenant: str, user_id: str) -> Record:
    """Look no more for messages to the user: none from before the erasure is left."""
    key = definition_key(Kind.CONTROL, tenant, erased_control(tenant, user_id))
    return Record(DEFINITIONS, key, None)


def erasure_record(one: Erasure, body: ErasureBody, version: int, now_ms: int) -> Record:
    """Say how far an erasure is."""
    said = body.model_dump(mode="json", exclude_defaults=True)
    return _defined(
        kind=Kind.ERASURE,
        tenant=one.tenant,
        name=one.id,
        version=version,
        body=said,
        updated_at=_time(now_ms),
    )


def requested(one: Erasure, device_ids: Sequence[str], now_ms: int) -> list[Record]:
    """Ask for an erasure: the control first, the user's tombstone last.

    The tombstones stand on the topics before all that the user may say later, so that whoever
    registers again afterwards is not forgotten.
    """
    return [
        control_record(one, now_ms),
        erasure_record(one, one.body, 1, now_ms),
        *user_tombstones(one.tenant, one.body.user_id, device_ids),
    ]


def leave_list(tenant: str, user_id: str, segment: str, generation: str, upload: str) -> Record:
    """Take a user out of an uploaded list, also when the list is built again from its topic."""
    part = ListPart(tenant, segment, upload, 0, "remove", (user_id,), generation)
    return Record(SEGMENTS, part_key(tenant, segment, upload, 0), _encode(part))


def is_back(profile: Profile | None, erased_ms: int) -> bool:
    """Tell whether somebody has registered under the id since."""
    if profile is None:
        return False
    times_ms = [profile.updated_at_ms, profile.preferences_at_ms]
    times_ms += [device.registered_at_ms for device in profile.devices]
    return max(times_ms) > erased_ms


def old_devices(profile: Profile, erased_ms: int) -> list[str]:
    """Give the devices of a profile that registered before the erasure."""
    return [one.device_id for one in profile.devices if one.registered_at_ms <= erased_ms]


def _defined(**said: Any) -> Record:
    record = DefinitionRecord(**said)
    return Record(DEFINITIONS, record.key, record.to_json())


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)
