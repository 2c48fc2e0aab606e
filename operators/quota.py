"""A tenant's daily quota: what is over it is not sent."""

from datetime import UTC, datetime

from operators.quiet_hours import zone_of
from operators.work import Decided, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Priority
from state.quotas import DailyQuotas


class SpendQuota:
    """Takes what goes out from the tenant's quota of the day, one call per tenant and batch.

    It is spent after the caps, by users who have something to get; a user's devices are one
    message. The day is a calendar day in the tenant's time zone. A critical message is neither
    counted nor held back. What a piece of work got is remembered by its coordinates, so a replay
    gets as much.
    """

    def __init__(self, quotas: DailyQuotas) -> None:
        self._quotas = quotas

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """Drop the last users of the work that meets the end of the quota."""
        by_tenant: dict[str, list[Work]] = {}
        for work in works:
            draft = work.draft
            if (
                draft.tenant.quotas.daily is not None
                and work.deliveries
                and draft.notice.priority is not Priority.CRITICAL
            ):
                by_tenant.setdefault(draft.notice.tenant, []).append(work)
        outs: list[object] = []
        for group in by_tenant.values():
            self._spend(group, now_ms, outs)
        return works, outs

    def _spend(self, works: list[Work], now_ms: int, outs: list[object]) -> None:
        tenant = works[0].draft.tenant
        most = tenant.quotas.daily or 0
        day = day_of(now_ms, tenant.time_zone)
        users = [list(dict.fromkeys(d.user_id for d in work.deliveries)) for work in works]
        asked = [
            (f"{work.source} {work.draft.notice.message_id}", len(wanted))
            for work, wanted in zip(works, users, strict=True)
        ]
        given = self._quotas.take_many(tenant.name, day, most, asked, now_ms)
        for work, wanted, count in zip(works, users, given, strict=True):
            if count < len(wanted):
                _refuse(work, set(wanted[count:]), f"{most} on {day}", now_ms, outs)


def day_of(now_ms: int, time_zone: str) -> str:
    """Give the local date of a moment, such as 2026-01-05."""
    moment = datetime.fromtimestamp(now_ms / 1_000, UTC)
    return moment.astimezone(zone_of(time_zone)).date().isoformat()


def _refuse(work: Work, refused: set[str], detail: str, now_ms: int, outs: list[object]) -> None:
    outs += [
        work.decide(
            now_ms,
            Status.SUPPRESSED,
            Reason.TENANT_QUOTA,
            user_id=profile.user_id,
            device_id=work.wanted(devices),
            detail=detail,
        )
        for profile, devices in work.recipients
        if profile.user_id in refused
    ]
    work.recipients = [r for r in work.recipients if r[0].user_id not in refused]
    work.deliveries = [d for d in work.deliveries if d.user_id not in refused]
