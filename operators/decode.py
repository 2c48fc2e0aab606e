"""Records to work: events as producers wrote them, chunks as route wrote them."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import msgspec

from operators.digest import packed_digest
from operators.find_template import FindTemplate
from operators.ids import decision_id, trace_id_of
from operators.variants import variants_of, words_of
from operators.work import Decided, Draft, Work
from schemas.content import (
    DevicesAudience,
    EveryoneAudience,
    GroupAudience,
    SegmentAudience,
    TopicAudience,
    UsersAudience,
)
from schemas.events import BadEventError, Event, decode_event
from schemas.fields import GROUP_PREFIX, TOPIC_PREFIX
from schemas.outcomes import Reason, Status
from schemas.packed import UNREADABLE, fault_of
from schemas.pipeline import Chunk, DeadLetter, Notice, Outcome, Priority
from schemas.segments import BadSegmentError, parse
from schemas.stream import Message, Source
from schemas.tenant import Tenant
from schemas.topics import CHUNKS, EVENTS

_PRIORITY_OF = {name: priority for priority, name in EVENTS.items()}
_CHUNK_TOPICS = frozenset(CHUNKS.values())
_decode_chunk = msgspec.msgpack.Decoder(Chunk).decode
_decode_notice = msgspec.msgpack.Decoder(Notice).decode

EVERYONE = "everyone"
DRAFTS_KEPT = 512
MAX_NOTICE_BYTES = 262_144
"""Every chunk carries its notice, beside up to 1,000 users, in a record of at most 1 MB."""
_SMALL_BYTES = 131_072
_FEW_LOCALES = 16
_MAX_NAME_CHARS = 256


class _RemovedError(BadEventError):
    """The tenant or category of a message under way is configured no more."""

    def __init__(self, notice: Notice, reason: Reason) -> None:
        super().__init__(
            f"tenant {notice.tenant[:64]!r} or its category {notice.category[:64]!r} was removed "
            "while this message was under way"
        )
        self.notice = notice
        self.reason = reason


class Decode:
    """Turns records into work.

    A record that is no event becomes a dead letter with its bytes, the error and its coordinates,
    and the stream goes on. The topic gives the priority, whatever the event says, so that bulk
    cannot jump the queue.

    business_ms: turns the wall-clock time at which Kafka took a record into the time that policy
    goes by, from which a time to live counts. Without it that counts from when the record is read.
    templates: finds those that events name; without it, in the tenants' files.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        business_ms: Callable[[int], int] | None = None,
        templates: FindTemplate | None = None,
    ) -> None:
        self._tenants = tenants
        self._templates = templates or FindTemplate()
        self._business_ms = business_ms
        self._drafts: OrderedDict[bytes, Draft] = OrderedDict()

    def __call__(self, messages: list[Message], now_ms: int) -> Decided:
        """Decode a batch; see the class."""
        works: list[Work] = []
        outs: list[object] = []
        for message in messages:
            source = Source(message.topic(), message.partition(), message.offset())
            try:
                if source.topic in _CHUNK_TOPICS:
                    works.append(self._chunk(message.value(), source))
                else:
                    self._event(message, source, now_ms, works, outs)
            except _RemovedError as error:
                outs.append(_letter(message, source, str(error), now_ms))
                outs.append(_refused(error.notice, source, error.reason, now_ms))
            except (BadEventError, BadSegmentError) as error:
                outs.append(_letter(message, source, str(error), now_ms))
                outs.append(_unreadable(source, str(error), now_ms))
            except UNREADABLE as error:
                outs.append(_letter(message, source, fault_of(error), now_ms))
                outs.append(_unreadable(source, fault_of(error), now_ms))
        return works, outs

    def _event(
        self, message: Message, source: Source, now_ms: int, works: list[Work], outs: list[object]
    ) -> None:
        raw = message.value()
        event = decode_event(raw)
        tenant = self._tenants.get(event.tenant)
        category = tenant.categories.get(event.category) if tenant else None
        accepted_at_ms = message.timestamp()[1]
        taken_at_ms = now_ms
        if self._business_ms is not None:  # a producer's clock may be ahead
            taken_at_ms = max(0, min(now_ms, self._business_ms(accepted_at_ms)))
        notice = notice_of(
            event,
            priority=_PRIORITY_OF[source.topic],
            accepted_at_ms=accepted_at_ms,
            taken_at_ms=taken_at_ms,
            default_ttl_s=category.default_ttl_s if category else 0,
        )
        if tenant is None or category is None:
            reason = Reason.UNKNOWN_TENANT if tenant is None else Reason.UNKNOWN_CATEGORY
            outs.append(_refused(notice, source, reason, now_ms))
            return
        draft = Draft(self._templates.pinned(notice, tenant), tenant, category)
        self._templates.equip(draft)
        if len(raw or b"") > _SMALL_BYTES or len(notice.texts) > _FEW_LOCALES:
            size_bytes = len(draft.as_bytes())
            if size_bytes > MAX_NOTICE_BYTES:
                raise BadEventError(
                    f"content, template and variables: {size_bytes} bytes without the audience, "
                    f"use at most {MAX_NOTICE_BYTES}"
                )
        users, devices = _listed(event)
        works.append(Work(draft, source, users=users, devices=devices, dedup_key=event.dedup_key))

    def _chunk(self, raw: bytes | None, source: Source) -> Work:
        chunk = _decode_chunk(raw or b"")
        draft = self._draft(chunk.notice)
        if chunk.devices and len(chunk.devices) != len(chunk.users):
            raise BadEventError("the chunk's devices are not parallel to its users")
        if chunk.gathering and len(chunk.windows) != len(chunk.users):
            raise BadEventError("the chunk's windows are not parallel to its users")
        if chunk.shard >= 0 or not chunk.users:
            parse(draft.notice.expression)
        if chunk.shard >= draft.tenant.shards:
            raise BadEventError(
                f"the chunk's shard is {chunk.shard}, and the tenant has {draft.tenant.shards}"
            )
        return Work(
            draft,
            source,
            users=chunk.users,
            devices=chunk.devices,
            shard=chunk.shard,
            held=chunk.held,
            low=chunk.low,
            high=chunk.high,
            piece=chunk.piece,
            is_paused=chunk.is_paused,
            gathering=chunk.gathering,
            windows=dict(zip(chunk.users, chunk.windows, strict=False)),
        )

    def _draft(self, encoded: bytes) -> Draft:
        """Give the draft of a notice; all chunks of a campaign share one while it is recent."""
        draft = self._drafts.get(encoded)
        if draft is None:
            notice = _decode_notice(encoded)
            named = (notice.message_id, notice.tenant, notice.type, notice.category,
                     notice.campaign_id)  # fmt: skip
            if max(map(len, named)) > _MAX_NAME_CHARS:
                raise BadEventError("the chunk's notice has names longer than any event may have")
            tenant = self._tenants.get(notice.tenant)
            category = tenant.categories.get(notice.category) if tenant else None
            if tenant is None or category is None:
                gone = Reason.UNKNOWN_TENANT if tenant is None else Reason.UNKNOWN_CATEGORY
                raise _RemovedError(notice, gone)
            draft = Draft(notice, tenant, category)
            draft.encoded = encoded
            self._drafts[encoded] = draft
            if len(self._drafts) > DRAFTS_KEPT:
                self._drafts.popitem(last=False)
        self._templates.equip(draft)
        return draft


def notice_of(
    event: Event, *, priority: Priority, accepted_at_ms: int, taken_at_ms: int, default_ttl_s: int
) -> Notice:
    """Turn a validated event into what travels inside the pipeline.

    accepted_at_ms, taken_at_ms: when Kafka took it, by the wall clock and the business clock.
    """
    words = words_of(event.content, event.template)
    return Notice(
        message_id=event.id,
        tenant=event.tenant,
        type=event.type,
        category=event.category,
        priority=priority,
        accepted_at_ms=accepted_at_ms,
        # A producer's clock may be ahead; nothing happened after it was told.
        created_at_ms=min(event.created_at_ms or taken_at_ms, taken_at_ms),
        texts=words.texts,
        data=words.data,
        overrides=words.overrides,
        template=words.template,
        template_version=words.template_version,
        variables=event.variables,
        expression=_expression(event),
        device_group=getattr(event.audience, "group", ""),
        send_at_ms=event.send_at_ms,
        expires_at_ms=event.expires_at_ms(accepted_at_ms=taken_at_ms, default_ttl_s=default_ttl_s),
        collapse_key=event.collapse_key or "",
        campaign_id=event.campaign_id or "",
        traceparent=event.traceparent or "",
        sandbox=event.sandbox,
        holdout_percent=event.holdout_percent or 0.0,
        variants=variants_of(event, words) if event.variants else (),
        digest=packed_digest(event.digest, event.digest.key) if event.digest else None,
    )


def _expression(event: Event) -> str:
    # By type: to look for a field that a pydantic model does not have takes microseconds.
    audience = event.audience
    if isinstance(audience, SegmentAudience):
        return audience.segment
    if isinstance(audience, TopicAudience):
        return f"{TOPIC_PREFIX}{audience.topic}"
    if isinstance(audience, GroupAudience):
        return f"{GROUP_PREFIX}{audience.group}"
    return EVERYONE if isinstance(audience, EveryoneAudience) else ""


def _listed(event: Event) -> tuple[tuple[str, ...], tuple[str, ...]]:
    audience = event.audience
    if isinstance(audience, UsersAudience):
        return audience.users, ()
    if isinstance(audience, DevicesAudience):
        # Once each, as for users: two chunks would both send to a device named twice.
        pairs = dict.fromkeys((d.user_id, d.device_id) for d in audience.devices)
        return tuple(user for user, _ in pairs), tuple(device for _, device in pairs)
    return (), ()


def _refused(notice: Notice, source: Source, reason: Reason, now_ms: int) -> Outcome:
    name = notice.tenant if reason is Reason.UNKNOWN_TENANT else notice.category
    return Outcome(
        outcome_id=decision_id(source, "", "", reason),
        occurred_at_ms=now_ms,
        tenant=notice.tenant,
        message_id=notice.message_id,
        status=Status.REJECTED,
        reason=reason,
        priority=notice.priority,
        category=notice.category,
        type=notice.type,
        campaign_id=notice.campaign_id,
        detail=f"{name!r} is not configured",
        trace_id=trace_id_of(notice.traceparent),
        sandbox=notice.sandbox,
        created_at_ms=notice.created_at_ms,
    )


def _letter(message: Message, source: Source, error: str, now_ms: int) -> DeadLetter:
    raw, key = message.value() or b"", message.key() or b""
    return DeadLetter(*source, error=error, raw=raw, at_ms=now_ms, key=key)


def _unreadable(source: Source, error: str, now_ms: int) -> Outcome:
    """Make the outcome of a record that is no event; coordinates stand in for the unknown id."""
    return Outcome(
        outcome_id=decision_id(source, "", "", Reason.BAD_EVENT),
        occurred_at_ms=now_ms,
        tenant="",
        message_id=str(source),
        status=Status.REJECTED,
        reason=Reason.BAD_EVENT,
        detail=error[:200],
    )
