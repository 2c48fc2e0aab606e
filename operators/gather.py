"""Messages that wait together: for a digest, or in a contest for a cap."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from operators.digest import DIGEST, digest_of, due_of, field_of, packed_item
from operators.seen import until
from operators.work import Decided, Draft, Recipient, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Digest, Priority
from schemas.tenant import Arbitration
from state.gatherings import Closing, Gatherings, Joined, Joining

CONTEST = "a:"
MOST_RIVALS = 100
_RANKS = {Priority.HIGH: 3.0, Priority.NORMAL: 2.0, Priority.LOW: 1.0}


class Contender(msgspec.Struct, frozen=True, array_like=True):
    """A message in a contest."""

    value: float
    at_ms: int
    type: str


_encode = msgspec.msgpack.Encoder().encode
_contender = msgspec.msgpack.Decoder(Contender).decode


class _Plan(NamedTuple):
    """How a draft is gathered: exactly one of the two."""

    name: str
    digest: Digest | None
    contest: Arbitration | None


class Gather:
    """Puts users' messages into windows, and lets those go on whose contest is over.

    A message that joins leaves its work with an outcome. Of a digest, the first events of a window
    set the timer that closes it (operators/digest.py). In a contest each message comes back by
    itself when the window closes, and then learns who was worth more: the caps are asked for these
    first, so that the most valuable ones get what there is. Critical messages wait for nothing;
    single devices are not digested.
    """

    def __init__(self, gatherings: Gatherings) -> None:
        self._gatherings = gatherings

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """Two calls per tenant at most, none for messages that do not wait."""
        joining: defaultdict[str, list[tuple[Work, _Plan]]] = defaultdict(list)
        back: defaultdict[str, list[Work]] = defaultdict(list)
        for work in works:
            if work.recipients:
                if work.gathering:
                    back[work.draft.notice.tenant].append(work)
                elif plan := _plan_of(work):
                    joining[work.draft.notice.tenant].append((work, plan))
        outs: list[object] = []
        for group in joining.values():
            self._join(group, now_ms, outs)
        for returned in back.values():
            self._rank(returned, now_ms, outs)
        return works, outs

    def _join(self, group: list[tuple[Work, _Plan]], now_ms: int, outs: list[object]) -> None:
        tenant = group[0][0].draft.tenant
        asked = [one for work, plan in group for one in _joinings(work, plan, now_ms)]
        answers = iter(self._gatherings.join_many(tenant.name, tenant.shards, asked, now_ms))
        for work, plan in group:
            joined = [next(answers) for _ in work.recipients]
            reason = Reason.DIGESTED if plan.digest else Reason.ARBITRATION
            outs += [
                work.decide(
                    now_ms,
                    Status.DEFERRED,
                    reason,
                    user_id=profile.user_id,
                    device_id=work.wanted(devices),
                    detail=until(one.due_ms, f"digest {one.window_id}" if plan.digest else ""),
                )
                for (profile, devices), one in zip(work.recipients, joined, strict=True)
            ]
            outs += _timers(work, plan.name, reason, joined, every=plan.contest is not None)
            work.recipients = []

    def _rank(self, works: list[Work], now_ms: int, outs: list[object]) -> None:
        tenant = works[0].draft.tenant
        closings = []
        for work in works:
            closings += [
                Closing(profile.user_id, work.gathering, work.windows[profile.user_id])
                for profile, _ in work.recipients
            ]
        found = zip(
            closings,
            self._gatherings.close_many(tenant.name, tenant.shards, closings, now_ms),
            strict=True,
        )
        for work in works:
            going: list[Recipient] = []
            early: list[tuple[Recipient, Joined]] = []
            for recipient in work.recipients:
                closing, closed = next(found)
                if closed.later_ms:  # this process's clock is behind
                    again = Joined(closing.window_id, closed.later_ms, is_open=True, arms=True)
                    early.append((recipient, again))
                    continue
                going.append(recipient)
                above = _above(closed.items, work.draft.notice.message_id)
                if above:
                    work.rivals[recipient[0].user_id] = above
            work.recipients = [recipient for recipient, _ in early]
            outs += _timers(
                work, work.gathering, Reason.ARBITRATION, [one for _, one in early], every=True
            )
            work.recipients = going


def _plan_of(work: Work) -> _Plan | None:
    draft = work.draft
    notice, category = draft.notice, draft.category
    if notice.digest is None and category.digest is None and category.arbitration is None:
        return None
    if notice.gathered or notice.priority is Priority.CRITICAL:
        return None
    if not work.devices and (digest := digest_of(draft)):
        return _Plan(f"{DIGEST}{digest.key}", digest, None)
    if category.arbitration is not None:
        return _Plan(f"{CONTEST}{notice.category}", None, category.arbitration)
    return None


def _joinings(work: Work, plan: _Plan, now_ms: int) -> list[Joining]:
    draft, message_id = work.draft, work.draft.notice.message_id
    if plan.digest is not None:
        digest, item = plan.digest, packed_item(draft.notice)
        zone = draft.tenant.time_zone
        slide_ms = digest.window_ms if digest.sliding else 0
        return [
            Joining(
                profile.user_id,
                plan.name,
                message_id,
                item,
                due_of(digest, now_ms, profile.time_zone or zone),
                digest.max_items,
                slide_ms,
                digest.longest_ms,
            )
            for profile, _ in work.recipients
        ]
    contest = plan.contest
    window_ms = contest.window_s * 1_000 if contest is not None else 0
    value = value_of(draft, contest.value if contest is not None else "")
    item = _encode(Contender(value, draft.notice.accepted_at_ms, draft.notice.type))
    return [
        Joining(profile.user_id, plan.name, message_id, item, now_ms + window_ms, MOST_RIVALS)
        for profile, _ in work.recipients
    ]


def value_of(draft: Draft, name: str) -> float:
    """Give what a message is worth: the number in its data or variables, or its priority."""
    notice = draft.notice
    if name == "priority":
        return _RANKS.get(notice.priority, 0.0)
    said = field_of(notice, name)
    try:
        value = float(said) if isinstance(said, (int, float, str)) else 0.0
    except ValueError:
        return 0.0
    return value if abs(value) < float("inf") else 0.0


def _timers(
    work: Work, name: str, reason: Reason, joined: Sequence[Joined], *, every: bool
) -> list[object]:
    """Give a timer for each time at which recipients' windows close. every: also unarmed ones."""
    due: defaultdict[int, list[tuple[Recipient, str]]] = defaultdict(list)
    for recipient, one in zip(work.recipients, joined, strict=True):
        if every or one.arms:
            due[one.due_ms].append((recipient, one.window_id))
    return [
        work.hold(
            due_ms,
            reason,
            work.chunk(
                users=[profile.user_id for (profile, _), _ in held],
                devices=[work.wanted(devices) for (_, devices), _ in held] if work.devices else (),
                held=True,
                gathering=name,
                windows=[window for _, window in held],
            ),
        )
        for due_ms, held in due.items()
    ]


def _above(items: Sequence[tuple[str, bytes]], own: str) -> tuple[tuple[str, str], ...]:
    """Give id and type of those who are worth more than this one, the best first."""
    contenders: Mapping[str, Contender] = {name: _contender(item) for name, item in items}
    if own not in contenders:
        return ()
    ranked = sorted(contenders, key=lambda n: (-contenders[n].value, contenders[n].at_ms, n))
    return tuple((name, contenders[name].type) for name in ranked[: ranked.index(own)])
