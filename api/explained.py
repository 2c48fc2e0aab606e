"""What an explanation is made of, and what it asks."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from sinks.outcome_history import Decision, Group, History


class Outcomes(Protocol):
    """What is remembered of messages; sinks/outcome_history.py asks ClickHouse."""

    def tenants(self, message_id: str) -> list[str]:
        """Give the tenants that have such a message."""
        ...

    def decisions(self, tenant: str, message_id: str, user_ids: Sequence[str]) -> History:
        """Give what was decided about these users, in time order; "" stands for the message."""
        ...

    def any_of(self, tenant: str, message_id: str) -> Decision | None:
        """Give one decision that tells what the message is."""
        ...

    def groups(self, tenant: str, message_id: str) -> list[Group]:
        """Count what was decided about the message's users."""
        ...

    def users(self, tenant: str, message_id: str) -> int:
        """Count the users about whom anything was decided."""
        ...


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision. rule: what decided it, in words; change: where to look if it should not have.

    seen: the state that policy saw. provider: its answer. until: when what is held comes again.
    latency_ms: from the event's arrival to the provider's answer. for_token: what the answer meant
    for the device token, when it is not to be kept.
    """

    at: str
    status: str
    reason: str
    rule: str
    change: str
    seen: str = ""
    until: str = ""
    user_id: str = ""
    device_id: str = ""
    platform: str = ""
    attempt: int = 0
    provider: str = ""
    provider_id: str = ""
    latency_ms: int = -1
    for_token: str = ""
    trace_id: str = ""


class Explained(msgspec.Struct, frozen=True, omit_defaults=True):
    """All there is to say. message: its type, category and so on. now: where it stands.

    steps: in time order; of the one user asked for, and of the message as a whole. groups: how
    many users met what, when no user was asked for. profile: as it is now, tokens masked.
    notes: what cannot be known or may be the cause.
    """

    message_id: str
    tenant: str = ""
    user_id: str = ""
    message: dict[str, Any] = {}
    steps: list[Told] = []
    groups: list[Group] = []
    users: int = 0
    now: str = ""
    profile: dict[str, Any] | None = None
    notes: list[str] = []
