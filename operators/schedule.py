"""Events whose time has not come, or has passed."""

from operators.seen import until
from operators.work import Decided, Work
from schemas.moments import moment
from schemas.outcomes import Reason, Status


def schedule(works: list[Work], now_ms: int) -> Decided:
    """Hold what has a send_at ahead; end what has expired."""
    going: list[Work] = []
    outs: list[object] = []
    for work in works:
        notice = work.draft.notice
        if notice.expires_at_ms and notice.expires_at_ms <= now_ms:
            seen = f"expired {moment(notice.expires_at_ms)}"
            outs += work.decide_all(now_ms, Status.EXPIRED, Reason.TTL_EXPIRED, detail=seen)
        elif notice.send_at_ms > now_ms:
            due_ms = notice.send_at_ms
            outs += [work.hold(due_ms, Reason.SCHEDULED, chunk) for chunk in work.again()]
            seen = until(due_ms)
            outs.append(work.decide(now_ms, Status.DEFERRED, Reason.SCHEDULED, detail=seen))
        else:
            going.append(work)
    return going, outs
