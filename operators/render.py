"""Content: the words for a user, in their language."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from operators.work import Draft
from schemas.pipeline import Content, Platform, Texts
from schemas.tenant import Template
from state.profiles import Device, Profile

TEMPLATES_KEPT = 1_024
MAX_TEXT_CHARS = 4_000  # as for texts that come with the event
USER = "user"

_encode = msgspec.msgpack.Encoder().encode
_environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


class RenderError(ValueError):
    """A template failed on the variables it got; the message names it and the cause."""


class UnknownTemplateError(LookupError):
    """The tenant has no such template."""


class CompiledText:
    """One Jinja text. per_user: it reads something of the user, so nothing can be shared."""

    __slots__ = ("_template", "per_user")

    def __init__(self, source: str) -> None:
        self._template = _environment.from_string(source)
        self.per_user = USER in meta.find_undeclared_variables(_environment.parse(source))

    def render(self, variables: Mapping[str, Any]) -> str:
        """Fill in the variables. Raises RenderError."""
        try:
            return self._template.render(variables)[:MAX_TEXT_CHARS]
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise RenderError(f"{type(error).__name__}: {error}"[:200]) from error


@lru_cache(maxsize=TEMPLATES_KEPT)
def compiled(source: str) -> CompiledText:
    """Compile a text once."""
    return CompiledText(source)


def choose_locale(wanted: str, there: Mapping[str, object], default: str) -> str:
    """Give the best locale there is: ``pt-BR``, then ``pt``, then the default.

    Keys of `there` are lower case. default is returned also when it is not there.
    """
    tag = wanted.lower().replace("_", "-")
    while tag:
        if tag in there:
            return tag
        tag = tag.rpartition("-")[0]
    return default


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
        tenant = draft.tenant
        if self._template is None:
            self._texts: Mapping[str, Any] = draft.notice.texts
            self._default = ""
            self._per_user = False
        else:
            self._texts = {name.lower(): text for name, text in self._template.texts.items()}
            self._default = tenant.locale.lower()
            self._per_user = any(
                compiled(part).per_user
                for text in self._texts.values()
                for part in (text.title, text.body, text.url or "", text.image or "")
            )

    def content(self, profile: Profile, device: Device) -> bytes:
        """Give the msgpack of Content for this device. Raises RenderError."""
        wanted = device.locale or profile.locale
        locale = self._locales.get(wanted)
        if locale is None:
            locale = self._locales[wanted] = choose_locale(wanted, self._texts, self._default)
        if self._per_user:
            return self._render(locale, device.platform, profile)
        key = (locale, device.platform)
        content = self._draft.rendered.get(key)
        if content is None:
            content = self._draft.rendered[key] = self._render(locale, device.platform, None)
        return content

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


def _filled(text: Any, variables: Mapping[str, Any]) -> Texts:
    parts = (text.title, text.body, text.image or "", text.url or "")
    return Texts(*(compiled(part).render(variables) if "{" in part else part for part in parts))
