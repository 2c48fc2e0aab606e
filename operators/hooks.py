"""Tenants' hooks: what they are shown, and what their verdicts come to."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from operators.flags import UserFlags
from operators.pace import decided
from operators.work import Decided, Draft, Work
from schemas.hooks import MAX_WHY_CHARS, Hook, HookMessage, Point, Verdict
from schemas.outcomes import Reason, Status
from schemas.packed import UNREADABLE
from schemas.pipeline import Content, Delivery, Notice, Outcome
from schemas.stream import Source
from schemas.tenant import Tenant

T = TypeVar("T")
MAX_DATA_CHARS = 16_384


class HookFailed(NamedTuple):
    """The hook gave no answer. why: with its name."""

    why: str


HookAnswer = list[Verdict | None] | HookFailed


class HookCaller(Protocol):
    """Asks hooks, for a limited time."""

    def hook(self, tenant: str, point: Point) -> Hook | None:
        """Give the tenant's hook at a point."""
        ...

    def ask(self, tenant: str, hook: Hook, messages: Sequence[HookMessage]) -> HookAnswer:
        """Give a verdict for each message. Never raises."""
        ...


class NoHooks:
    """For whoever rehearses: hooks may have effects of their own."""

    def hook(self, _tenant: str, _point: Point) -> Hook | None:
        """Give none."""
        return None

    def ask(self, _tenant: str, _hook: Hook, messages: Sequence[HookMessage]) -> HookAnswer:
        """Pass all."""
        return [None] * len(messages)


_encode = msgspec.msgpack.Encoder().encode
_content = msgspec.msgpack.Decoder(Content).decode
_outcome = msgspec.msgpack.Decoder(Outcome).decode


class BeforeRouting:
    """Asks about events, before anybody is looked up; chunks of them were asked about."""

    def __init__(self, caller: HookCaller) -> None:
        self._caller = caller

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """One call for each tenant that has such a hook."""
        asked = _asked(
            self._caller,
            Point.BEFORE_ROUTING,
            works,
            lambda work: work.draft.notice.tenant if work.dedup_key else "",
            lambda work: _of_event(work.draft.notice),
        )
        if not asked:
            return works, []
        outs: list[object] = []
        ended: set[int] = set()
        for work, found in asked:
            if found.reason is not None:
                ended.add(id(work))
                outs.append(
                    work.decide(now_ms, Status.SUPPRESSED, found.reason, detail=found.detail)
                )
            elif found.data is not None or found.detail:
                work.draft = _told(work.draft, found)
        return [work for work in works if id(work) not in ended], outs


class BeforeSend:
    """Asks about pushes, before they go to the provider."""

    def __init__(self, caller: HookCaller, tenants: Callable[[str], Tenant | None]) -> None:
        self._caller = caller
        self._tenants = tenants

    def __call__(self, pairs: list[tuple[Delivery, Source]], now_ms: int) -> Decided:
        """One call for each tenant that has such a hook."""
        asked = _asked(
            self._caller,
            Point.BEFORE_SEND,
            pairs,
            lambda pair: pair[0].tenant,
            lambda pair: _of_push(pair[0], self._tenants(pair[0].tenant)),
        )
        if not asked:
            return pairs, []
        outs: list[object] = []
        found_of = {id(pair): found for pair, found in asked}
        going: list[tuple[Delivery, Source]] = []
        for pair in pairs:
            delivery, source = pair
            found = found_of.get(id(pair))
            if found is None:
                going.append(pair)
            elif found.reason is not None:
                end = decided(delivery, now_ms, Status.SUPPRESSED, found.reason)
                outs.append(replace(end, detail=found.detail))
            else:
                going.append((_changed(delivery, found), source))
        return going, outs


class AfterOutcome:
    """Tells hooks what became of messages. An answer changes nothing; a failure is a metric."""

    def __init__(self, caller: HookCaller, tenants: Sequence[str]) -> None:
        """tenants: those with such a hook."""
        self._caller = caller
        self._tenants = frozenset(tenants)

    def __call__(self, rows: list[Any], _now_ms: int) -> Decided:
        """Decode outcomes only when some tenant wants them."""
        if self._tenants:
            told: list[Outcome] = []
            for row in rows:
                try:
                    told.append(_outcome(row[3]))
                except UNREADABLE:  # the writer tells about it
                    continue
            _asked(self._caller, Point.AFTER_OUTCOME, told, lambda one: one.tenant, _of_outcome)
        return rows, []


class _Found(NamedTuple):
    """What a verdict or a failure comes to. reason: None lets the message go."""

    reason: Reason | None
    detail: str
    data: dict[str, str] | None


def _asked(
    caller: HookCaller,
    point: Point,
    items: Sequence[T],
    tenant_of: Callable[[T], str],
    view: Callable[[T], HookMessage],
) -> list[tuple[T, _Found]]:
    """Ask about the items of tenants with a hook at this point; give these with the findings.

    An item that cannot be shown is not asked about: what takes it next tells what is wrong with it.
    """
    groups: dict[str, tuple[Hook | None, list[T]]] = {}
    for item in items:
        tenant = tenant_of(item)
        if tenant not in groups:
            groups[tenant] = (caller.hook(tenant, point), [])
        if groups[tenant][0] is not None:
            groups[tenant][1].append(item)
    found: list[tuple[T, _Found]] = []
    for tenant, (hook, group) in groups.items():
        if hook is None:
            continue
        shown = _shown(group, view)
        if not shown:
            continue
        answer = caller.ask(tenant, hook, [message for _, message in shown])
        if isinstance(answer, HookFailed):
            found += [(item, _failed(hook, answer.why)) for item, _ in shown]
        else:
            found += [(i, _judged(hook, v)) for (i, _), v in zip(shown, answer, strict=True)]
    return found


def _shown(items: Sequence[T], view: Callable[[T], HookMessage]) -> list[tuple[T, HookMessage]]:
    shown: list[tuple[T, HookMessage]] = []
    for item in items:
        try:
            shown.append((item, view(item)))
        except UNREADABLE:
            continue
    return shown


def _judged(hook: Hook, verdict: Verdict | None) -> _Found:
    if verdict is None:
        return _Found(None, "", None)
    if verdict.suppress:
        why = f"hook {hook.name}: {verdict.suppress}"[:MAX_WHY_CHARS]
        return _Found(Reason.HOOK, why, None)
    data = verdict.data
    if data is not None and sum(map(len, (*data, *data.values()))) > MAX_DATA_CHARS:
        return _failed(hook, f"hook {hook.name}: data of more than {MAX_DATA_CHARS} characters")
    return _Found(None, "", data)


def _failed(hook: Hook, why: str) -> _Found:
    reason = Reason.HOOK_FAILED if hook.on_failure == "suppress" else None
    return _Found(reason, f"failed: {why}"[:MAX_WHY_CHARS], None)


def _told(draft: Draft, found: _Found) -> Draft:
    """Make the draft of an event whose data a hook has changed, or about which one has failed."""
    notice = draft.notice
    notice = replace(notice, note=found.detail)
    if found.data is not None:
        variants = tuple(replace(one, data=found.data) for one in notice.variants)
        notice = replace(notice, data=found.data, variants=variants)
    told = Draft(notice, draft.tenant, draft.category)
    told.plan = draft.plan
    for one, before in zip(told.variants, draft.variants, strict=True):
        one.plan = before.plan
    return told


def _changed(delivery: Delivery, found: _Found) -> Delivery:
    if found.data is not None:
        content = replace(_content(delivery.content), data=found.data)
        delivery = replace(delivery, content=_encode(content))
    if found.detail:
        delivery = replace(delivery, note=f"{delivery.note}; {found.detail}".lstrip("; "))
    return delivery


def _of_event(notice: Notice) -> HookMessage:
    texts = notice.texts.get("")
    return HookMessage(
        point=Point.BEFORE_ROUTING,
        tenant=notice.tenant,
        message_id=notice.message_id,
        type=notice.type,
        category=notice.category,
        priority=notice.priority,
        campaign_id=notice.campaign_id,
        data=notice.data,
        variables=notice.variables,
        title=texts.title if texts is not None else "",
        body=texts.body if texts is not None else "",
    )


def _of_push(delivery: Delivery, tenant: Tenant | None) -> HookMessage:
    content = _content(delivery.content)
    return HookMessage(
        point=Point.BEFORE_SEND,
        tenant=delivery.tenant,
        message_id=delivery.message_id,
        type=delivery.type,
        category=delivery.category,
        priority=delivery.priority,
        campaign_id=delivery.campaign_id,
        data=content.data,
        user_id=delivery.user_id,
        device_id=delivery.device_id,
        platform=delivery.platform,
        title=content.title,
        body=content.body,
        flags=dict(UserFlags(tenant, delivery.user_id)) if tenant is not None else {},
        variant=delivery.variant,
        attempt=delivery.attempt,
    )


def _of_outcome(outcome: Outcome) -> HookMessage:
    return HookMessage(
        point=Point.AFTER_OUTCOME,
        tenant=outcome.tenant,
        message_id=outcome.message_id,
        type=outcome.type,
        category=outcome.category,
        priority=outcome.priority,
        campaign_id=outcome.campaign_id,
        user_id=outcome.user_id,
        device_id=outcome.device_id,
        platform=outcome.platform,
        variant=outcome.variant,
        attempt=outcome.attempt,
        status=outcome.status,
        reason=outcome.reason,
        detail=outcome.detail,
    )
