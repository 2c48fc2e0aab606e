"""What the commands of `clarion templates` work on: a tenant's templates and their definitions."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from api.cli import CommandError
from api.publishing import ConflictError, DefinitionWriter, Publisher, PublishError
from api.segment_stores import Stores
from flows.yaml_files import BadYamlError, read_yaml
from operators.template_book import BookError, rolled_back, with_draft, with_published, without
from operators.template_lint import Finding, lint
from schemas.decode import explain, faults
from schemas.definitions import Definition, Kind
from schemas.fields import HINTS, NAME_PATTERN
from schemas.template import Template
from schemas.template_book import TemplateBook
from sinks.sizes import size_of


class Shelf:
    """One tenant's templates, to look at and to change. All raise CommandError and StateError."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.tenant = stores.tenant

    def books(self) -> dict[str, TemplateBook]:
        """Give all that people have put up, by name."""
        found = self._stores.definitions.all(Kind.TEMPLATE, self.tenant.name)
        return {name: _book(one) for name, one in found.items()}

    def book(self, name: str) -> TemplateBook | None:
        """Give one, None when nobody has put it up."""
        found = self._stores.definitions.get(Kind.TEMPLATE, self.tenant.name, name)
        return None if found is None else _book(found)

    def version(self, name: str, version: int | None) -> tuple[Template, str]:
        """Give a version and its state: without a number the newest, draft or not.

        What only the tenant's file has counts as published.
        """
        book = self.book(name)
        if book is not None:
            edition = book.editions[-1] if version is None else book.edition(version)
            if edition is not None:
                return edition.template, book.state(edition.template.version)
        found = self.tenant.template(name, version)
        if found is None:
            raise CommandError(self._missing(name, version))
        return found, "in the tenant's file"

    def put(self, name: str, template: Template) -> int:
        """Put a draft; give its number."""
        known = self._known(name)
        book = _book(known) if known is not None else None
        in_file = max((one.version for one in self.tenant.templates.get(name, ())), default=0)
        new = _done(lambda: with_draft(book, template, _now(), above=in_file))
        self._write(name, new, known)
        return new.editions[-1].template.version

    def publish(self, name: str, version: int | None) -> tuple[int, list[Finding]]:
        """Lint a version and put it to use; give its number and the warnings."""
        known, book = self._own(name)
        new = _done(lambda: with_published(book, version, _now()))
        number = new.published or 0
        edition = new.edition(number)
        findings = [] if edition is None else self.lint(edition.template)
        if errors := [one for one in findings if one.severity == "error"]:
            lines = "\n".join(line_of(one) for one in errors)
            raise CommandError(f"{name} version {number} has faults, nothing is published\n{lines}")
        self._write(name, new, known)
        return number, findings

    def rollback(self, name: str, to: int | None) -> int:
        """Go back to an earlier version; give its number."""
        known, book = self._own(name)
        new = _done(lambda: rolled_back(book, to, _now()))
        self._write(name, new, known)
        return new.published or 0

    def remove(self, name: str, version: int | None) -> None:
        """Remove a version, or the whole template without a number."""
        known, book = self._own(name)
        if version is not None:
            self._write(name, _done(lambda: without(book, version)), known)
            return
        try:
            self._writer().remove(Kind.TEMPLATE, self.tenant.name, name)
        except PublishError as error:
            raise CommandError(str(error)) from error

    def lint(self, template: Template) -> list[Finding]:
        """Give the faults of a version."""
        return lint(template, self.tenant, size_of)

    def _known(self, name: str) -> Definition | None:
        return self._stores.definitions.get(Kind.TEMPLATE, self.tenant.name, name)

    def _own(self, name: str) -> tuple[Definition, TemplateBook]:
        """Give a template that people have put up."""
        known = self._known(name)
        if known is None:
            raise CommandError(self._missing(name, None))
        return known, _book(known)

    def _missing(self, name: str, version: int | None) -> str:
        what = f"template {name!r}" + (f" version {version}" if version is not None else "")
        if name in self.tenant.templates:
            return f"there is no {what} but in the tenant's file: put one up with templates put"
        return f"there is no {what}; see clarion templates ls"

    def _write(self, name: str, book: TemplateBook, known: Definition | None) -> None:
        """Write over what was read; nobody's change in between is lost."""
        body: Mapping[str, Any] = book.model_dump(mode="json", exclude_defaults=True)
        over = 0 if known is None else known.version
        try:
            self._writer().put(Kind.TEMPLATE, self.tenant.name, name, body, over=over)
        except (ConflictError, PublishError) as error:
            raise CommandError(str(error)) from error

    def _writer(self) -> DefinitionWriter:
        options = dict(self._stores.settings.kafka.client_options())
        return DefinitionWriter(Publisher(options), self._stores.definitions)


def read_template(path: Path) -> Template:
    """Read a template from a YAML or JSON file. Raises CommandError naming each fault."""
    try:
        return Template.model_validate(read_yaml(path))
    except BadYamlError as error:
        raise CommandError(f"{path}: {error}") from error
    except ValidationError as error:
        raise CommandError(f"{path}: {explain(faults(Template, error))}") from error


def checked_name(name: str) -> str:
    """Give a name back that events may use. Raises CommandError."""
    if len(name) > 64 or not re.fullmatch(NAME_PATTERN, name):
        raise CommandError(f"name: {HINTS[NAME_PATTERN]}; at most 64")
    return name


def line_of(one: Finding) -> str:
    """Say a finding in one line."""
    return f"{one.severity}: {one.path}: {one.text}"


def _done(change: Callable[[], TemplateBook]) -> TemplateBook:
    try:
        return change()
    except BookError as error:
        raise CommandError(str(error)) from error


def _book(one: Definition) -> TemplateBook:
    try:
        return TemplateBook.model_validate_json(one.body)
    except ValidationError as error:
        faulty = explain(faults(TemplateBook, error))
        raise CommandError(f"template {one.name!r} cannot be read: {faulty}") from error


def _now() -> datetime:
    return datetime.now(UTC)
