"""Who may do what through the API: scopes, the roles that bundle them, and who is calling."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from schemas.pipeline import Priority


class Scope(StrEnum):
    """What one route asks of its caller."""

    EVENTS_SEND = "events:send"
    MESSAGES_READ = "messages:read"
    MESSAGES_CANCEL = "messages:cancel"
    DEVICES_READ = "devices:read"
    DEVICES_WRITE = "devices:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    USERS_ERASE = "users:erase"
    USERS_EXPORT = "users:export"
    PREFERENCES_READ = "preferences:read"
    PREFERENCES_WRITE = "preferences:write"
    SEGMENTS_READ = "segments:read"
    SEGMENTS_WRITE = "segments:write"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    FEEDBACK_WRITE = "feedback:write"
    METRICS_READ = "metrics:read"
    AUDIT_READ = "audit:read"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    CREDENTIALS_READ = "credentials:read"
    CREDENTIALS_WRITE = "credentials:write"


class Role(StrEnum):
    """Who somebody is to a tenant."""

    PRODUCER = "producer"
    DEVICE = "device"
    MARKETER = "marketer"
    ANALYST = "analyst"
    OPERATOR = "operator"
    ADMIN = "admin"


_READS = frozenset(
    {
        Scope.MESSAGES_READ,
        Scope.SEGMENTS_READ,
        Scope.TEMPLATES_READ,
        Scope.CAMPAIGNS_READ,
        Scope.METRICS_READ,
    }
)
SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.PRODUCER: frozenset(
        {
            Scope.EVENTS_SEND,
            Scope.MESSAGES_READ,
            Scope.MESSAGES_CANCEL,
            Scope.DEVICES_READ,
            Scope.DEVICES_WRITE,
            Scope.USERS_READ,
            Scope.USERS_WRITE,
            Scope.PREFERENCES_READ,
            Scope.PREFERENCES_WRITE,
            Scope.FEEDBACK_WRITE,
        }
    ),
    Role.DEVICE: frozenset(
        {
            Scope.DEVICES_READ,
            Scope.DEVICES_WRITE,
            Scope.PREFERENCES_READ,
            Scope.PREFERENCES_WRITE,
            Scope.FEEDBACK_WRITE,
        }
    ),
    Role.MARKETER: _READS
    | {
        Scope.EVENTS_SEND,
        Scope.MESSAGES_CANCEL,
        Scope.SEGMENTS_WRITE,
        Scope.TEMPLATES_WRITE,
        Scope.CAMPAIGNS_WRITE,
    },
    Role.ANALYST: _READS,
    Role.OPERATOR: _READS
    | {
        Scope.MESSAGES_CANCEL,
        Scope.DEVICES_READ,
        Scope.USERS_READ,
        Scope.USERS_ERASE,
        Scope.USERS_EXPORT,
        Scope.PREFERENCES_READ,
        Scope.AUDIT_READ,
        Scope.KEYS_READ,
        Scope.CREDENTIALS_READ,
    },
    Role.ADMIN: frozenset(Scope),
}
"""What each role may do."""

PRIORITIES: Mapping[Role, frozenset[Priority]] = {
    Role.MARKETER: frozenset({Priority.NORMAL, Priority.LOW}),
}
"""What priorities a role may send, where that is not all of them: campaigns must not delay OTPs."""


class Principal(msgspec.Struct, frozen=True):
    """Who is calling, for one tenant, and what they may do.

    kind: "key" (an API key), "jwt" (a service's token) or "device" (an app on a device, or a user's
    token with the role device). id: the key's id, the token's issuer and subject, or the device.
    categories: that may be sent, None for all. user_id, device_id: when set, the caller may touch
    this user, and this device, alone. expires_at_ms: 0 for never. requests_per_s, events_per_day:
    the caller's own limits, 0 for those of the tenant's `access.limits`.
    """

    tenant: str
    kind: str
    id: str
    scopes: frozenset[Scope]
    priorities: frozenset[Priority] = frozenset(Priority)
    categories: frozenset[str] | None = None
    user_id: str = ""
    device_id: str = ""
    expires_at_ms: int = 0
    requests_per_s: float = 0
    events_per_day: int = 0


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """Give what these roles together may do."""
    return frozenset[Scope]().union(*(SCOPES[role] for role in roles))


def priorities_of(roles: Iterable[Role]) -> frozenset[Priority]:
    """Give what these roles together may send."""
    every = frozenset(Priority)
    return frozenset[Priority]().union(*(PRIORITIES.get(role, every) for role in roles))
