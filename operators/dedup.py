"""Events that were seen before."""

from operators.work import Decided, Work
from schemas.outcomes import Reason, Status
from state.dedup import Dedup

REMEMBERED_S = 86_400


class DropDuplicates:
    """Suppresses an event whose idempotency key belongs to an earlier one.

    The key stores its event's coordinates, so a replayed event recognises itself and goes on.
    """

    def __init__(self, seen: Dedup, *, ttl_s: int = REMEMBERED_S) -> None:
        self._seen = seen
        self._ttl_s = ttl_s

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """One round trip per batch; chunks pass, as their event was checked."""
        events = [work for work in works if work.dedup_key]
        if not events:
            return works, []
        firsts = self._seen.seen_many(
            [(work.draft.notice.tenant, work.dedup_key) for work in events],
            [str(work.source) for work in events],
            self._ttl_s,
        )
        duplicates = {id(work): first for work, first in zip(events, firsts, strict=True) if first}
        if not duplicates:
            return works, []
        outs = [
            work.decide(
                now_ms,
                Status.SUPPRESSED,
                Reason.DUPLICATE_EVENT,
                detail=f"first seen at {duplicates[id(work)]}",
            )
            for work in events
            if id(work) in duplicates
        ]
        return [work for work in works if id(work) not in duplicates], outs
