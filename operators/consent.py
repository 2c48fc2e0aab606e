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
    said = _strongest(profile, category, type_, platform)
    if said is None:
        return None if rules.consent == "opt_out" else Reason.NOT_OPTED_IN
    return None if said.allow else Reason.OPTED_OUT


def refused_by(profile: Profile, category: str, type_: str, platform: Platform) -> str:
    """Say which of the user's words refuses such a message, where refusal() gives a reason."""
    if profile.opted_out_all:
        return "everything is opted out"
    if platform in profile.opted_out_platforms:
        return f"{platform} is opted out"
    said = _strongest(profile, category, type_, platform)
    if said is None:
        return f"nothing said about {category}"
    about = {"type": said.type, "category": said.category, "on": said.platform}
    return "no to " + " ".join(f"{what} {value}" for what, value in about.items() if value)


def _strongest(profile: Profile, category: str, type_: str, platform: Platform) -> Choice | None:
    """Give the most specific word about such a message; None when nothing was said."""
    best, said = -1, None
    if category in profile.opted_out_categories:
        best, said = 0, Choice(allow=False, category=category)
    for choice in profile.choices:
        rank = _rank(choice)
        if rank > best and _is_about(choice, category, type_, platform):
            best, said = rank, choice
    return said


def _is_about(choice: Choice, category: str, type_: str, platform: Platform) -> bool:
    return (
        choice.type in ("", type_)
        and choice.category in ("", category)
        and choice.platform in ("", platform)
    )


def _rank(choice: Choice) -> int:
    return 4 * bool(choice.type) + 2 * bool(choice.category) + bool(choice.platform)
