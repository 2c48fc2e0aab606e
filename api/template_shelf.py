"""A tenant's templates, to look at and to change: what CLI and HTTP share."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import ValidationError

from api.publishing import ConflictError
from api.refusals import RefusedError, Why
from api.segment_stores import Stores
from operators.template_book import BookError, rolled_back, with_draft, with_published, without
from operators.template_lint import Finding, lint
from schemas.decode import explain, faults
from schemas.definitions import Definition, Kind
from schemas.fields import HINTS, NAME_PATTERN
from schemas.template import Template
from schemas.template_book import TemplateBook
from sinks.sizes import size_of


class LintError(RefusedError):
    """The version has faults, and is not published."""

    def __init__(self, text: str, findings: list[Finding]) -> None:
        super().__init__(text, faults=[(one.path, one.text) for one in findings])
        self.findings = findings


class Kept(NamedTuple):
    """A template as it is kept. version: of its definition, one more with every change."""

    version: int
    book: TemplateBook


class Changed(NamedTuple):
    """What a change came to. number: of the version it is about; version: of the definition now."""

    number: int
    version: int
    warnings: Sequence[Finding] = ()


class Shelf:
    """One tenant's templates, to look at and to change.

    over: the version of the definition that a change is made to, None for whichever; ConflictError
    when it is another by now. All raise RefusedError and StateError, changes PublishError.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.tenant = stores.tenant

    def books(self) -> dict[str, TemplateBook]:
        """Give all that people have put up, by name."""
        found = self._stores.definitions.all(Kind.TEMPLATE, self.tenant.name)
        return {name: _book(one) for name, one in found.items()}

    def kept(self, name: str) -> Kept | None:
        """Give one, None when nobody has put it up."""
        found = self._stores.definitions.get(Kind.TEMPLATE, self.tenant.name, name)
        return None if found is None else Kept(found.version, _book(found))

    def version(self, name: str, version: int | None) -> tuple[Template, str]:
        """Give a version and its state: without a number the newest, draft or not.

        What only the tenant's file has counts as published.
        """
        kept = self.kept(name)
        if kept is not None:
            book = kept.book
            edition = book.editions[-1] if version is None else book.edition(version)
            if edition is not None:
                return edition.template, book.state(edition.template.version)
        found = self.tenant.template(name, version)
        if found is None:
            raise self._missing(name, version)
        return found, "in the tenant's file"

    def put(self, name: str, template: Template, *, over: int | None = None) -> Changed:
        """Put a draft."""
        checked_name(name)
        kept = self._kept_at(name, over)
        in_file = max((one.version for one in self.tenant.templates.get(name, ())), default=0)
        book = None if kept is None else kept.book
        new = _done(lambda: with_draft(book, template, _now(), above=in_file))
        return Changed(new.editions[-1].template.version, self._write(name, new, kept))

    def publish(self, name: str, version: int | None, *, over: int | None = None) -> Changed:
        """Lint a version and put it to use. Raises LintError."""
        kept = self._own(name, over)
        self._has(name, kept, version)
        new = _done(lambda: with_published(kept.book, version, _now()))
        number = new.published or 0
        edition = new.edition(number)
        findings = [] if edition is None else self.lint(edition.template)
        if errors := [one for one in findings if one.severity == "error"]:
            raise LintError(f"{name} version {number} has faults, nothing is published", errors)
        return Changed(number, self._write(name, new, kept), findings)

    def rollback(self, name: str, to: int | None, *, over: int | None = None) -> Changed:
        """Go back to an earlier version."""
        kept = self._own(name, over)
        self._has(name, kept, to)
        new = _done(lambda: rolled_back(kept.book, to, _now()))
        return Changed(new.published or 0, self._write(name, new, kept))

    def remove(self, name: str, version: int | None, *, over: int | None = None) -> None:
        """Remove a version, or the whole template without a number."""
        kept = self._own(name, over)
        if version is not None:
            self._has(name, kept, version)
            self._write(name, _done(lambda: without(kept.book, version)), kept)
            return
        self._stores.writer.remove(Kind.TEMPLATE, self.tenant.name, name, over=over)

    def lint(self, template: Template) -> list[Finding]:
        """Give the faults of a version."""
        return lint(template, self.tenant, size_of)

    def _kept_at(self, name: str, over: int | None) -> Kept | None:
        kept = self.kept(name)
        version = 0 if kept is None else kept.version
        if over is not None and version != over:
            raise ConflictError(f"template {name!r} is at version {version} by now, not {over}")
        return kept

    def _own(self, name: str, over: int | None) -> Kept:
        """Give a template that people have put up."""
        kept = self._kept_at(name, over)
        if kept is None:
            raise self._missing(name, None)
        return kept

    def _has(self, name: str, kept: Kept, version: int | None) -> None:
        if version is not None and kept.book.edition(version) is None:
            raise self._missing(name, version)

    def _missing(self, name: str, version: int | None) -> RefusedError:
        what = f"template {name!r}" + (f" version {version}" if version is not None else "")
        if name in self.tenant.templates:
            text = f"there is no {what} but in the tenant's file: put one up first"
            return RefusedError(text, Why.MISSING)
        return RefusedError(f"there is no {what}", Why.MISSING)

    def _write(self, name: str, book: TemplateBook, kept: Kept | None) -> int:
        """Write over what was read: a change in between is not lost, but refused."""
        body: Mapping[str, Any] = book.model_dump(mode="json", exclude_defaults=True)
        over = 0 if kept is None else kept.version
        return self._stores.writer.put(Kind.TEMPLATE, self.tenant.name, name, body, over=over)


def checked_name(name: str) -> str:
    """Give a name back that events may use. Raises RefusedError."""
    if len(name) > 64 or not re.fullmatch(NAME_PATTERN, name):
        raise RefusedError(f"name: {HINTS[NAME_PATTERN]}; at most 64")
    return name


def _done(change: Callable[[], TemplateBook]) -> TemplateBook:
    try:
        return change()
    except BookError as error:
        raise RefusedError(str(error), Why.CONFLICT) from error


def _book(one: Definition) -> TemplateBook:
    try:
        return TemplateBook.model_validate_json(one.body)
    except ValidationError as error:
        faulty = explain(faults(TemplateBook, error))
        raise RefusedError(f"template {one.name!r} cannot be read: {faulty}") from error


def _now() -> datetime:
    return datetime.now(UTC)
