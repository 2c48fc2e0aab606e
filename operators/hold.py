"""Users of a chunk who are to get it later."""

from collections.abc import Callable, Sequence

from operators.seen import until
from operators.work import Work
from schemas.moments import moment
from schemas.outcomes import Reason, Status


def hold_users(
    work: Work,
    now_ms: int,
    until_ms: int,
    positions: Sequence[int],
    reason: Reason,
    *,
    why: Callable[[int], str] = lambda _at: "",
    drop: bool = False,
) -> list[object]:
    """Hold these users of the work until a time: their outcomes, and one timer for all.

    positions: of the users in work.users, 1,000 at most. Who would expire by then ends at once.
    why: what holds the user at a position. drop: end it for all of them instead.
    """
    users = [work.users[at] for at in positions]
    devices = [work.devices[at] for at in positions] if work.devices else ()
    expires_at_ms = work.draft.notice.expires_at_ms
    status, before = Status.DEFERRED, ""
    if drop:
        status = Status.SUPPRESSED
    elif expires_at_ms and expires_at_ms <= until_ms:
        status, reason = Status.EXPIRED, Reason.TTL_EXPIRED
        before = f"expires {moment(expires_at_ms)}, held "
    outs: list[object] = [
        work.decide(
            now_ms,
            status,
            reason,
            user_id=user,
            device_id=device,
            detail=f"{before}{until(until_ms, why(at))}",
        )
        for at, user, device in zip(positions, users, devices or [""] * len(users), strict=True)
    ]
    if status is Status.DEFERRED:
        chunk = work.chunk(users=users, devices=devices, held=True)
        outs.append(work.hold(until_ms, reason, chunk))
    return outs
