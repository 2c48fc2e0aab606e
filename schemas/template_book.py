"""A template as it is kept: its versions, drafts and published ones, and which is in use."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.content import Wire
from schemas.fields import Time
from schemas.template import Template

MAX_VERSIONS = 50

State = Literal["draft", "published", "earlier"]


class Edition(Wire):
    """One version. published_at: when it was first published; a draft never was."""

    template: Template
    edited_at: Time
    published_at: Time | None = None


class TemplateBook(Wire):
    """All versions of a template, in order. published: the number of the one in use, if any.

    A draft may be edited; what was published once never changes, as messages under way use it.
    """

    editions: Annotated[tuple[Edition, ...], Field(min_length=1, max_length=MAX_VERSIONS)]
    published: int | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numbers = [one.template.version for one in self.editions]
        if numbers != sorted(set(numbers)):
            raise ValueError("editions: give every version its own number, in order")
        if self.published is not None and not self.is_published(self.published):
            raise ValueError("published: names no version that was published")
        return self

    def edition(self, version: int) -> Edition | None:
        """Give a version, None when there is none of this number."""
        return next((one for one in self.editions if one.template.version == version), None)

    def is_published(self, version: int) -> bool:
        """Tell whether messages may use a version: it is in use, or was once."""
        found = self.edition(version)
        return found is not None and found.published_at is not None

    def state(self, version: int) -> State:
        """Say in one word what a version is."""
        if version == self.published:
            return "published"
        return "earlier" if self.is_published(version) else "draft"
