"""Frequency caps of single channels: not too many messages for one user on one of them."""

from operators.cap import Limits, cap_seen, limits_of_group
from operators.work import Decided, Work
from schemas.outcomes import Reason, Status
from schemas.pipeline import Delivery, Platform, Priority
from schemas.tenant import CapGroup
from state.caps import CapCheck, Caps


class ApplyChannelCaps:
    """Spends the caps of groups that count some channels only, after all other caps.

    A message counts in a group when it goes to the user on one of its channels. Where the cap is
    used up these devices are left out, and the user's others get it; so each group is asked by
    itself, and what one of them stops has counted in the others: fewer are sent, never more.
    """

    def __init__(self, caps: Caps) -> None:
        self._caps = caps

    def __call__(self, works: list[Work], now_ms: int) -> Decided:
        """One call per tenant that has such caps, none for all others."""
        by_tenant: dict[str, list[tuple[Work, list[CapGroup]]]] = {}
        for work in works:
            notice, tenant = work.draft.notice, work.draft.tenant
            if tenant.caps and work.deliveries and notice.priority is not Priority.CRITICAL:
                groups = [
                    group
                    for group in tenant.caps
                    if group.channels and group.counts(notice.category, notice.type)
                ]
                if groups:
                    by_tenant.setdefault(tenant.name, []).append((work, groups))
        outs: list[object] = []
        for asking in by_tenant.values():
            self._spend(asking, now_ms, outs)
        return works, outs

    def _spend(
        self, asking: list[tuple[Work, list[CapGroup]]], now_ms: int, outs: list[object]
    ) -> None:
        checks: list[CapCheck] = []
        about: list[tuple[Work, CapGroup, Limits]] = []
        for work, groups in asking:
            for group in groups:
                limits = limits_of_group(group)
                users = dict.fromkeys(
                    d.user_id for d in work.deliveries if d.platform in group.channels
                )
                message_id = work.draft.notice.message_id
                checks += [CapCheck(user, message_id, limits) for user in users]
                about += [(work, group, limits)] * len(users)
        if not checks:
            return
        tenant = asking[0][0].draft.tenant
        answers = self._caps.admit_many(tenant.name, tenant.shards, checks, now_ms)
        refused: dict[int, dict[tuple[str, Platform], str]] = {}
        for check, (work, group, limits), answer in zip(checks, about, answers, strict=True):
            if answer is not True:
                of_work = refused.setdefault(id(work), {})
                for channel in group.channels:
                    of_work.setdefault((check.user_id, channel), cap_seen(limits[answer]))
        for work, _ in asking:
            if of_work := refused.get(id(work), {}):
                _leave_out(work, of_work, now_ms, outs)


def _leave_out(
    work: Work, refused: dict[tuple[str, Platform], str], now_ms: int, outs: list[object]
) -> None:
    going: list[Delivery] = []
    for delivery in work.deliveries:
        why = refused.get((delivery.user_id, delivery.platform))
        if why is None:
            going.append(delivery)
            continue
        outs.append(
            work.decide(
                now_ms,
                Status.SUPPRESSED,
                Reason.FREQUENCY_CAP,
                user_id=delivery.user_id,
                device_id=delivery.device_id,
                platform=delivery.platform,
                detail=why,
            )
        )
    work.deliveries = going
