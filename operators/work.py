"""The unit that route's steps hand along: a notice and the part of its audience at hand."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from operators.ids import DeliveryIds, decision_id, trace_id_of
from operators.variants import Choice
from schemas.outcomes import Reason, Status
from schemas.pipeline import Chunk, Delivery, Notice, Outcome, Timer, Variant
from schemas.stream import Source
from schemas.tenant import Category, Tenant
from schemas.topics import CHUNKS
from state.profiles import Device, Profile

if TYPE_CHECKING:  # Jinja and CLDR take 0.1 s to import, which flows without templates save
    from operators.template_plan import Plan

_encode = msgspec.msgpack.Encoder().encode

CHUNK_USERS = 1_000

Recipient = tuple[Profile, Sequence[Device]]
"""A user who is to get the message, and on which devices."""


class Draft:
    """A notice with what its chunks share: policy objects, rendered contents, identities.

    rendered: content bytes by (locale, platform), while they are the same for every user, with what
    else tells readers apart. truncated: those of them that were shortened. plan: the template, once
    it was found. variants: a draft for each variant of the notice, in its words; none for nearly
    all.
    """

    __slots__ = ("_choice", "category", "encoded", "ids", "notice", "plan", "rendered", "tenant",
                 "trace_id", "truncated", "variants")  # fmt: skip

    def __init__(self, notice: Notice, tenant: Tenant, category: Category) -> None:
        self.notice = notice
        self.tenant = tenant
        self.category = category
        self.encoded: bytes = b""
        self.ids = DeliveryIds(notice.tenant, notice.message_id)
        self.rendered: dict[tuple[str, ...], bytes] = {}
        self.truncated: set[bytes] = set()
        self.plan: Plan | None = None
        self.trace_id = trace_id_of(notice.traceparent)
        self.variants: tuple[Draft, ...] = ()
        if notice.variants:
            self._choice = Choice(notice)
            self.variants = tuple(self._in_words_of(one) for one in notice.variants)

    def as_bytes(self) -> bytes:
        """Give the notice's msgpack, made once."""
        if not self.encoded:
            self.encoded = _encode(self.notice)
        return self.encoded

    def variant_of(self, user_id: str) -> int:
        """Give the place of the variant that the user sees; for drafts with variants."""
        return self._choice.of(user_id)

    def _in_words_of(self, one: Variant) -> "Draft":
        notice = msgspec.structs.replace(
            self.notice,
            texts=one.texts,
            data=one.data,
            overrides=one.overrides,
            template=one.template,
            template_version=one.template_version,
            template_pinned=one.template_pinned,
            variants=(),
        )
        return Draft(notice, self.tenant, self.category)


class Work:
    """A draft and some of its audience; each step fills in what the next one needs.

    asked: what was asked about the recipients' caps. deliveries: made for the recipients.
    undeliverable: outcomes of those for whom none could be made. bypassed: by user, what a critical
    message went past. gathering: as in Chunk. windows: by user. rivals: by user, who goes first of
    those in the same contest: (message id, type), the best first.
    """

    __slots__ = ("asked", "bypassed", "dedup_key", "deliveries", "devices", "draft", "gathering",
                 "held", "high", "is_paused", "low", "piece", "profiles", "recipients", "rivals",
                 "shard", "source", "undeliverable", "users", "windows")  # fmt: skip

    def __init__(
        self,
        draft: Draft,
        source: Source,
        *,
        users: Sequence[str] = (),
        devices: Sequence[str] = (),
        shard: int = -1,
        held: bool = False,
        dedup_key: str = "",
        low: int = 0,
        high: int = 0,
        piece: str = "",
        is_paused: bool = False,
        gathering: str = "",
        windows: Mapping[str, str] | None = None,
    ) -> None:
        self.draft = draft
        self.source = source
        self.users = users
        self.devices = devices
        self.shard = shard
        self.held = held
        self.dedup_key = dedup_key
        self.low, self.high, self.piece, self.is_paused = low, high, piece, is_paused
        self.gathering, self.windows = gathering, windows or {}
        self.rivals: dict[str, tuple[tuple[str, str], ...]] = {}
        self.profiles: Sequence[Profile | None] = ()
        self.recipients: list[Recipient] = []
        self.asked: Any = None
        self.deliveries: list[Delivery] = []
        self.undeliverable: list[Outcome] = []
        self.bypassed: dict[str, str] = {}

    def decide(
        self, now_ms: int, status: Status, reason: Reason, *, user_id: str = "", **more: Any
    ) -> Outcome:
        """Make the outcome of a decision about the message, or about one user of it."""
        draft, notice = self.draft, self.draft.notice
        if draft.variants and user_id:
            more["variant"] = notice.variants[draft.variant_of(user_id)].name
        return Outcome(
            outcome_id=decision_id(self.source, user_id, more.get("device_id", ""), reason),
            occurred_at_ms=now_ms,
            tenant=notice.tenant,
            message_id=notice.message_id,
            status=status,
            reason=reason,
            priority=notice.priority,
            user_id=user_id,
            category=notice.category,
            type=notice.type,
            campaign_id=notice.campaign_id,
            trace_id=draft.trace_id,
            sandbox=notice.sandbox,
            created_at_ms=notice.created_at_ms,
            **more,
        )

    def decide_all(
        self, now_ms: int, status: Status, reason: Reason, *, detail: str = ""
    ) -> list[Outcome]:
        """Make an outcome for each listed user or device, or one for the message."""
        users = self.users or ("",)
        return [
            self.decide(now_ms, status, reason, user_id=user, device_id=device, detail=detail)
            for user, device in zip(users, self.devices or [""] * len(users), strict=True)
        ]

    def again(self) -> list["Outbound"]:
        """Make chunks of this work as it is, CHUNK_USERS each: more would not fit into a record."""
        return [
            self.chunk(
                users=self.users[start : start + CHUNK_USERS],
                devices=self.devices[start : start + CHUNK_USERS],
                shard=self.shard,
                held=True,
                low=self.low,
                high=self.high,
                piece=self.piece,
                is_paused=self.is_paused,
                gathering=self.gathering,
                windows=self.windows_of(self.users[start : start + CHUNK_USERS]),
            )
            for start in range(0, max(1, len(self.users)), CHUNK_USERS)
        ]

    def windows_of(self, users: Sequence[str]) -> Sequence[str]:
        """Give the windows that users wait in, as a chunk has them."""
        return [self.windows[user] for user in users] if self.windows else ()

    def wanted(self, devices: Sequence[Device]) -> str:
        """Give the id of a recipient's device when the audience names devices, else ""."""
        return devices[0].device_id if self.devices else ""

    def chunk(
        self,
        *,
        users: Sequence[str] = (),
        devices: Sequence[str] = (),
        shard: int = -1,
        held: bool = False,
        low: int = 0,
        high: int = 0,
        piece: str = "",
        is_paused: bool = False,
        gathering: str = "",
        windows: Sequence[str] = (),
    ) -> "Outbound":
        """Make a chunk of this work for the chunk topic of its priority."""
        value = Chunk(
            notice=self.draft.as_bytes(),
            users=tuple(users),
            devices=tuple(devices),
            shard=shard,
            held=held or self.held,
            low=low,
            high=high,
            piece=piece,
            is_paused=is_paused,
            gathering=gathering,
            windows=tuple(windows),
        )
        return outbound_chunk(self.draft.notice, value)

    def hold(self, until_ms: int, reason: Reason, chunk: "Outbound") -> Timer:
        """Make the timer that puts a chunk back into route."""
        timer_id = decision_id(self.source, chunk.key.decode(), str(until_ms), reason)
        return Timer(timer_id, until_ms, chunk.topic, chunk.key, _encode(chunk.value))


def outbound_chunk(notice: Notice, value: Chunk) -> "Outbound":
    """Address a chunk of a notice."""
    # By its first user, so that the chunks of one campaign spread over the partitions.
    where = value.users[0] if value.users else f"{value.shard}.{value.low}"
    return Outbound(CHUNKS[notice.priority], f"{notice.message_id}:{where}".encode(), value)


class Outbound(msgspec.Struct, frozen=True):
    """A struct bound for a topic."""

    topic: str
    key: bytes
    value: msgspec.Struct


Decided = tuple[list[Any], list[Any]]
"""What goes on, and what was decided on the way."""
