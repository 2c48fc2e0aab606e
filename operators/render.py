"""Content: the words for a user, in their language."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from operators.find_template import FindTemplate
from operators.flags import FLAGS, UserFlags
from operators.formats import PLAIN, Setting, zone_of
from operators.formats import locale_of as cldr_locale
from operators.locales import choose_locale
from operators.platform_parts import Filled, PartWriter, shaped
from operators.template_plan import Needs, Plan, reads_as
from operators.template_values import text_of
from operators.templates import USER, RenderError
from operators.truncate import OversizeError, fitted
from operators.work import Draft
from schemas.pipeline import Content, Platform
from schemas.tenant import Tenant
from state.profiles import Device, Profile

MAX_SHARED = 4_096
"""Contents that a draft keeps for its readers: locales times zones times platforms."""

_in_tenants_file = FindTemplate()
_encode = msgspec.msgpack.Encoder().encode


SizeOf = Callable[[Platform, Content], tuple[int, int] | None]
"""Gives the bytes that the platform counts and how many there may be, as the sinks measure; None
when the content is not sendable for another reason, which the sink will say."""


class UnknownTemplateError(LookupError):
    """The tenant has no such template."""


class TooLargeError(RenderError):
    """The message is too large for its platform, and truncating is not enough."""


class Renderer:
    """Renders one draft; what is the same for all users of a locale is made once.

    size_of: measures what a template is to truncate. truncates: whether this one is.
    """

    def __init__(self, draft: Draft, size_of: SizeOf | None = None) -> None:
        """Find the texts. Raises UnknownTemplateError."""
        self.draft = draft
        self._size_of = size_of
        self._locales: dict[str, str] = {}
        self._failed: dict[tuple[str, ...], RenderError] = {}
        self._tenant_locale = draft.tenant.locale
        self._plan = plan_of(draft)
        self._truncated: set[bytes] = set()
        self.truncates = bool(self._plan and self._plan.template.truncated and size_of)

    def content(self, profile: Profile, device: Device) -> bytes:
        """Give the msgpack of Content for this device. Raises RenderError."""
        wanted = device.locale or profile.locale or self._tenant_locale
        locale = self._locales.get(wanted)
        if locale is None:
            locale = self._locales[wanted] = self.locale_of(wanted)
        content = self.draft.rendered.get((locale, device.platform))
        if content is not None:
            return content
        if self._plan is None:
            content = self.draft.rendered[locale, device.platform] = self._given(locale, device)
            return content
        reader = _Reader(wanted, locale, device.platform, profile)
        needs = self._plan.needs(locale, device.platform)
        if needs.per_user:
            variables = variables_of(self.draft, profile)
            return self._render(self._plan, reader, variables, self._setting(needs, reader))
        return self._shared(self._plan, needs, reader)

    def note(self, content: bytes) -> str:
        """Say what was done to a content that this gave, "" for nothing."""
        if content not in self._truncated and content not in self.draft.truncated:
            return ""
        return f"{self._plan.template.truncated} truncated" if self._plan else ""

    def locale_of(self, wanted: str) -> str:
        """Give the locale of the texts for a reader, "" for the event's own default."""
        if self._plan is not None:
            return self._plan.locale(wanted)
        return choose_locale(wanted, self.draft.notice.texts, "")

    def _shared(self, plan: Plan, needs: Needs, reader: "_Reader") -> bytes:
        """Render once for all readers whom nothing tells apart here."""
        rendered, key = self.draft.rendered, reader.key(needs, self.draft.tenant)
        if (content := rendered.get(key)) is not None:
            return content
        if key in self._failed:
            raise self._failed[key]
        try:
            setting = self._setting(needs, reader)
            content = self._render(plan, reader, self.draft.notice.variables, setting)
        except RenderError as error:
            self._failed[key] = error
            raise
        if len(rendered) < MAX_SHARED:
            rendered[key] = content
            if content in self._truncated:
                self.draft.truncated.add(content)
        return content

    def _setting(self, needs: Needs, reader: "_Reader") -> Setting:
        if not needs.localized:
            return PLAIN
        locale = cldr_locale(reads_as(reader.wanted, reader.locale)) or PLAIN.locale
        tenant_zone = zone_of(self.draft.tenant.time_zone) or PLAIN.zone
        return Setting(locale, zone_of(reader.profile.time_zone) or tenant_zone)

    def _given(self, locale: str, device: Device) -> bytes:
        """Give the texts that came with the event."""
        notice = self.draft.notice
        text = notice.texts[locale]
        own = notice.overrides.get(device.platform, {})
        return _encode(Content(text.title, text.body, text.image, text.url, notice.data, own))

    def _render(
        self, plan: Plan, reader: "_Reader", variables: Mapping[str, Any], setting: Setting
    ) -> bytes:
        notice, platform = self.draft.notice, reader.platform
        text, part = plan.texts[reader.locale], plan.parts[platform]
        override: dict[str, Any] = {}
        if part is not None:
            at_s = notice.created_at_ms // 1_000
            writer = PartWriter(variables, setting, created_at_s=at_s, actions=text.actions)
            override = writer.override(part)
        filled = Filled(
            text_of(text.title, variables, setting),
            text_of(text.body, variables, setting),
            text_of(text.image, variables, setting) if text.image else "",
            text_of(text.url, variables, setting) if text.url else "",
            text_of(text.subtitle, variables, setting) if text.subtitle else "",
            _data(plan.template.data, variables, setting, notice.data),
            override,
        )
        own = notice.overrides.get(platform, {})
        short = self._fitted(filled, plan, platform) if self.truncates else filled
        try:
            content = _encode(shaped(short, platform, part, own))
        except (TypeError, ValueError) as error:
            raise RenderError(f"not JSON: {error}") from error
        if short is not filled:
            self._truncated.add(content)
        return content

    def _fitted(self, filled: Filled, plan: Plan, platform: Platform) -> Filled:
        """Shorten a field until the message fits. Raises TooLargeError when it cannot."""
        size_of, part = self._size_of, plan.parts[platform]
        own = self.draft.notice.overrides.get(platform, {})
        last = (0, 0)

        def excess(tried: Filled) -> int:
            nonlocal last
            last = (size_of and size_of(platform, shaped(tried, platform, part, own))) or (0, 0)
            return last[0] - last[1]

        try:
            return fitted(filled, plan.template.truncated, excess)
        except OversizeError as error:
            size = f"{last[0]} bytes, {platform} allows {last[1]}"
            raise TooLargeError(f"{error}: {size}") from None


class _Reader(NamedTuple):
    """Who reads: the locale they want, and that of the texts there are."""

    wanted: str
    locale: str
    platform: Platform
    profile: Profile

    def key(self, needs: Needs, tenant: Tenant) -> tuple[str, ...]:
        """Give what readers of the same words have in common."""
        if not needs.localized:
            return (self.locale, self.platform)
        zone = (self.profile.time_zone or tenant.time_zone) if needs.zoned else ""
        return (self.locale, self.platform, reads_as(self.wanted, self.locale), zone)


def plan_of(draft: Draft) -> Plan | None:
    """Give the template of a draft, None when it brings its texts. Raises UnknownTemplateError."""
    notice = draft.notice
    if not notice.template or draft.plan is not None:
        return draft.plan
    found = draft.plan = _in_tenants_file.plan(draft)
    if found is None:
        version = f" version {notice.template_version}" if notice.template_version else ""
        raise UnknownTemplateError(f"no template {notice.template!r}{version}")
    return found


def variables_of(draft: Draft, profile: Profile) -> Mapping[str, Any]:
    """Give what a template may read: the event's variables, the user's attributes and flags."""
    return {
        **draft.notice.variables,
        USER: {**profile.attributes, "id": profile.user_id},
        FLAGS: UserFlags(draft.tenant, profile.user_id),
    }


def _data(
    sources: Mapping[str, str], variables: Mapping[str, Any], setting: Setting, own: dict[str, str]
) -> dict[str, str]:
    """Give the template's data, filled, with the event's over it."""
    if not sources:
        return own
    return {key: text_of(source, variables, setting) for key, source in sources.items()} | own
