"""Frequency caps: not too many messages for one user."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from operators.work import Decided, Recipient, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome, Priority
from schemas.tenant import CapGroup, Tenant
from state.caps import CapCheck, Caps
from state.patience import PATIENCE_S

Limits = tuple[tuple[str, int, int], ...]
DAY_MS = 86_400_000
DAILY = "quota:daily"  # no category has a colon in its name
GROUP = "caps:"
CALL_TIMEOUT_S = PATIENCE_S + 30.0  # the call itself waits for Redis, and makes a last attempt

Answers = list[bool | int]
Submit = Callable[[Callable[[], Answers]], "Future[Answers]"]
"""Starts a call and gives its result to come; a thread in production."""


class Asked(NamedTuple):
    """What was asked for one piece of work: one span of answers for each recipient.

    The last of a span is the recipient's own, before it those of the rivals who go first.
    """

    answers: "Future[Answers]"
    spans: Sequence[range]
    limits: Limits


class ApplyCaps:
    """Spends the caps and the user's daily quota, for all users of a batch at once.

    The caps are those of the message's category and of the groups that count it. In two steps:
    ``ask`` starts the call, ``settle`` takes its answer. What stands between them is done while
    Redis counts.
    Every limit is counted exactly, in a rolling window to the millisecond: a count in sub-windows
    costs the server as much, and one record per limit serves all categories of a user.
    Asking and recording are one script, keyed by message id: a replayed batch is admitted again
    without being counted again. A critical message is neither counted nor held back.
    """

    def __init__(self, caps: Caps, submit: Submit, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._caps = caps
        self._submit = submit
        self._timeout_s = timeout_s

    def ask(self, works: list[Work], now_ms: int) -> Decided:
        """Start one call per tenant."""
        by_tenant: dict[str, list[Work]] = {}
        for work in works:
            if work.recipients and work.draft.notice.priority is not Priority.CRITICAL:
                by_tenant.setdefault(work.draft.notice.tenant, []).append(work)
        for group in by_tenant.values():
            self._ask(group, now_ms)
        return works, []

    def settle(self, works: list[Work], now_ms: int) -> Decided:
        """Drop the users whose caps are used up, and what was made for them meanwhile.

        Raises what the call raised, TimeoutError when it takes longer than the client allows.
        """
        outs: list[object] = []
        for work in works:
            if work.asked is not None:
                self._settle(work, work.asked, now_ms, outs)
            outs += work.undeliverable
        return works, outs

    def _ask(self, works: list[Work], now_ms: int) -> None:
        checks: list[CapCheck] = []
        asked: list[tuple[Work, Sequence[range], Limits]] = []
        for work in works:
            notice = work.draft.notice
            limits = limits_of(work.draft.tenant, notice.category, notice.type)
            if not limits:
                continue
            start, message_id = len(checks), notice.message_id
            if work.rivals:
                spans = _ask_ranked(work, limits, checks)
            else:
                spans = [range(at, at + 1) for at in range(start, start + len(work.recipients))]
                checks += [CapCheck(p.user_id, message_id, limits) for p, _ in work.recipients]
            asked.append((work, spans, limits))
        if not checks:
            return
        tenant = works[0].draft.tenant
        call = partial(self._caps.admit_many, tenant.name, tenant.shards, checks, now_ms)
        answers = self._submit(call)
        for work, spans, limits in asked:
            work.asked = Asked(answers, spans, limits)

    def _settle(self, work: Work, asked: Asked, now_ms: int, outs: list[object]) -> None:
        answers = asked.answers.result(self._timeout_s)
        if all(answers[span[-1]] is True for span in asked.spans):
            return
        kept, refused = [], set()
        for recipient, span in zip(work.recipients, asked.spans, strict=True):
            answer = answers[span[-1]]
            if answer is True:
                kept.append(recipient)
            else:
                refused.add(recipient[0].user_id)
                is_outranked = any(answers[at] is True for at in span[:-1])
                reason = Reason.OUTRANKED if is_outranked else Reason.FREQUENCY_CAP
                outs.append(_capped(work, now_ms, recipient, asked.limits[answer], reason))
        work.recipients = kept
        work.deliveries = [d for d in work.deliveries if d.user_id not in refused]
        work.undeliverable = [o for o in work.undeliverable if o.user_id not in refused]


def limits_of(tenant: Tenant, category: str, kind: str) -> Limits:
    """Give the limits that a message of this type must hold: (name, limit, window in ms).

    Those of single channels are asked later, see operators/cap_channels.
    """
    found = [
        (category, cap.limit, cap.window_s * 1_000) for cap in tenant.categories[category].caps
    ]
    for group in tenant.caps:
        if not group.channels and group.counts(category, kind):
            found += limits_of_group(group)
    if tenant.quotas.user_daily is not None:
        found.append((DAILY, tenant.quotas.user_daily, DAY_MS))
    return tuple(found)


def limits_of_group(group: CapGroup) -> Limits:
    """Give the limits of a group, all of one name."""
    name = f"{GROUP}{group.name}"
    return tuple((name, cap.limit, cap.window_s * 1_000) for cap in group.limits)


def cap_seen(limit: tuple[str, int, int]) -> str:
    """Say which cap it was."""
    name, most, window_ms = limit
    return f"{name}: {most} in {window_ms // 1_000} s"


def _ask_ranked(work: Work, limits: Limits, checks: list[CapCheck]) -> Sequence[range]:
    """Ask for each recipient's rivals before the message itself, in the order of their worth."""
    draft, spans = work.draft, []
    for profile, _ in work.recipients:
        start = len(checks)
        for message_id, kind in work.rivals.get(profile.user_id, ()):
            others = limits_of(draft.tenant, draft.notice.category, kind)
            checks.append(CapCheck(profile.user_id, message_id, others))
        checks.append(CapCheck(profile.user_id, draft.notice.message_id, limits))
        spans.append(range(start, len(checks)))
    return spans


def _capped(
    work: Work, now_ms: int, recipient: Recipient, limit: tuple[str, int, int], reason: Reason
) -> Outcome:
    profile, devices = recipient
    return work.decide(
        now_ms,
        Status.SUPPRESSED,
        reason,
        user_id=profile.user_id,
        device_id=work.wanted(devices),
        detail=cap_seen(limit),
    )
