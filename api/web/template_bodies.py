"""Templates as the API answers with them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.template_shelf import Changed
from operators.template_lint import Finding
from schemas.template import Template
from schemas.template_book import TemplateBook

IN_FILE = "in the tenant's file"


class VersionRow(BaseModel):
    """A version. state: draft, published, earlier, or "in the tenant's file"."""

    version: int
    state: str
    locales: list[str]
    edited_at: datetime | None = None
    published_at: datetime | None = None


class TemplateRow(BaseModel):
    """A template with its versions. published: the one in use, if people have put one to use."""

    name: str
    published: int | None
    versions: list[VersionRow]


class TemplateVersion(BaseModel):
    """A version with its texts."""

    name: str
    version: int
    state: str
    template: Template


class FindingBody(BaseModel):
    """A fault of a template. path: where in it."""

    severity: Literal["error", "warning"]
    path: str
    text: str


class TemplateChanged(BaseModel):
    """What a change came to: the version it is about, and its state now."""

    name: str
    version: int
    state: str
    warnings: list[FindingBody] = Field(default_factory=list)


class LintReport(BaseModel):
    """What is wrong. publishable: there is no error among the findings."""

    name: str
    version: int
    publishable: bool
    findings: list[FindingBody]


class PreviewBody(BaseModel):
    """The request that a user's device would get, as the sink builds it.

    bytes, limit: as the platform counts. note: what was shortened. problem: why it would not be
    sent, "" when it would.
    """

    name: str
    version: int
    platform: str
    user: str
    locale: str
    bytes: int
    limit: int
    note: str = ""
    problem: str = ""
    headers: dict[str, str]
    payload: Any


def row_of(name: str, book: TemplateBook | None, in_file: Sequence[Template]) -> TemplateRow:
    """Give a template with all of its versions. book: None for one that only the file has."""
    versions = [
        VersionRow(
            version=one.template.version,
            state=book.state(one.template.version),
            locales=sorted(one.template.texts),
            edited_at=one.edited_at,
            published_at=one.published_at,
        )
        for one in (book.editions if book is not None else ())
        if book is not None
    ]
    versions += [
        VersionRow(version=one.version, state=IN_FILE, locales=sorted(one.texts)) for one in in_file
    ]
    return TemplateRow(
        name=name, published=None if book is None else book.published, versions=versions
    )


def changed_of(name: str, changed: Changed, state: str) -> TemplateChanged:
    """Say what a change came to."""
    return TemplateChanged(
        name=name, version=changed.number, state=state, warnings=findings_of(changed.warnings)
    )


def findings_of(found: Sequence[Finding]) -> list[FindingBody]:
    """Give findings."""
    return [FindingBody(severity=one.severity, path=one.path, text=one.text) for one in found]


def preview_of(name: str, version: int, made: Mapping[str, Any]) -> PreviewBody:
    """Give a preview of api/template_preview."""
    return PreviewBody(name=name, version=version, **made)
