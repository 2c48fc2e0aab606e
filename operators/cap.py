"""Frequency caps: not too many messages for one user."""

from operators.work import Decided, Recipient, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome, Priority
from schemas.tenant import Category, Quotas
from state.caps import CapCheck, Caps

Limits = tuple[tuple[str, int, int], ...]
DAY_MS = 86_400_000
DAILY = "quota:daily"  # no category has a colon in its name


class ApplyCaps:
    """Spends the category's caps and the user's daily quota, for all users of a batch at once.

    Every limit is counted exactly, in a rolling window to the millisecond: a count in sub-windows
    costs the server as much, and one record per limit serves all categories of a user.
    Asking and recording are one script, keyed by message id: a replayed batch is admitted again
    without being counted again. A critical message is neither counted nor held back.
    """

    def __init__(self, caps: Caps) -> None:
        self._caps = caps

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """One call per tenant."""
        outs: list[object] = []
        by_tenant: dict[str, list[Work]] = {}
        for work in works:
            if work.recipients and work.draft.notice.priority is not Priority.CRITICAL:
                by_tenant.setdefault(work.draft.notice.tenant, []).append(work)
        for group in by_tenant.values():
            self._spend(group, now_ms, outs)
        return works, outs

    def _spend(self, works: list[Work], now_ms: int, outs: list[object]) -> None:
        checks: list[CapCheck] = []
        capped: list[tuple[Work, Limits]] = []
        for work in works:
            category, notice = work.draft.category, work.draft.notice
            limits = limits_of(notice.category, category, work.draft.tenant.quotas)
            if not limits:
                continue
            capped.append((work, limits))
            checks += [
                CapCheck(profile.user_id, notice.message_id, limits)
                for profile, _ in work.recipients
            ]
        if not checks:
            return
        tenant = works[0].draft.tenant
        answers = iter(self._caps.admit_many(tenant.name, tenant.shards, checks, now_ms))
        for work, limits in capped:
            kept = []
            for recipient in work.recipients:
                answer = next(answers)
                if answer is True:
                    kept.append(recipient)
                else:
                    outs.append(_capped(work, now_ms, recipient, limits[answer]))
            work.recipients = kept


def limits_of(name: str, category: Category, quotas: Quotas) -> Limits:
    """Give all limits that a message of this category must hold: (name, limit, window in ms)."""
    limits = [(name, cap.limit, cap.window_s * 1_000) for cap in category.caps]
    if quotas.user_daily is not None:
        limits.append((DAILY, quotas.user_daily, DAY_MS))
    return tuple(limits)


def _capped(work: Work, now_ms: int, recipient: Recipient, limit: tuple[str, int, int]) -> Outcome:
    profile, devices = recipient
    name, most, window_ms = limit
    return work.decide(
        now_ms,
        Status.SUPPRESSED,
        Reason.FREQUENCY_CAP,
        user_id=profile.user_id,
        device_id=work.wanted(devices),
        detail=f"{name}: {most} in {window_ms // 1_000} s",
    )
