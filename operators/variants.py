"""What an event says, in its own words and in those of its variants; who sees which."""

from typing import Any, NamedTuple

from operators.ids import draw
from operators.locales import locale_key
from schemas.content import EventContent, TemplateRef
from schemas.events import Event
from schemas.pipeline import Notice, Platform, Texts, Variant


class Words(NamedTuple):
    """What is said. texts: by locale, "" being the default's; none where a template has them."""

    texts: dict[str, Texts]
    data: dict[str, str]
    overrides: dict[Platform, dict[str, Any]]
    template: str
    template_version: int


def words_of(content: EventContent | None, template: TemplateRef | None) -> Words:
    """Give the words of content or of a reference to a template."""
    texts: dict[str, Texts] = {}
    if content is not None:
        base = Texts(content.title, content.body, content.image or "", content.url or "")
        texts[""] = base
        for locale, own in content.locales.items():
            texts[locale_key(locale)] = Texts(
                own.title, own.body, own.image or base.image, own.url or base.url
            )
    given = content or template
    platforms = given.platforms if given is not None else None
    overrides: dict[Platform, dict[str, Any]] = {}
    if platforms is not None:
        overrides = {p: getattr(platforms, p) for p in Platform if getattr(platforms, p)}
    return Words(
        texts,
        given.data if given is not None else {},
        overrides,
        template.name if template is not None else "",
        (template.version or 0) if template is not None else 0,
    )


def variants_of(event: Event, own: Words) -> tuple[Variant, ...]:
    """Give the event's variants; one without words of its own has the event's."""
    return tuple(
        Variant(
            one.name,
            one.weight,
            *(words_of(one.content, one.template) if one.content or one.template else own),
        )
        for one in event.variants or ()
    )


class Choice:
    """Which variant each user sees: drawn by a hash, so a user sees the same one every time.

    It is drawn by the campaign, or else the message, apart from any holdout group.
    """

    def __init__(self, notice: Notice) -> None:
        self._salt = f"variant/{notice.tenant}/{notice.campaign_id or notice.message_id}"
        whole = sum(variant.weight for variant in notice.variants)
        self._ends: list[float] = []
        end = 0
        for variant in notice.variants:
            end += variant.weight
            self._ends.append(100 * end / whole)

    def of(self, user_id: str) -> int:
        """Give the variant's place in the list."""
        drawn = draw(f"{self._salt}/{user_id}")
        return next((at for at, end in enumerate(self._ends) if drawn < end), len(self._ends) - 1)
