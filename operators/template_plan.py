"""A template made ready: its texts by locale, and what of a reader each depends on."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from operators.formats import locale_of
from operators.locales import choose_locale, locale_key
from operators.platform_parts import Part, part_of
from operators.template_values import sources_of
from operators.templates import RenderError, compiled, compiled_value, is_expression
from schemas.pipeline import Platform
from schemas.template import Template, TemplateText


class Needs(NamedTuple):
    """What the words depend on beside the event: the user, or only their locale or time zone."""

    per_user: bool
    localized: bool
    zoned: bool


class Plan:
    """One version of a template of a tenant; unchangeable, so shared by all messages.

    tenant_locale: of the texts for who reads none of the others.
    """

    __slots__ = ("_needs", "default", "parts", "template", "texts", "version")

    def __init__(self, template: Template, tenant_locale: str) -> None:
        self.template = template
        self.version = template.version
        self.texts: Mapping[str, TemplateText] = {
            locale_key(name): text for name, text in template.texts.items()
        }
        self.default = locale_key(tenant_locale)
        self.parts: Mapping[Platform, Part | None] = {
            platform: part_of(template, platform) for platform in Platform
        }
        self._needs: dict[tuple[str, Platform], Needs] = {}

    def locale(self, wanted: str) -> str:
        """Give the locale of the texts for a reader, a key of texts."""
        return choose_locale(wanted, self.texts, self.default)

    def needs(self, locale: str, platform: Platform) -> Needs:
        """Tell what these words depend on. Raises RenderError for one that is no template."""
        found = self._needs.get((locale, platform))
        if found is None:
            texts = [
                compiled_value(source) if is_value and is_expression(source) else compiled(source)
                for _, source, is_value in self.sources(locale, platform)
            ]
            found = Needs(
                any(text.per_user for text in texts),
                any(text.localized for text in texts),
                any(text.zoned for text in texts),
            )
            self._needs[locale, platform] = found
        return found

    def sources(self, locale: str, platform: Platform) -> Iterator[tuple[str, str, bool]]:
        """Give the Jinja that a locale's readers get on a platform: where, what, whether a value.

        Raises RenderError when the locale has no texts.
        """
        text = self.texts.get(locale)
        if text is None:
            raise RenderError(f"the template has no texts for {locale!r}, the tenant's locale")
        for path, source in sources_of(text.model_dump(), f"texts.{locale}"):
            yield path, source, False
        for path, source in sources_of(self.template.data, "data"):
            yield path, source, False
        part = self.parts[platform]
        if part is not None:
            for path, source in sources_of(part.model_dump(exclude_none=True), platform.value):
                yield path, source, True


def reads_as(wanted: str, text_locale: str) -> str:
    """Give the locale in which numbers and dates are written in a text.

    That is the reader's own when the text is in their language, as en-GB writes dates unlike en-US;
    else the text's, so that nobody reads German dates in an English sentence.
    """
    own, of_text = locale_of(wanted), locale_of(text_locale)
    is_same = own is not None and of_text is not None and own.language == of_text.language
    return wanted if is_same else text_locale
