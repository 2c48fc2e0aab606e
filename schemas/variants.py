"""Variants of an event: which words do better is decided by showing users different ones."""

from typing import Annotated

from pydantic import Field

from schemas.content import EventContent, PlatformOverrides, TemplateRef, Wire
from schemas.fields import Name

MAX_VARIANTS = 10


class EventVariant(Wire):
    """What some of the users see instead.

    weight: its share, among the weights of all. Without content and template it is the event as it
    stands: the one to compare with.
    """

    name: Name
    weight: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    content: EventContent | None = None
    template: TemplateRef | None = None

    @property
    def data(self) -> dict[str, str]:
        """What the app receives, where it is not the event's own."""
        given = self.content or self.template
        return {} if given is None else given.data

    @property
    def platforms(self) -> PlatformOverrides | None:
        """The platforms' own fields, from the content or the template reference."""
        given = self.content or self.template
        return None if given is None else given.platforms


def check_variants(variants: tuple[EventVariant, ...]) -> None:
    """Raise ValueError for variants that cannot be compared."""
    if len(variants) == 1:
        raise ValueError("variants: one alone compares with nothing, give 2 or more")
    names = [one.name for one in variants]
    if len(set(names)) < len(names):
        raise ValueError("variants: give each its own name")
    for one in variants:
        if one.content is not None and one.template is not None:
            raise ValueError(f"variants.{one.name}: give at most one of content and template")
        if one.content is not None and one.content.is_empty:
            raise ValueError(f"variants.{one.name}.content: give at least a title, a body or data")


Variants = Annotated[tuple[EventVariant, ...], Field(max_length=MAX_VARIANTS)]
