"""Rows for the tables that the registry writes (deploy/clickhouse)."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from schemas.audit import AuditEntry
from schemas.user_events import UserEvent
from state.profiles import Device, Profile


class DeviceRow(NamedTuple):
    """A device as of ``version``; fields are the table's columns. Times in epoch ms."""

    tenant: str
    user_id: str
    device_id: str
    platform: str
    app: str
    environment: str
    token_hash: str
    locale: str
    app_version: str
    registered_at: int
    removed_at: int | None
    removal_reason: str
    version: int

    @classmethod
    def registered(cls, tenant: str, user_id: str, device: Device, app_version: str) -> "DeviceRow":
        """Make the row of a registration, as of its own time."""
        return _device_row(tenant, user_id, device, app_version, (None, ""))

    @classmethod
    def removed(
        cls, tenant: str, user_id: str, device: Device, reason: str, at_ms: int
    ) -> "DeviceRow":
        """Make the row of a removal; a registration after at_ms has the higher version."""
        return _device_row(tenant, user_id, device, "", (at_ms, reason))

    @classmethod
    def gone(
        cls, tenant: str, user_id: str, device_id: str, *, token: str, reason: str, at_ms: int
    ) -> "DeviceRow":
        """Make the row of a removal of a device that is known no more, as in a replay."""
        return cls(
            tenant, user_id, device_id, "", "", "", _token_hash(token), "", "", 0, at_ms, reason,
            _version(at_ms, is_removal=True),
        )  # fmt: skip


class UserRow(NamedTuple):
    """A user as of ``version``; fields are the table's columns. Times in epoch ms."""

    tenant: str
    user_id: str
    locale: str
    timezone: str
    segments: list[str]
    opted_out: list[str]
    attributes: dict[str, str]
    created_at: int
    removed_at: int | None
    version: int

    @classmethod
    def of(cls, tenant: str, user_id: str, profile: Profile | None, at_ms: int) -> "UserRow":
        """Make the row of a user's profile as of at_ms; None when the user is gone."""
        if profile is None:
            return cls(tenant, user_id, "", "", [], [], {}, at_ms, at_ms, at_ms)
        opted_out = [*profile.opted_out_categories, *profile.opted_out_platforms]
        # As a category, a type, or one of them on a channel: news, promo, news/fcm.
        opted_out += ["/".join(filter(None, (one.type or one.category, one.platform)))
                      for one in profile.choices if not one.allow]  # fmt: skip
        if profile.opted_out_all:
            opted_out.append("all")
        return cls(
            tenant,
            user_id,
            profile.locale,
            profile.time_zone,
            list(profile.segments),
            opted_out,
            {name: str(value) for name, value in profile.attributes.items()},
            profile.updated_at_ms,
            None,
            # The newest change there is, whichever of the two kinds came last.
            max(at_ms, profile.updated_at_ms, profile.preferences_at_ms),
        )


class UserEventRow(NamedTuple):
    """Something that a user did; fields are the table's columns. Times in epoch ms."""

    tenant: str
    user_id: str
    event_id: str
    name: str
    occurred_at: int
    value: float
    properties: dict[str, str]

    @classmethod
    def of(cls, said: UserEvent) -> "UserEventRow":
        """Make the row of an event."""
        return cls(
            said.tenant,
            said.user_id,
            said.id,
            said.name,
            said.occurred_at_ms,
            said.value,
            {name: str(value) for name, value in said.properties.items()},
        )


class AuditRow(NamedTuple):
    """An entry of the audit log; fields are the table's columns. at: epoch ms."""

    at: int
    tenant: str
    audit_id: str
    actor_kind: str
    actor: str
    action: str
    target: str
    status: int
    address: str
    user_agent: str
    request_id: str
    before: str
    after: str
    count: int  # type: ignore[assignment]  # it hides a method of tuples that nobody needs

    @classmethod
    def of(cls, said: AuditEntry, at_ms: int) -> "AuditRow":
        """Make the row of an entry, as of at_ms."""
        return cls(
            at_ms, said.tenant, said.audit_id, said.actor_kind, said.actor, said.action,
            said.target, said.status, said.address, said.user_agent, said.request_id, said.before,
            said.after, said.count,
        )  # fmt: skip


def columns_of(kind: type[tuple[Any, ...]], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Turn rows into columns by name."""
    names: Sequence[str] = kind._fields  # type: ignore[attr-defined]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _device_row(
    tenant: str,
    user_id: str,
    device: Device,
    app_version: str,
    removed: tuple[int | None, str],
) -> DeviceRow:
    removed_at_ms, reason = removed
    at_ms = device.registered_at_ms if removed_at_ms is None else removed_at_ms
    return DeviceRow(
        tenant,
        user_id,
        device.device_id,
        device.platform,
        device.app,
        device.environment,
        _token_hash(device.token),
        device.locale,
        app_version,
        device.registered_at_ms,
        removed_at_ms,
        reason,
        _version(at_ms, is_removal=removed_at_ms is not None),
    )


def _version(at_ms: int, *, is_removal: bool) -> int:
    """Twice the time, so that at the same millisecond a removal comes after the registration."""
    return 2 * at_ms + is_removal


def _token_hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()[:32] if token else ""
