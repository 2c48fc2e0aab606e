"""Answers about keys, credentials and the audit log.

The API's document, /v1/openapi.json, says what each field means.
"""

from datetime import datetime

import msgspec


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """When a secret was made and until when it holds; null for no end."""

    made_at: datetime
    until: datetime | None = None


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is shown: never its secret."""

    name: str
    roles: list[str]
    scopes: list[str] | None = None
    priorities: list[str] | None = None
    categories: list[str] | None = None
    requests_per_s: float | None = None
    events_per_day: int | None = None
    expires_at: datetime | None = None
    id: str
    version: int
    created_at: datetime
    created_by: str
    secrets: list[SecretView]


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its text, shown this once. key: what goes into Authorization: Bearer."""

    name: str
    roles: list[str]
    scopes: list[str] | None = None
    priorities: list[str] | None = None
    categories: list[str] | None = None
    requests_per_s: float | None = None
    events_per_day: int | None = None
    expires_at: datetime | None = None
    id: str
    version: int
    created_at: datetime
    created_by: str
    secrets: list[SecretView]
    key: str


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown of an app's credential."""

    app: str
    platform: str
    source: str
    is_set: bool | None = None
    version: int | None = None
    fingerprint: str | None = None
    set_at: datetime | None = None
    set_by: str | None = None
    master_key: str | None = None


class AuditItem(msgspec.Struct, frozen=True, kw_only=True):
    """An entry: one call, or the sum of many alike within a minute, whose number is `count`."""

    at: datetime
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
    count: int
