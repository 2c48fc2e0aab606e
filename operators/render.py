"""Content: the words for a user, in their language."""

from collections.abc import Mapping
from typing import Any

import msgspec

from operators.locales import choose_locale, locale_key
from operators.templates import USER, RenderError, compiled
from operators.work import Draft
from schemas.pipeline import Content, Platform, Texts
from schemas.tenant import Template
from state.profiles import Device, Profile

_encode = msgspec.msgpack.Encoder().encode


class UnknownTemplateError(LookupError):
    """The tenant has no such template."""


def template_of(draft: Draft) -> Template | None:
    """Give the template of a draft, None when it brings its texts. Raises UnknownTemplateError."""
    notice = draft.notice
    if not notice.template:
        return None
    found = draft.tenant.template(notice.template, notice.template_version or None)
    if found is None:
        version = f" version {notice.template_version}" if notice.template_version else ""
        raise UnknownTemplateError(f"no template {notice.template!r}{version}")
    return found


class Renderer:
    """Renders one draft; what is the same for all users of a locale is made once."""

    def __init__(self, draft: Draft) -> None:
        """Find the texts. Raises UnknownTemplateError."""
        self._draft = draft
        self._template = template_of(draft)
        self._locales: dict[str, str] = {}
        self._reads_user: dict[str, bool] = {}
        self._failed: dict[tuple[str, Platform], RenderError] = {}
        self._tenant_locale = draft.tenant.locale
        if self._template is None:
            self._texts: Mapping[str, Any] = draft.notice.texts
            self._default = ""
        else:
            self._texts = {locale_key(name): text for name, text in self._template.texts.items()}
            self._default = locale_key(draft.tenant.locale)

    def content(self, profile: Profile, device: Device) -> bytes:
        """Give the msgpack of Content for this device. Raises RenderError."""
        wanted = device.locale or profile.locale or self._tenant_locale
        locale = self._locales.get(wanted)
        if locale is None:
            locale = self._locales[wanted] = choose_locale(wanted, self._texts, self._default)
        key = (locale, device.platform)
        content = self._draft.rendered.get(key)
        if content is not None:
            return content
        if self._is_per_user(locale):
            return self._render(locale, device.platform, profile)
        if key in self._failed:
            raise self._failed[key]
        try:
            content = self._draft.rendered[key] = self._render(locale, device.platform, None)
        except RenderError as error:
            self._failed[key] = error
            raise
        return content

    def _is_per_user(self, locale: str) -> bool:
        """Tell whether this locale's template reads the user. Raises RenderError."""
        if self._template is None:
            return False
        found = self._reads_user.get(locale)
        if found is None:
            parts = _parts(self._texts[locale])
            found = any(compiled(part).per_user for part in parts if "{" in part)
            self._reads_user[locale] = found
        return found

    def _render(self, locale: str, platform: Platform, profile: Profile | None) -> bytes:
        notice = self._draft.notice
        text = self._texts[locale]
        if self._template is not None:
            text = _filled(text, variables_of(notice.variables, profile))
        return _encode(
            Content(
                title=text.title,
                body=text.body,
                image=text.image,
                url=text.url,
                data=notice.data,
                override=notice.overrides.get(platform, {}),
            )
        )


def variables_of(variables: Mapping[str, Any], profile: Profile | None) -> Mapping[str, Any]:
    """Give what a template may read: the event's variables, and the user's attributes as user."""
    if profile is None:
        return variables
    return {**variables, USER: {**profile.attributes, "id": profile.user_id}}


def _parts(text: Any) -> tuple[str, str, str, str]:
    return (text.title, text.body, text.image or "", text.url or "")


def _filled(text: Any, variables: Mapping[str, Any]) -> Texts:
    return Texts(
        *(compiled(part).render(variables) if "{" in part else part for part in _parts(text))
    )
