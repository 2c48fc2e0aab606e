"""Feature flags: for whom they are on, in categories and in templates."""

from typing import Any

import msgspec
import pytest

from operators.admit import admit
from operators.fan_out import fan_out
from operators.flags import UserFlags, is_on
from operators.holdout import Holdout, left_out
from schemas.pipeline import Content, Priority
from schemas.tenant import Tenant
from tests.unit.operators.builders import (
    NOW_MS,
    addressed,
    joined,
    profile,
    said,
    tenant,
    work,
)

USERS = [f"u{number}" for number in range(4_000)]


def having(flags: dict[str, Any], **more: Any) -> Tenant:
    return tenant(flags=flags, **more)


def on(of: Tenant, flag: str = "f") -> set[str]:
    return {user for user in USERS if is_on(of, flag, user)}


def test_on_and_off_are_for_everyone() -> None:
    """So is 0 and 100 percent; an unknown flag is off."""
    of = having({"on": True, "off": False, "all": 100, "none": 0})
    assert on(of, "on") == on(of, "all") == set(USERS)
    assert on(of, "off") == on(of, "none") == on(of, "other") == set()


@pytest.mark.parametrize("percent", [1, 10.5, 50])
def test_a_percentage_is_about_that_share(percent: float) -> None:
    """Within four standard deviations, of a draw that is the same on every machine."""
    share = percent / 100
    spread = 4 * (len(USERS) * share * (1 - share)) ** 0.5
    assert abs(len(on(having({"f": percent}))) - len(USERS) * share) < spread


def test_a_rollout_keeps_those_who_have_it() -> None:
    """Whoever had it at a tenth has it at a half."""
    assert on(having({"f": 10})) < on(having({"f": 50}))


def test_flags_and_holdouts_are_drawn_apart() -> None:
    """Half of those with one flag have another, and half are left out."""
    of = having({"f": 50, "g": 50})
    both = on(of) & on(of, "g")
    out = {user for user in on(of) if left_out((Holdout("f", 50.0),), "acme", user)}
    assert 850 < len(both) < 1_150
    assert 850 < len(out) < 1_150


@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.CRITICAL])
def test_a_category_behind_a_flag_is_sent_where_it_is_on(priority: Priority) -> None:
    """The others have an outcome that names it."""
    of = having({"f": 50}, categories={"news": {"flag": "f"}})
    some = USERS[:40]
    piece = joined(work(*some, of=of, priority=priority), *map(profile, some))
    _, outs = admit([piece], NOW_MS)
    assert {p.user_id for p, _ in piece.recipients} == on(of) & set(some)
    assert set(said(outs)) == {(u, "suppressed", "flag_off") for u in set(some) - on(of)}
    assert {o.detail for o in outs} == {"flag f"}


def test_a_category_cannot_be_behind_a_flag_that_is_not_there() -> None:
    """A misspelling would silence it."""
    with pytest.raises(ValueError, match=r"categories.news.flag: there is no flag 'f'"):
        tenant(categories={"news": {"flag": "f"}})


def test_templates_read_the_users_flags() -> None:
    """Each user sees their own words."""
    title = "{{ 'new' if flags.f else 'old' }} {{ flags['g-2'] }}"
    of = having({"f": 50, "g-2": True}, templates={"t": {"texts": {"en": {"title": title}}}})
    some = USERS[:20]
    piece = addressed(work(*some, of=of, template="t", texts={}), *map(profile, some))
    fan_out([piece], NOW_MS)
    titles = {
        d.user_id: msgspec.msgpack.decode(d.content, type=Content).title for d in piece.deliveries
    }
    assert titles == {u: f"{'new' if u in on(of) else 'old'} True" for u in some}


def test_a_flag_that_is_not_there_fails_the_template() -> None:
    """It says which."""
    of = having({}, templates={"t": {"texts": {"en": {"title": "{{ flags.nope }}"}}}})
    piece = addressed(work("a", of=of, template="t", texts={}), profile("a"))
    fan_out([piece], NOW_MS)
    assert "nope" in piece.undeliverable[0].detail
    assert dict(UserFlags(having({"a": True}), "u")) == {"a": True}
