"""Answers about segments, templates, campaigns and figures.

The API's document, /v1/openapi.json, says what each field means.
"""

from datetime import datetime
from typing import Any

import msgspec


class SegmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A segment in a list."""

    name: str
    kind: str
    members: int
    since: str
    error: str


class LastBuild(msgspec.Struct, frozen=True, kw_only=True):
    """The last attempt to build a rule or query. error: "" when it went well."""

    version: int
    at: str
    took_s: float
    error: str


class SegmentDetails(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about a segment."""

    name: str
    kind: str
    members: int
    since: str = ""
    members_then: int | None = None
    generation: str = ""
    uploads: dict[str, int] = msgspec.field(default_factory=dict)
    version: int | None = None
    definition: dict[str, Any] | None = None
    last_build: LastBuild | None = None


class SegmentDefined(msgspec.Struct, frozen=True, kw_only=True):
    """A rule or query that was defined, or is to be built anew."""

    name: str
    version: int
    built: bool = False
    members: int | None = None
    took_s: float | None = None
    error: str = ""


class SegmentEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """How many users an expression means, exactly, as of now."""

    expression: str
    users: int


class BadLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was left out. line: from 1."""

    line: int
    fault: str


class ListUploaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an upload."""

    name: str
    mode: str
    upload: str
    users: int
    bad_lines: int
    bad: list[BadLine]
    applied: bool
    members: int | None = None


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version. state: draft, published, earlier, or "in the tenant's file"."""

    version: int
    state: str
    locales: list[str]
    edited_at: datetime | None = None
    published_at: datetime | None = None


class TemplateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A template with its versions. published: the one in use, if people have put one to use."""

    name: str
    published: int | None = None
    versions: list[VersionRow]


class FindingBody(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of a template. path: where in it."""

    severity: str
    path: str
    text: str


class TemplateChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What a change came to: the version it is about, and its state now."""

    name: str
    version: int
    state: str
    warnings: list[FindingBody] = msgspec.field(default_factory=list)


class TemplateVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its texts."""

    name: str
    version: int
    state: str
    template: dict[str, Any]


class LintReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong. publishable: there is no error among the findings."""

    name: str
    version: int
    publishable: bool
    findings: list[FindingBody]


class PreviewBody(msgspec.Struct, frozen=True, kw_only=True):
    """The request that a user's device would get, as the sink builds it."""

    name: str
    version: int
    platform: str
    user: str
    locale: str
    bytes: int
    limit: int
    note: str = ""
    problem: str = ""
    headers: dict[str, str]
    payload: Any


class RunBody(msgspec.Struct, frozen=True, kw_only=True):
    """One run. users: in the audience when it began. Times in ISO 8601, "" for not yet."""

    run: str
    phase: str
    note: str
    due: str
    started: str
    released_percent: float
    step: int
    users: int
    users_routed: int


class CampaignRow(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign in a list. wanted: running, paused, cancelled, or "" when it never started."""

    campaign: str
    version: int
    wanted: str
    latest: RunBody | None = None


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many outcomes had this reason."""

    status: str
    reason: str
    outcomes: int


class CampaignDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign: what was asked for, where it stands, and what became of it."""

    campaign: str
    version: int
    wanted: str
    definition: dict[str, Any]
    runs: list[RunBody]
    funnel: dict[str, int] | None = None
    reasons: list[ReasonCount] | None = None


class CampaignPut(msgspec.Struct, frozen=True, kw_only=True):
    """What was defined."""

    campaign: str
    version: int
    definition: dict[str, Any]


class EstimateBody(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a campaign would reach now, exactly, and how long it would take, roughly."""

    users: int
    sampled: int
    devices_per_user: float
    platforms: dict[str, float]
    users_per_s: float | None = None
    limited_by: str
    hold_s: float
    seconds: float | None = None


class TestSent(msgspec.Struct, frozen=True, kw_only=True):
    """The message that is on its way to so many users."""

    message_id: str
    users: int
    priority: str


class StateBody(msgspec.Struct, frozen=True, kw_only=True):
    """What people want of a campaign now. overruled: the gate's words, if a gate had stopped it."""

    campaign: str
    state: str
    overruled: str = ""


class DeliveryBucket(msgspec.Struct, frozen=True, kw_only=True):
    """What became of deliveries in [at, at + interval)."""

    outcomes: int
    sent: int
    failed: int
    rejected: int
    suppressed: int
    expired: int
    unknown: int
    retried: int
    deferred: int
    delivered: int
    opened: int
    clicked: int
    dismissed: int
    at: datetime
    platform: str | None = None
    priority: str | None = None
    category: str | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None


class DeliveryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Buckets by time; those in which nothing happened are left out. since, until: as asked."""

    since: datetime
    until: datetime
    interval: str
    buckets: list[DeliveryBucket]


class ReasonRow(msgspec.Struct, frozen=True, kw_only=True):
    """How many outcomes of a category had this status and reason."""

    category: str
    status: str
    reason: str
    outcomes: int


class ReasonFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes by reason, the most frequent first."""

    since: datetime
    until: datetime
    reasons: list[ReasonRow]


class FunnelBody(msgspec.Struct, frozen=True, kw_only=True):
    """Users, each once, and deliveries, by how far they got. Users of millions are 0.5 % exact."""

    targeted_users: int
    suppressed_users: int
    sent_users: int
    failed_users: int
    delivered_users: int
    opened_users: int
    clicked_users: int
    sent_deliveries: int
    failed_deliveries: int


class VariantFunnel(msgspec.Struct, frozen=True, kw_only=True):
    """Of the users who were to see one variant of the message."""

    targeted_users: int
    suppressed_users: int
    sent_users: int
    failed_users: int
    delivered_users: int
    opened_users: int
    clicked_users: int
    sent_deliveries: int
    failed_deliveries: int
    variant: str


class CampaignFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How far a campaign got, over all of its runs, and each variant of its message."""

    campaign: str
    funnel: FunnelBody
    variants: list[VariantFunnel]
