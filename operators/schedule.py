"""Events whose time has not come, or has passed."""

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
            chunk = work.chunk(users=work.users, devices=work.devices, shard=work.shard, held=True)
            outs.append(work.hold(notice.send_at_ms, Reason.SCHEDULED, chunk))
            outs.append(work.decide(now_ms, Status.DEFERRED, Reason.SCHEDULED))
        else:
            going.append(work)
    return going, outs


def _expired(work: Work, now_ms: int) -> list[object]:
    """One outcome per listed user or device, or one for the message."""
    users = work.users or ("",)
    return [
        work.decide(now_ms, Status.EXPIRED, Reason.TTL_EXPIRED, user_id=user, device_id=device)
        for user, device in zip(users, work.devices or [""] * len(users), strict=True)
    ]
