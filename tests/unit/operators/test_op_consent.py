"""Consent: whose word holds, against a model that sorts all that was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.consent import refusal, refused_by
from schemas.outcomes import Reason
from schemas.pipeline import Platform
from schemas.tenant import Category
from state.profiles import Choice, Profile
from tests.unit.operators.builders import UNTIMED, profile

OPT_OUT, OPT_IN = Category(), Category(consent="opt_in")
FCM = Platform.FCM


def asked(user: Profile, rules: Category = OPT_OUT, platform: Platform = FCM) -> Reason | None:
    """About an alert in the news."""
    return refusal(user, "news", "alert", rules, platform)


def test_who_said_nothing_gets_what_the_category_says() -> None:
    """Until they say no, or only once they have said yes."""
    assert asked(profile()) is None
    assert asked(profile(), OPT_IN) is Reason.NOT_OPTED_IN


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"opted_out_categories": ("news",)}, False),
        ({"choices": (Choice(allow=False, category="news"),)}, False),
        ({"choices": (Choice(allow=False, category="ads"),)}, True),
        ({"choices": (Choice(allow=False, type="alert"),)}, False),
        ({"choices": (Choice(allow=False, category="news", platform="apns"),)}, True),
        ({"choices": (Choice(allow=False, category="news", platform="fcm"),)}, False),
        # The more specific word holds, whichever was said first.
        (
            {"opted_out_categories": ("news",), "choices": (Choice(allow=True, type="alert"),)},
            True,
        ),
        (
            {
                "choices": (
                    Choice(allow=True, type="alert"),
                    Choice(allow=False, category="news", platform="fcm"),
                )
            },
            True,
        ),
        (
            {
                "choices": (
                    Choice(allow=False, type="alert", platform="fcm"),
                    Choice(allow=True, type="alert"),
                )
            },
            False,
        ),
        # What is switched off as a whole stays off.
        ({"opted_out_all": True, "choices": (Choice(allow=True, type="alert"),)}, False),
        ({"opted_out_platforms": ("fcm",), "choices": (Choice(allow=True, type="alert"),)}, False),
    ],
)
def test_the_most_specific_word_holds(changes: dict[str, object], *, allowed: bool) -> None:
    """Type before category, with a channel before without."""
    assert (asked(profile(**changes)) is None) is allowed


WORDS = st.builds(
    Choice,
    allow=st.booleans(),
    type=st.sampled_from(["", "alert", "digest"]),
    category=st.sampled_from(["", "news", "ads"]),
    platform=st.sampled_from(["", "fcm", "apns"]),
).filter(lambda one: one.type or one.category)


@UNTIMED
@given(
    words=st.lists(WORDS, unique_by=lambda one: (one.type, one.category, one.platform)),
    rules=st.sampled_from([OPT_OUT, OPT_IN]),
    platform=st.sampled_from([Platform.FCM, Platform.APNS]),
    left=st.booleans(),
)
def test_as_the_model_says(
    words: list[Choice], rules: Category, platform: Platform, *, left: bool
) -> None:
    """All that fits, the most specific last; the order in which it was said is no matter."""
    user = profile(choices=tuple(words), opted_out_categories=("news",) * left)
    fitting = [
        ((bool(w.type), bool(w.category), bool(w.platform)), w.allow)
        for w in words
        if w.type in {"", "alert"} and w.category in {"", "news"} and w.platform in {"", platform}
    ]
    said = [((False, False, False), False)] * left + fitting
    expected = max(said)[1] if said else rules.consent == "opt_out"
    assert (asked(user, rules, platform) is None) is expected
    backwards = profile(choices=tuple(reversed(words)), opted_out_categories=("news",) * left)
    assert asked(backwards, rules, platform) is asked(user, rules, platform)


@UNTIMED
@given(
    words=st.lists(WORDS, unique_by=lambda one: (one.type, one.category, one.platform)),
    rules=st.sampled_from([OPT_OUT, OPT_IN]),
    switched_off=st.sampled_from([{}, {"opted_out_all": True}, {"opted_out_platforms": ("fcm",)}]),
    left=st.booleans(),
)
def test_what_refused_is_told_as_it_was_decided(
    words: list[Choice], rules: Category, switched_off: dict[str, object], *, left: bool
) -> None:
    """Where nothing was said only an opt-in category refuses; else the word that did is told."""
    user = profile(choices=tuple(words), opted_out_categories=("news",) * left, **switched_off)
    why, told = asked(user, rules), refused_by(user, "news", "alert", FCM)
    if why is Reason.NOT_OPTED_IN:
        assert told == "nothing said about news"
    elif why is Reason.OPTED_OUT:
        assert told.startswith("no to ") or told.endswith("is opted out")
