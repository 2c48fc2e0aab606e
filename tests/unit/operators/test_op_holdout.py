"""Holdout groups: who is left out, always the same, and about as many as asked."""

from typing import Any

import pytest

from operators.admit import admit
from operators.decode import Decode
from operators.holdout import Holdout, holdouts_of, left_out
from schemas.outcomes import Reason, Status
from schemas.pipeline import Outcome, Priority
from tests.unit.operators.builders import (
    NOW_MS,
    event,
    joined,
    messages,
    only,
    profile,
    tenant,
    work,
)

USERS = [f"u{number}" for number in range(10_000)]
HALF = {"percent": 50.0, "categories": ["news"]}


def members(group: Holdout, of: str = "acme") -> set[str]:
    return {user for user in USERS if left_out((group,), of, user)}


@pytest.mark.parametrize("percent", [0.5, 5.0, 50.0])
def test_about_as_many_as_asked_are_left_out(percent: float) -> None:
    """Within four standard deviations, of a draw that is the same on every machine."""
    share = percent / 100
    spread = 4 * (len(USERS) * share * (1 - share)) ** 0.5
    assert abs(len(members(Holdout("a", percent))) - len(USERS) * share) < spread


def test_a_larger_share_holds_the_smaller_one() -> None:
    """Whoever was left out stays so."""
    assert members(Holdout("a", 5.0)) < members(Holdout("a", 10.0))


@pytest.mark.parametrize(("name", "of"), [("b", "acme"), ("a", "other")])
def test_another_group_draws_others(name: str, of: str) -> None:
    """As if there were no connection: a tenth of a tenth is in both."""
    both = members(Holdout("a", 10.0)) & members(Holdout(name, 10.0), of)
    assert 50 < len(both) < 160


def outcomes(of: dict[str, Any], **notice: Any) -> tuple[set[str], list[Outcome]]:
    """Give who gets it, and the outcomes of the others."""
    some = USERS[:200]
    piece = joined(work(*some, of=tenant(**of), **notice), *(profile(user) for user in some))
    _, outs = admit([piece], NOW_MS)
    return {p.user_id for p, _ in piece.recipients}, only(Outcome, outs)


@pytest.mark.parametrize(
    ("of", "notice", "group"),
    [
        ({"holdout": HALF}, {}, "tenant all"),
        ({}, {"holdout_percent": 50.0, "campaign_id": "spring"}, "campaign spring"),
    ],
)
def test_who_is_left_out_is_told_with_the_group(
    of: dict[str, Any], notice: dict[str, Any], group: str
) -> None:
    """One outcome each; the others get it."""
    got, told = outcomes(of, **notice)
    assert {(o.status, o.reason, o.detail) for o in told} == {
        (Status.SUPPRESSED, Reason.HOLDOUT, group)
    }
    assert got | {o.user_id for o in told} == set(USERS[:200])
    assert 60 < len(got) < 140
    assert len(told) == 200 - len(got)


@pytest.mark.parametrize(
    ("of", "notice"),
    [
        ({"holdout": HALF}, {"priority": Priority.CRITICAL}),
        ({"holdout": HALF | {"categories": ["ads"]}, "categories": {"news": {}, "ads": {}}}, {}),
        ({}, {"campaign_id": "spring"}),
    ],
)
def test_nobody_else_is_left_out(of: dict[str, Any], notice: dict[str, Any]) -> None:
    """Not of what is critical, of another category, or without a group."""
    assert outcomes(of, **notice)[1] == []


def test_an_event_may_ask_for_it() -> None:
    """For its own campaign."""
    raw = event(holdout_percent=5, campaign_id="spring")
    (made,), _ = Decode({"acme": tenant()})(messages("events.normal", raw), NOW_MS)
    assert holdouts_of(made.draft) == (Holdout("campaign spring", 5.0),)
