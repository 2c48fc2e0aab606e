"""Digests: a user's events of one key become one message."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from operators.find_template import FindTemplate
from operators.ids import decision_id
from operators.quiet_hours import minutes_of, zone_of
from operators.work import Decided, Draft, Work
from schemas.gathering import DigestWindow
from schemas.outcomes import Reason, Status
from schemas.pipeline import Digest, Notice, Outcome
from state.gatherings import Closed, Closing, Gatherings

DIGEST = "d:"
MAX_KEY_CHARS = 256


class DigestItem(msgspec.Struct, frozen=True, array_like=True):
    """An event as its digest keeps it."""

    type: str
    campaign_id: str
    created_at_ms: int
    title: str
    body: str
    data: dict[str, str]
    variables: dict[str, Any]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DigestItem).decode


class CloseDigests:
    """Makes one message of what a closed window holds, and ends the events that are in it.

    A window's timer may come several times, and a closing may be done again after a crash: the
    record that takes the items first, known by its coordinates, gets them every time, the others
    get none. The new message goes the way of any other: opt-outs, quiet hours and caps hold for it.
    """

    def __init__(self, gatherings: Gatherings, templates: FindTemplate | None = None) -> None:
        self._gatherings = gatherings
        self._templates = templates or FindTemplate()

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """One call per tenant with windows to close; all other work passes."""
        closing: defaultdict[str, list[Work]] = defaultdict(list)
        for work in works:
            if work.gathering.startswith(DIGEST):
                closing[work.draft.notice.tenant].append(work)
        if not closing:
            return works, []
        going = [work for work in works if not work.gathering.startswith(DIGEST)]
        outs: list[object] = []
        for group in closing.values():
            self._close(group, now_ms, going, outs)
        return going, outs

    def _close(self, works: list[Work], now_ms: int, going: list[Work], outs: list[object]) -> None:
        tenant = works[0].draft.tenant
        asked = [
            Closing(user, work.gathering, window, str(work.source))
            for work in works
            for user, window in work.windows.items()
        ]
        answers = iter(self._gatherings.close_many(tenant.name, tenant.shards, asked, now_ms))
        for work in works:
            later: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
            for user, window in work.windows.items():
                closed = next(answers)
                if closed.later_ms:
                    later[closed.later_ms].append((user, window))
                elif closed.items:
                    draft = self._draft(work, window, closed, now_ms)
                    going.append(Work(draft, work.source, users=(user,), held=True))
                    outs += _ends(work, user, window, closed, now_ms)
            outs += [
                work.hold(
                    due_ms,
                    Reason.DIGESTED,
                    work.chunk(
                        users=[user for user, _ in held],
                        windows=[window for _, window in held],
                        gathering=work.gathering,
                        held=True,
                    ),
                )
                for due_ms, held in later.items()
            ]

    def _draft(self, work: Work, window: str, closed: Closed, now_ms: int) -> Draft:
        notice = _notice(work, window, closed, now_ms)
        tenant = work.draft.tenant
        draft = Draft(self._templates.pinned(notice, tenant), tenant, work.draft.category)
        self._templates.equip(draft)
        return draft


def digest_of(draft: Draft) -> Digest | None:
    """Give the digest that an event is to be collapsed into, its own or its category's."""
    notice, said = draft.notice, draft.category.digest
    if notice.digest is not None or said is None:
        return notice.digest
    value = field_of(notice, said.by) if said.by is not None else None
    key = notice.type if value is None or isinstance(value, (dict, list)) else str(value)
    return packed_digest(said, key[:MAX_KEY_CHARS])


def field_of(notice: Notice, name: str) -> Any:
    """Give an entry of the message's data, or else of its variables; None without one."""
    return notice.data.get(name, notice.variables.get(name))


def packed_digest(said: DigestWindow, key: str) -> Digest:
    """Give a digest as it travels."""
    window_ms = (said.window_s or 0) * 1_000
    longest_ms = said.longest_s * 1_000 if said.longest_s is not None else 10 * window_ms
    return Digest(
        key, said.template, window_ms, said.sliding, longest_ms, said.until or "", said.max_items
    )


def due_of(digest: Digest, now_ms: int, zone: str) -> int:
    """Give when a window that opens now closes: after its length, or at the next local time."""
    if not digest.until:
        return now_ms + digest.window_ms
    now = datetime.fromtimestamp(now_ms / 1_000, UTC)
    midnight = now.astimezone(zone_of(zone)).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=None
    )
    for days in (0, 1, 2):
        local = midnight + timedelta(days=days, minutes=minutes_of(digest.until))
        at = local.replace(tzinfo=zone_of(zone)).astimezone(UTC)
        if at > now:
            return int(at.timestamp() * 1_000)
    raise AssertionError("no time of day is further away than two days")


def packed_item(notice: Notice) -> bytes:
    """Give what a digest keeps of an event."""
    texts = notice.texts.get("")
    return _encode(
        DigestItem(
            notice.type,
            notice.campaign_id,
            notice.created_at_ms,
            texts.title if texts is not None else "",
            texts.body if texts is not None else "",
            notice.data,
            notice.variables,
        )
    )


def _notice(work: Work, window: str, closed: Closed, now_ms: int) -> Notice:
    draft = work.draft
    notice, digest = draft.notice, digest_of(draft)
    items = [_decode(item) for _, item in closed.items]
    variables = {
        "count": len(items),
        "key": work.gathering.removeprefix(DIGEST),
        "items": [
            {"type": i.type, "title": i.title, "body": i.body, "data": i.data, **i.variables}
            for i in items
        ],
    }
    # A digest that was taken out of the configuration meanwhile is told in the event's own words.
    words: dict[str, Any] = {"variables": {**notice.variables, **variables}}
    if digest is not None:
        words = {
            "texts": {},
            "template": digest.template,
            "template_version": 0,
            "template_pinned": False,
            "variables": variables,
        }
    return replace(
        notice,
        message_id=window,
        **words,
        data=items[-1].data,
        variants=(),
        expression="",
        send_at_ms=0,
        local_at="",
        best_from_ms=0,
        expires_at_ms=now_ms + draft.category.default_ttl_s * 1_000,
        holdout_percent=0.0,
        created_at_ms=now_ms,
        digest=None,
        gathered=True,
    )


def _ends(work: Work, user: str, window: str, closed: Closed, now_ms: int) -> list[Outcome]:
    """Give the outcome of each event in the digest: it is not sent by itself."""
    notice = work.draft.notice
    outcomes = []
    for message_id, packed in closed.items:
        item = _decode(packed)
        outcomes.append(
            Outcome(
                outcome_id=decision_id(work.source, user, message_id, Reason.IN_DIGEST),
                occurred_at_ms=now_ms,
                tenant=notice.tenant,
                message_id=message_id,
                status=Status.SUPPRESSED,
                reason=Reason.IN_DIGEST,
                priority=notice.priority,
                user_id=user,
                category=notice.category,
                type=item.type,
                campaign_id=item.campaign_id,
                detail=f"digest {window}",
                sandbox=notice.sandbox,
                created_at_ms=item.created_at_ms,
            )
        )
    return outcomes
