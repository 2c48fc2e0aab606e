"""Fan-out in two steps: an audience becomes chunks, a chunk becomes users."""

from operators.slices import within
from operators.work import CHUNK_USERS, Decided, Work
from schemas import segments as algebra
from schemas.fields import GROUP_PREFIX, TOPIC_PREFIX
from schemas.outcomes import Reason, Status
from state.progress import Mark, Progress
from state.segments import Segments


class ExpandAudience:
    """Finds the users of each piece of work.

    Up to 1,000 listed users go on at once. More are split into chunks of 1,000. A segment
    expression becomes one chunk per shard, and each of those, read back, its members: a shard
    with more than 1,000 of them goes round once more as listed users.
    progress: told of the pieces of campaigns' runs, see state/progress.
    """

    def __init__(
        self, segments: Segments, progress: Progress, *, chunk_users: int = CHUNK_USERS
    ) -> None:
        self._segments = segments
        self._progress = progress
        self._chunk_users = chunk_users

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """One round trip per segment event or shard chunk; none for listed users."""
        going: list[Work] = []
        outs: list[object] = []
        marks: list[Mark] = []
        for work in works:
            if work.shard >= 0:
                self._members(work, marks)
            elif not work.users:
                outs += self._per_shard(work, now_ms)
                continue
            if len(work.users) > self._chunk_users:
                outs += self._split(work)
                continue
            if work.piece:
                marks.append(_mark(work, work.piece, users=len(work.users)))
            if work.users or work.shard < 0 or not work.high:
                going.append(work)
        if marks:
            self._progress.note(marks)
        return going, outs

    def _members(self, work: Work, marks: list[Mark]) -> None:
        """Look up the users of a shard, or of a piece of it."""
        notice, shards = work.draft.notice, work.draft.tenant.shards
        tree = algebra.parse(notice.expression)
        work.users = self._segments.members(notice.tenant, work.shard, tree)
        if not work.high:
            return
        work.users = within(work.users, notice.message_id, shards, work.low, work.high)
        piece = f"{work.shard}.{work.low}"
        parts = -(-len(work.users) // self._chunk_users)
        marks.append(_mark(work, piece, parts=parts))
        if parts == 1:
            work.piece = f"{piece}.0"

    def _per_shard(self, work: Work, now_ms: int) -> list[object]:
        tenant, notice = work.draft.tenant, work.draft.notice
        tree = algebra.parse(notice.expression)
        named = algebra.names(tree)
        # Nobody may have subscribed yet: then it is empty.
        asked = [name for name in named if not name.startswith((TOPIC_PREFIX, GROUP_PREFIX))]
        missing = sorted(set(asked) - self._segments.exists(tenant.name, asked))
        if missing:
            detail = f"no segment named {', '.join(missing)}"
            return [
                work.decide(now_ms, Status.REJECTED, Reason.UNKNOWN_SEGMENT, detail=detail[:200])
            ]
        if not self._segments.count(tenant.name, tenant.shards, tree):
            seen = f"no user is in {notice.expression}"[:200]
            return [work.decide(now_ms, Status.SUPPRESSED, Reason.EMPTY_AUDIENCE, detail=seen)]
        return [work.chunk(shard=shard) for shard in range(tenant.shards)]

    def _split(self, work: Work) -> list[object]:
        size = self._chunk_users
        return [
            work.chunk(
                users=work.users[start : start + size],
                devices=work.devices[start : start + size],
                gathering=work.gathering,
                windows=work.windows_of(work.users[start : start + size]),
                piece=f"{work.shard}.{work.low}.{start}" if work.high else "",
            )
            for start in range(0, len(work.users), size)
        ]


def _mark(work: Work, piece: str, **more: int) -> Mark:
    notice = work.draft.notice
    return Mark(notice.tenant, notice.message_id, piece, **more)
