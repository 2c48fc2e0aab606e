"""Answers about devices, users and messages.

The API's document, /v1/openapi.json, says what each field means.
"""

from datetime import datetime
from typing import Any

import msgspec

from api.client.errors import Problem


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is known. token: a stand-in that is the same for the same token."""

    user_id: str
    device_id: str
    platform: str
    app: str
    token: str
    environment: str
    locale: str | None = None
    app_version: str
    os_version: str
    groups: list[str]
    registered_at: datetime | None = None


class RegisteredDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it will be. device_token: the app's own credential, for this user and device."""

    user_id: str
    device_id: str
    platform: str
    app: str
    token: str
    environment: str
    locale: str | None = None
    app_version: str
    os_version: str
    groups: list[str]
    registered_at: datetime | None = None
    device_token: str


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a user. updated_at: of the newest record, null when there was none."""

    schema_version: int = 1
    locale: str | None = None
    time_zone: str | None = None
    country: str | None = None
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)
    segments: list[str] = msgspec.field(default_factory=list)
    registered_at: datetime | None = None
    user_id: str
    updated_at: datetime | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A user's yes or no to some messages: those of a type or a category, maybe on one channel."""

    allow: bool
    type: str = ""
    category: str | None = None
    channel: str | None = None


class QuietHours(msgspec.Struct, frozen=True, kw_only=True):
    """A window of the day, start included and end not; it may pass midnight."""

    start: str
    end: str
    time_zone: str | None = None
    days: list[str] = msgspec.field(default_factory=list)


class PreferencesView(msgspec.Struct, frozen=True, kw_only=True):
    """What a user wants. updated_at: of the newest record, null when there was none."""

    schema_version: int = 1
    opt_out_all: bool = False
    opted_out_categories: list[str] = msgspec.field(default_factory=list)
    opted_out_channels: list[str] = msgspec.field(default_factory=list)
    muted_until: datetime | None = None
    choices: list[Choice] = msgspec.field(default_factory=list)
    quiet_hours: list[QuietHours] = msgspec.field(default_factory=list)
    topics: list[str] = msgspec.field(default_factory=list)
    user_id: str
    updated_at: datetime | None = None


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one item. problem: null when it was taken."""

    user_id: str | None = None
    problem: dict[str, Any] | None = None


class ImportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch, in its order."""

    accepted: int
    rejected: int
    results: list[ImportResult]


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Links for one user. headers: of an e-mail, for one-click unsubscription (RFC 8058)."""

    unsubscribe_url: str
    preferences_url: str
    expires_at: datetime
    headers: dict[str, str]


class AboutMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a message is; "" for what is not known."""

    type: str = ""
    category: str = ""
    priority: str = ""
    campaign_id: str = ""
    sandbox: bool = False


class StatusCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often something was decided about a message, and about how many users."""

    status: str
    reason: str
    platform: str
    decisions: int
    users: int
    example_user_id: str


class DecisionStep(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. rule: what decided it. change: where to look if it should not have."""

    at: str
    status: str
    reason: str
    rule: str
    change: str
    seen: str
    until: str
    user_id: str
    device_id: str
    platform: str
    attempt: int
    provider: str
    provider_id: str
    latency_ms: int | None = None
    for_token: str
    trace_id: str


class DeviceNow(msgspec.Struct, frozen=True, kw_only=True):
    """A device that the user has now. token: a hash that tells two tokens apart."""

    device_id: str
    platform: str
    app: str
    token: str
    registered_at: str


class UserNow(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as it is now; what policy saw at the time stands in the steps."""

    devices: list[DeviceNow]
    locale: str = ""
    time_zone: str = ""
    country: str = ""
    opted_out_all: bool = False
    opted_out_categories: list[str] = msgspec.field(default_factory=list)
    opted_out_channels: list[str] = msgspec.field(default_factory=list)
    choices: list[dict[str, bool | str]] = msgspec.field(default_factory=list)
    muted_until: str = ""
    quiet_hours: str = ""
    segments: list[str] = msgspec.field(default_factory=list)
    updated_at: str = ""


class MessageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message stands. users: about whom anything was decided."""

    message_id: str
    about: AboutMessage
    users: int
    counts: list[StatusCount]
    steps: list[DecisionStep]
    now: str
    notes: list[str]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a message, or one user of it, met what it met."""

    message_id: str
    user_id: str
    about: AboutMessage
    steps: list[DecisionStep]
    counts: list[StatusCount]
    users: int
    now: str
    user: UserNow | None = None
    notes: list[str]


class TraceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with the ids to look further: of its outcome, its delivery and its trace."""

    at: str
    outcome_id: str
    trace_id: str
    status: str
    reason: str
    rule: str
    user_id: str
    device_id: str
    delivery_id: str
    platform: str
    attempt: int
    provider_status: int
    detail: str


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """A message is taken back: what of it has not left for a provider stops within a second."""

    message_id: str
    state: str = "cancelled"
    by: str


class ReportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one report: its id, the same for a repeat, or its problem."""

    id: str | None = None
    problem: Problem | None = None


class FeedbackResults(msgspec.Struct, frozen=True, kw_only=True):
    """What became of reports, in their order."""

    accepted: int
    rejected: int
    results: list[ReportResult]


class LinkResult(msgspec.Struct, frozen=True, kw_only=True):
    """A link that was made, or the problem with what was asked."""

    url: str | None = None
    problem: Problem | None = None


class LinkResults(msgspec.Struct, frozen=True, kw_only=True):
    """The links, in the order in which they were asked for."""

    results: list[LinkResult]


class StoreView(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed from a store. note: what stays there, and until when."""

    store: str
    removed: int
    swept_at: datetime | None = None
    note: str = ""


class ErasureView(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure as it stands. signature: of the receipt, that is, of all other fields."""

    erasure_id: str
    tenant: str
    user_hash: str
    state: str
    requested_at: datetime
    erased_at: datetime | None = None
    completed_at: datetime | None = None
    stores: list[StoreView] = msgspec.field(default_factory=list)
    signature: str


class ReceiptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """is_valid: signed here, and unchanged since. is_of_user: null when no user was named."""

    is_valid: bool
    is_of_user: bool | None = None


class DecidedCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often something would be decided. rule: in words."""

    status: str
    reason: str
    rule: str
    decisions: int
    example_user_id: str
    example_detail: str


class ReachBody(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an event would reach. at: the time for which it is asked."""

    message_id: str
    category: str
    priority: str
    at: str
    users: int
    reached: int
    devices: dict[str, int]
    decided: list[DecidedCount]
    held_from: str
    held_until: str
    faults: list[str]
    is_whole: bool
    stopped_by: str
    parts_done: int
    parts_known: int
    takes_s: float
