"""What a user agreed to: the most specific of their choices, else the category's rule."""

from schemas.outcomes import Reason
from schemas.pipeline import Platform
from schemas.tenant import Category
from state.profiles import Choice, Profile


def refusal(
    profile: Profile, category: str, type_: str, rules: Category, platform: Platform
) -> Reason | None:
    """Give why the user does not get such a message on this platform; None when they do.

    Switched off are everything and whole platforms. Apart from that the most specific word holds:
    a choice about the type before one about the category, and with a platform before without; an
    opted-out category is the least specific of those about categories.
    """
    if profile.opted_out_all or platform in profile.opted_out_platforms:
        return Reason.OPTED_OUT
    best, allow = -1, rules.consent == "opt_out"
    silent = Reason.NOT_OPTED_IN
    if category in profile.opted_out_categories:
        best, allow, silent = 0, False, Reason.OPTED_OUT
    for choice in profile.choices:
        rank = _rank(choice)
        if rank > best and _is_about(choice, category, type_, platform):
            best, allow, silent = rank, choice.allow, Reason.OPTED_OUT
    return None if allow else silent


def _is_about(choice: Choice, category: str, type_: str, platform: Platform) -> bool:
    return (
        choice.type in ("", type_)
        and choice.category in ("", category)
        and choice.platform in ("", platform)
    )


def _rank(choice: Choice) -> int:
    return 4 * bool(choice.type) + 2 * bool(choice.category) + bool(choice.platform)
