"""Holdout groups: users who get nothing, so that what a message does can be measured."""

from typing import NamedTuple

from operators.ids import draw
from operators.work import Draft
from schemas.pipeline import Priority


class Holdout(NamedTuple):
    """A group. name: what its members are drawn by; another name draws others."""

    name: str
    percent: float


def holdouts_of(draft: Draft) -> tuple[Holdout, ...]:
    """Give the groups that this message leaves out: the tenant's, and the campaign's own.

    A critical message leaves out nobody.
    """
    notice, everywhere = draft.notice, draft.tenant.holdout
    if notice.priority is Priority.CRITICAL:
        return ()
    groups = []
    if everywhere is not None and notice.category in everywhere.categories:
        groups.append(Holdout(f"tenant {everywhere.name}", everywhere.percent))
    if notice.holdout_percent:
        name = notice.campaign_id or notice.message_id
        groups.append(Holdout(f"campaign {name}", notice.holdout_percent))
    return tuple(groups)


def left_out(groups: tuple[Holdout, ...], tenant: str, user_id: str) -> str:
    """Give the name of the first group that the user is in, "" for none."""
    for group in groups:
        if draw(f"{tenant}/{group.name}/{user_id}") < group.percent:
            return group.name
    return ""
