"""What people ask about templates over HTTP, beside their texts."""

from typing import Annotated, Any

from pydantic import Field

from schemas.content import Wire
from schemas.fields import Id, Locale
from schemas.pipeline import Platform
from schemas.template import Template

VersionNumber = Annotated[int, Field(ge=1, le=1_000_000)]


class PublishAsk(Wire):
    """Which version to put to use; the newest without one."""

    version: VersionNumber | None = None


class RollbackAsk(Wire):
    """Which earlier version to go back to; the one published before without one."""

    to: VersionNumber | None = None


class LintAsk(Wire):
    """What to check: a version, the newest without one, or this template, which is not kept."""

    version: VersionNumber | None = None
    template: Template | None = None


class PreviewAsk(LintAsk):
    """For whom to build it, and what to fill it with.

    user: a reader made up of the template's examples without one. locale: instead of the user's.
    variables: over the template's examples.
    """

    platform: Platform
    user: Id | None = None
    locale: Locale | None = None
    variables: dict[str, Any] = Field(default_factory=dict, max_length=200)
