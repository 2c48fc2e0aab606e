"""A new yes or no, and what was said before."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.consent import refusal
from operators.registration import PreferenceChange, with_change
from operators.wishes import subscribed, unsubscribed, with_channel
from schemas.fields import EPOCH
from schemas.pipeline import Platform
from schemas.registry import MAX_CHOICES, Choice, PreferencesBody, UserPreferences
from schemas.tenant import Category
from state.profiles import Profile
from tests.unit.operators.builders import UNTIMED

RULES = {"opt_out": Category(), "opt_in": Category(consent="opt_in")}
CATEGORIES, TYPES = ["news", "ads"], ["", "weekly", "daily"]
choices = st.builds(
    Choice,
    allow=st.booleans(),
    type=st.sampled_from(TYPES[1:]) | st.just(""),
    category=st.sampled_from(CATEGORIES),
    channel=st.none() | st.sampled_from(Platform),
) | st.builds(
    Choice,
    allow=st.booleans(),
    type=st.sampled_from(TYPES[1:]),
    channel=st.none() | st.sampled_from(Platform),
)
said = st.builds(
    PreferencesBody,
    choices=st.lists(
        choices, max_size=8, unique_by=lambda one: (one.type, one.category, one.channel)
    ),
    opted_out_categories=st.lists(st.sampled_from(CATEGORIES), unique=True),
)
links = st.sampled_from(
    [(category, type_) for category in [None, *CATEGORIES] for type_ in TYPES if category or type_]
)


def profile_of(body: PreferencesBody) -> Profile:
    """Give what the registry makes of it."""
    record = UserPreferences(tenant="acme", user_id="u1", updated_at=EPOCH, **dict(body))
    found = with_change(None, PreferenceChange("acme", "u1", record, 1))
    assert found is not None
    return found


def verdicts(body: PreferencesBody, consent: str) -> dict[tuple[str, str, Platform], bool]:
    """Tell of every message whether it is let through."""
    profile = profile_of(body)
    return {
        (category, type_, platform): refusal(profile, category, type_, RULES[consent], platform)
        is None
        for category in CATEGORIES
        for type_ in TYPES
        for platform in Platform
    }


@UNTIMED
@given(said, links, st.sampled_from(["opt_out", "opt_in"]))
def test_what_was_unsubscribed_comes_on_no_platform(
    before: PreferencesBody, link: tuple[str | None, str], consent: str
) -> None:
    """Whatever was said before; and messages that the link does not mean come as before."""
    category, type_ = link
    was, now = verdicts(before, consent), verdicts(unsubscribed(before, category, type_), consent)
    for (its_category, its_type, platform), comes in now.items():
        is_meant = category in (None, its_category) and type_ in ("", its_type)
        expected = False if is_meant else was[its_category, its_type, platform]
        assert comes == expected


@UNTIMED
@given(said, st.sampled_from(CATEGORIES), st.sampled_from(["opt_out", "opt_in"]))
def test_a_category_that_is_wanted_again_comes(
    before: PreferencesBody, category: str, consent: str
) -> None:
    """On all platforms, also after a link ended it; other categories come as before."""
    ended = unsubscribed(before, category, "")
    was, now = verdicts(before, consent), verdicts(subscribed(ended, category), consent)
    for platform in Platform:
        assert now[category, "", platform]
    assert {k: v for k, v in now.items() if k[0] != category} == {
        k: v for k, v in was.items() if k[0] != category
    }


@UNTIMED
@given(said, links)
def test_unsubscribing_twice_is_unsubscribing_once(
    before: PreferencesBody, link: tuple[str | None, str]
) -> None:
    """A link may be followed again and again."""
    once = unsubscribed(before, *link)
    assert verdicts(unsubscribed(once, *link), "opt_out") == verdicts(once, "opt_out")
    assert UserPreferences(tenant="acme", user_id="u1", updated_at=EPOCH, **dict(once))


@pytest.mark.parametrize("allow", [True, False])
def test_unsubscribing_never_fails(*, allow: bool) -> None:
    """Without room for another choice, the user gets less rather than what was refused."""
    full: Any = tuple(Choice(allow=allow, type=f"t{n}") for n in range(MAX_CHOICES))
    now = unsubscribed(PreferencesBody(choices=full), "news", "")
    assert len(now.choices) <= MAX_CHOICES
    assert now.opt_out_all is not allow
    assert not any(v for k, v in verdicts(now, "opt_out").items() if k[0] == "news")


def test_without_a_category_everything_ends() -> None:
    """The choices stay, for the day when the user comes back."""
    before = PreferencesBody(choices=(Choice(allow=True, category="news"),))
    now = unsubscribed(before, None, "")
    assert (now.opt_out_all, now.choices) == (True, before.choices)


def test_a_platform_is_let_be_used_or_not() -> None:
    """Each by itself."""
    now = with_channel(PreferencesBody(), Platform.FCM, allowed=False)
    now = with_channel(now, Platform.APNS, allowed=False)
    now = with_channel(now, Platform.APNS, allowed=False)
    assert now.opted_out_channels == (Platform.FCM, Platform.APNS)
    assert with_channel(now, Platform.FCM, allowed=True).opted_out_channels == (Platform.APNS,)


def test_there_is_an_end_to_choices() -> None:
    """A yes that finds no room says so."""
    full: Any = tuple(Choice(allow=False, type=f"t{n}") for n in range(MAX_CHOICES))
    with pytest.raises(ValueError, match="remove one"):
        subscribed(PreferencesBody(choices=full), "news")
