"""What travels between the flows: frozen structs, msgpack on the wire.

Fields are positional on the wire (array_like): append new ones with a default, never reorder.
All times are UTC, in milliseconds since the epoch.
"""

from enum import StrEnum
from typing import Any

import msgspec

from schemas.outcomes import Reason, Status, TokenAction


class Platform(StrEnum):
    """Where a device gets its pushes from."""

    APNS = "apns"
    FCM = "fcm"
    WEBPUSH = "webpush"


class Priority(StrEnum):
    """How urgent: each is its own topics, processes and provider connections."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


FAST = frozenset({Priority.CRITICAL, Priority.HIGH})
"""Priorities that are resent when their fate is unknown; the others (bulk) are not."""


class Content(msgspec.Struct, frozen=True, array_like=True):
    """What the user sees, rendered for one locale and one platform.

    override: the platform's own fields as the producer gave them, see docs/producers.md.
    """

    title: str = ""
    body: str = ""
    image: str = ""
    url: str = ""
    data: dict[str, str] = {}
    override: dict[str, Any] = {}


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """One message to one device.

    delivery_id: canonical UUID derived from (tenant, message_id, device_id), so it is the same
        at every attempt and replay; it is the apns-id.
    content: msgpack of Content; shared by all devices of one locale, so sinks cache on it.
    token: APNs device token (hex), FCM registration token, or Web Push endpoint URL.
    accepted_at_ms: when Kafka took the event. expires_at_ms: 0 means no expiry.
    environment: APNs environment of the token, "production" or "sandbox".
    history: one line per earlier attempt.
    attempts_before: attempts made before it was replayed from the dead letters; the retry policy
        does not count them. holds: how often it was held back before this attempt.
    bypassed: what a critical message went past, such as "quiet hours".
    region: the one of the tenant's regions that the user is in, where it has any.
    variant: which of the message's variants the user sees, where it has any.
    note: what was done to its content, such as "body truncated".
    """

    delivery_id: str
    message_id: str
    tenant: str
    app: str
    user_id: str
    device_id: str
    platform: Platform
    priority: Priority
    category: str
    type: str
    token: str
    content: bytes
    accepted_at_ms: int
    created_at_ms: int
    registered_at_ms: int
    expires_at_ms: int = 0
    collapse_key: str = ""
    campaign_id: str = ""
    p256dh: str = ""
    auth: str = ""
    environment: str = "production"
    attempt: int = 1
    held: bool = False
    traceparent: str = ""
    sandbox: bool = False
    history: tuple[str, ...] = ()
    attempts_before: int = 0
    holds: int = 0
    bypassed: str = ""
    region: str = ""
    variant: str = ""
    note: str = ""


class Answer(msgspec.Struct, frozen=True):
    """A provider's answer to one delivery, classified: a value, never an exception.

    provider_status: HTTP status, 0 when none came. provider_reason: the provider's own code or
    text, at most 200 characters. provider_id: the id it gave. retry_after_s: the wait that the
    provider or its table asks for before the next attempt, None when it says nothing.
    token_invalid_at_ms: since when the token is dead, as the provider says, or 0.
    """

    status: Status
    reason: Reason
    provider_status: int = 0
    provider_reason: str = ""
    provider_id: str = ""
    retry_after_s: float | None = None
    token_action: TokenAction = TokenAction.KEEP
    token_invalid_at_ms: int = 0


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """One decision about one recipient or device: a row in ClickHouse.

    outcome_id: derived from what was decided and by whom, so a replay gives the same id.
    latency_ms: Kafka accepted the event until the provider's answer (SENT only; -1 when not
        measured, as for messages that policy held back).
    """

    outcome_id: str
    occurred_at_ms: int
    tenant: str
    message_id: str
    status: Status
    reason: Reason
    priority: str = ""
    user_id: str = ""
    device_id: str = ""
    delivery_id: str = ""
    platform: str = ""
    category: str = ""
    type: str = ""
    campaign_id: str = ""
    attempt: int = 0
    provider_status: int = 0
    detail: str = ""
    provider_id: str = ""
    latency_ms: int = -1
    token_action: TokenAction = TokenAction.KEEP
    token: str = ""
    token_invalid_at_ms: int = 0
    trace_id: str = ""
    sandbox: bool = False
    created_at_ms: int = 0
    variant: str = ""


class Texts(msgspec.Struct, frozen=True, array_like=True):
    """The words for one locale; an empty image or url means the notice's own."""

    title: str = ""
    body: str = ""
    image: str = ""
    url: str = ""


class Variant(msgspec.Struct, frozen=True, array_like=True):
    """What some users see instead of the notice's own texts, data, overrides and template."""

    name: str
    weight: int
    texts: dict[str, Texts] = {}
    data: dict[str, str] = {}
    overrides: dict[Platform, dict[str, Any]] = {}
    template: str = ""
    template_version: int = 0
    template_pinned: bool = False


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """The digest that an event is collapsed into. until: HH:MM of the user's day, else window_ms.

    longest_ms: how far events can move the end of a sliding window.
    """

    key: str
    template: str
    window_ms: int
    sliding: bool
    longest_ms: int
    until: str
    max_items: int


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """An event after validation, as it goes from route to its chunks and timers and back.

    texts: by locale, "" being the default's. template: empty when the texts are given.
    template_pinned: the version was the newest when the event came, not one that it asked for.
    expression: the audience's segment expression, empty when users are listed. device_group: only
    devices of this group, if any.
    accepted_at_ms: by the wall clock; all other times by the business clock.
    local_at: wall-clock time in each user's zone at which they get it, "" for at once.
    best_from_ms: the day begins within which each user gets it at their best hour, 0 for at once;
    default_hour: of those of whom none is known.
    digest: its own; the category may have one. gathered: it is a digest itself. note: what
    its outcomes are to tell, such as that a hook failed.
    """

    message_id: str
    tenant: str
    type: str
    category: str
    priority: Priority
    accepted_at_ms: int
    created_at_ms: int
    texts: dict[str, Texts] = {}
    data: dict[str, str] = {}
    overrides: dict[Platform, dict[str, Any]] = {}
    template: str = ""
    template_version: int = 0
    variables: dict[str, Any] = {}
    expression: str = ""
    send_at_ms: int = 0
    expires_at_ms: int = 0
    collapse_key: str = ""
    campaign_id: str = ""
    traceparent: str = ""
    sandbox: bool = False
    holdout_percent: float = 0.0
    local_at: str = ""
    best_from_ms: int = 0
    default_hour: str = ""
    variants: tuple[Variant, ...] = ()
    digest: Digest | None = None
    gathered: bool = False
    note: str = ""
    template_pinned: bool = False
    device_group: str = ""


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A part of a notice's audience, on its way back into route.

    notice: msgpack of Notice. users: listed ones. devices: parallel to users, "" meaning all of
    the user's; empty when no device is singled out. shard: -1 unless the users are those of the
    notice's expression in this shard. held: policy held it back, so its latency means nothing.
    low, high: of the shard's users, only those in these places (operators/slices); high 0: all.
    piece: names a part of a run's audience, until it has gone through route once.
    is_paused: it was told already that it waits while its campaign is paused.
    gathering: why it was held together with others (operators/gather); windows: parallel to users.
    """

    notice: bytes
    users: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    shard: int = -1
    held: bool = False
    low: int = 0
    high: int = 0
    piece: str = ""
    is_paused: bool = False
    gathering: str = ""
    windows: tuple[str, ...] = ()


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """Something that could not be handled: the raw bytes, why, and where it came from.

    key: the record's key, so that a replay lands on the same partition.
    """

    topic: str
    partition: int
    offset: int
    error: str
    raw: bytes
    at_ms: int
    history: tuple[str, ...] = ()
    key: bytes = b""


class Timer(msgspec.Struct, frozen=True, array_like=True):
    """Something to put on a topic later. due_at_ms: never fired before."""

    timer_id: str
    due_at_ms: int
    topic: str
    key: bytes
    value: bytes


class TokenDeath(msgspec.Struct, frozen=True, array_like=True):
    """A provider says that a token is dead since invalid_at_ms.

    A device registered after that survives. invalid_at_ms is the provider's timestamp, or the
    time of the answered request where the provider gives none.
    """

    tenant: str
    user_id: str
    device_id: str
    platform: Platform
    token: str
    invalid_at_ms: int
    reason: Reason
    app: str = ""
