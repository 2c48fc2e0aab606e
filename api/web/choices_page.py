"""What a preference page shows of a user's wishes, and how it changes them."""

import msgspec

from api.web.problems import ProblemError
from api.web.said import Known
from operators.registration import PreferenceChange, with_change
from operators.registry_words import time_of
from operators.wishes import subscribed, unsubscribed, wanted_on, with_channel
from schemas.pipeline import Platform
from schemas.registry import PreferencesBody, ProfileBody, UserPreferences
from schemas.tenant import Tenant
from schemas.user_api import (
    CategoryChoice,
    ChannelChoice,
    PreferencePage,
    PreferencePageChange,
)
from state.profiles import Profile


def page_of(
    tenant: Tenant, user_id: str, wishes: Known[PreferencesBody], about: Known[ProfileBody]
) -> PreferencePage:
    """Give the page, with what is still on its way."""
    body = wishes.body
    platforms = sorted({Platform(app.platform) for app in tenant.apps.values()})
    bare = _bare(tenant, user_id, wishes)
    categories = []
    for name, rules in tenant.categories.items():
        wanted = wanted_on(bare, name, rules, platforms)
        channels = tuple(ChannelChoice(name=on, allowed=yes) for on, yes in wanted.items())
        categories.append(
            CategoryChoice(name=name, allowed=any(wanted.values()), channels=channels)
        )
    return PreferencePage(
        tenant=tenant.name,
        locale=about.body.locale,
        opt_out_all=body.opt_out_all,
        muted_until=body.muted_until,
        channels=tuple(
            ChannelChoice(name=on, allowed=on not in body.opted_out_channels) for on in platforms
        ),
        categories=tuple(categories),
    )


def _bare(tenant: Tenant, user_id: str, wishes: Known[PreferencesBody]) -> Profile:
    """Give the profile as the flows will judge it, without its general switches."""
    record = UserPreferences.model_construct(
        tenant=tenant.name,
        user_id=user_id,
        updated_at=time_of(wishes.at_ms),
        **dict(wishes.body),
    )
    change = PreferenceChange(tenant.name, user_id, record, wishes.at_ms)
    profile = with_change(wishes.profile, change) or Profile(user_id, 0)
    return msgspec.structs.replace(profile, opted_out_all=False, opted_out_platforms=())


def changed(tenant: Tenant, said: PreferencesBody, change: PreferencePageChange) -> PreferencesBody:
    """Give the wishes after what a user changed on the page. Raises ProblemError."""
    for name, wanted in change.categories.items():
        if name not in tenant.categories:
            known = ", ".join(sorted(tenant.categories))
            fix = f"there is no such category, use {known}"
            raise ProblemError(
                422, f"categories.{name}: {fix}", errors=[(f"categories.{name}", fix)]
            )
        try:
            said = subscribed(said, name) if wanted else unsubscribed(said, name, "")
        except ValueError as error:
            raise ProblemError(
                422, f"categories.{name}: {error}", errors=[(f"categories.{name}", str(error))]
            ) from None
    for channel, allowed in change.channels.items():
        said = with_channel(said, channel, allowed=allowed)
    switches = {
        name: getattr(change, name)
        for name in change.model_fields_set & {"opt_out_all", "muted_until"}
        if name != "opt_out_all" or change.opt_out_all is not None
    }
    return said.model_copy(update=switches)
