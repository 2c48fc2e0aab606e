"""A user's yes or no to categories and types: how a new one changes what was said before."""

from collections.abc import Iterable

from operators.consent import refusal
from schemas.pipeline import Platform
from schemas.registry import MAX_CHOICES, Choice, PreferencesBody
from schemas.tenant import Category
from state.profiles import Profile


def unsubscribed(said: PreferencesBody, category: str | None, type_: str) -> PreferencesBody:
    """End messages of the category, the type, or both; all messages when neither is given.

    What was said before gives way where it would still let them through. It never fails: when
    there is no room for another choice, yes-choices go, and if that is not enough, everything ends.
    """
    if category is None and not type_:
        return said.model_copy(update={"opt_out_all": True})
    kept = [one for one in said.choices if not _within(one, category, type_)]
    ended = [Choice(allow=False, type=type_, category=category)]
    if not type_:
        # A yes to a type alone holds before a no to a category: within the category it ends too.
        types = {one.type: None for one in kept if one.allow and one.category is None}
        ended += [Choice(allow=False, type=one, category=category) for one in types]
    if len(kept) + len(ended) > MAX_CHOICES:
        kept = [one for one in kept if not one.allow]
        ended = ended[:1]
    if len(kept) + len(ended) > MAX_CHOICES:
        return said.model_copy(update={"opt_out_all": True})
    return said.model_copy(update={"choices": (*kept, *ended)})


def subscribed(said: PreferencesBody, category: str) -> PreferencesBody:
    """Say yes to a category, in place of what was said about it before. Raises ValueError."""
    kept = [one for one in said.choices if one.category != category]
    if len(kept) >= MAX_CHOICES:
        raise ValueError(f"there are {MAX_CHOICES} choices already, remove one")
    others = tuple(one for one in said.opted_out_categories if one != category)
    yes = Choice(allow=True, category=category)
    return said.model_copy(update={"choices": (*kept, yes), "opted_out_categories": others})


def with_channel(said: PreferencesBody, channel: Platform, *, allowed: bool) -> PreferencesBody:
    """Let a platform be used, or not."""
    others = tuple(one for one in said.opted_out_channels if one is not channel)
    now = others if allowed else (*others, channel)
    return said.model_copy(update={"opted_out_channels": now})


def _within(one: Choice, category: str | None, type_: str) -> bool:
    return (category is None or one.category == category) and (not type_ or one.type == type_)


def wanted_on(
    profile: Profile, category: str, rules: Category, platforms: Iterable[Platform]
) -> dict[Platform, bool]:
    """Tell on which platforms a user wants a category; profile: without its general switches."""
    return {
        platform: refusal(profile, category, "", rules, platform) is None for platform in platforms
    }
