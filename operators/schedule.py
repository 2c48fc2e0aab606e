"""Events whose time has not come, or has passed."""

from operators.audience import CHUNK_USERS
from operators.work import Decided, Work
from schemas.outcomes import Reason, Status


def schedule(works: list[Work], now_ms: int) -> Decided:
    """Hold what has a send_at ahead; end what has expired."""
    going: list[Work] = []
    outs: list[object] = []
    for work in works:
        notice = work.draft.notice
        if notice.expires_at_ms and notice.expires_at_ms <= now_ms:
            outs += _expired(work, now_ms)
        elif notice.send_at_ms > now_ms:
            outs += _held(work)
            outs.append(work.decide(now_ms, Status.DEFERRED, Reason.SCHEDULED))
        else:
            going.append(work)
    return going, outs


def _held(work: Work) -> list[object]:
    """Give a timer for each thousand users: all of a large event would not fit into a record."""
    return [
        work.hold(
            work.draft.notice.send_at_ms,
            Reason.SCHEDULED,
            work.chunk(
                users=work.users[start : start + CHUNK_USERS],
                devices=work.devices[start : start + CHUNK_USERS],
                shard=work.shard,
                held=True,
            ),
        )
        for start in range(0, max(1, len(work.users)), CHUNK_USERS)
    ]


def _expired(work: Work, now_ms: int) -> list[object]:
    """One outcome per listed user or device, or one for the message."""
    users = work.users or ("",)
    return [
        work.decide(now_ms, Status.EXPIRED, Reason.TTL_EXPIRED, user_id=user, device_id=device)
        for user, device in zip(users, work.devices or [""] * len(users), strict=True)
    ]
