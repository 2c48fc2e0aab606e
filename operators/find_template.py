"""Which template, and which version of it, a message is made of."""

from collections.abc import Mapping
from typing import Protocol

from msgspec.structs import replace
from pydantic import ValidationError

from operators.template_plan import Plan
from operators.work import Draft
from schemas.definitions import Definition
from schemas.pipeline import Notice, Variant
from schemas.template import Template
from schemas.template_book import TemplateBook
from schemas.tenant import Tenant

MAX_PLANS = 2_048
"""Versions kept ready."""


class Shelf:
    """A tenant's template as its definition holds it, read when a message first asks for it."""

    __slots__ = ("_body", "_book")

    def __init__(self, definition: Definition) -> None:
        self._body = definition.body
        self._book: TemplateBook | None = None

    @property
    def published(self) -> int | None:
        """The number of the version in use, None while there are only drafts."""
        return self._read().published

    def template(self, version: int) -> Template | None:
        """Give a version that is or was published, never a draft."""
        book = self._read()
        edition = book.edition(version) if book.is_published(version) else None
        return None if edition is None else edition.template

    def _read(self) -> TemplateBook:
        if self._book is None:
            try:
                self._book = TemplateBook.model_validate_json(self._body)
            except ValidationError:  # a writer of another version: as good as none
                self._book = TemplateBook.model_construct(editions=(), published=None)
        return self._book


class Shelves(Protocol):
    """Tenants' templates, from a view that is at most a moment old."""

    def of(self, tenant: str) -> Mapping[str, Shelf]:
        """Give a tenant's by name."""
        ...

    def refresh(self) -> None:
        """Look at once whether something has changed. One round trip."""
        ...


class FindTemplate:
    """Finds templates, first among those that people have published, then in the tenant's file.

    shelves: what people have published; without it, nothing.
    """

    def __init__(self, shelves: Shelves | None = None) -> None:
        self._shelves = shelves
        self._plans: dict[tuple[str, str, int], tuple[Template, Plan]] = {}

    def pinned(self, notice: Notice, tenant: Tenant, known: Mapping[str, int] = {}) -> Notice:
        """Note the version in use where the event names none: its chunks and timers keep it.

        known: versions by name that hold already. Costs nothing for a message without a template.
        """
        if notice.template and not notice.template_version:
            version = self._version(tenant, notice.template, known)
            notice = replace(notice, template_version=version, template_pinned=version > 0)
        if notice.variants:
            variants = tuple(
                replace(
                    one,
                    template_version=(version := self._version(tenant, one.template, known)),
                    template_pinned=version > 0,
                )
                if one.template and not one.template_version
                else one
                for one in notice.variants
            )
            notice = replace(notice, variants=variants)
        return notice

    def equip(self, draft: Draft) -> None:
        """Give a draft and those of its variants their templates, as far as there are any."""
        for one in (draft, *draft.variants):
            if one.plan is None and one.notice.template:
                one.plan = self.plan(one)

    def plan(self, draft: Draft) -> Plan | None:
        """Give the template that a draft names, None when there is none of that version."""
        notice, tenant = draft.notice, draft.tenant
        version = notice.template_version or self._version(tenant, notice.template, {})
        found = self._template(tenant, notice.template, version)
        if found is None and notice.template_pinned and self._shelves is not None:
            # Who pinned it may have seen it a moment before this view does.
            self._shelves.refresh()
            found = self._template(tenant, notice.template, version)
        if found is None and notice.template_pinned:
            # It was removed while the message was under way: better other words than none.
            version = self._version(tenant, notice.template, {})
            found = self._template(tenant, notice.template, version)
        return None if found is None else self._ready(tenant, notice.template, found)

    def _version(self, tenant: Tenant, name: str, known: Mapping[str, int]) -> int:
        """Give the version in use, 0 when there is no such template."""
        if name in known:
            return known[name]
        shelf = self._shelf(tenant, name)
        if shelf is not None and shelf.published is not None:
            return shelf.published
        found = tenant.template(name)
        return 0 if found is None else found.version

    def _template(self, tenant: Tenant, name: str, version: int) -> Template | None:
        shelf = self._shelf(tenant, name)
        found = shelf.template(version) if shelf is not None else None
        return found or (tenant.template(name, version) if version else None)

    def _shelf(self, tenant: Tenant, name: str) -> Shelf | None:
        return None if self._shelves is None else self._shelves.of(tenant.name).get(name)

    def _ready(self, tenant: Tenant, name: str, template: Template) -> Plan:
        """Make a version ready once, unless another one has taken its number."""
        key = (tenant.name, name, template.version)
        kept = self._plans.get(key)
        if kept is not None and kept[0] is template:
            return kept[1]
        is_same = kept is not None and kept[0] == template  # read anew from its definition
        plan = kept[1] if kept is not None and is_same else Plan(template, tenant.locale)
        if kept is None and len(self._plans) >= MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[key] = (template, plan)
        return plan


def pins_of(notice: Notice) -> dict[str, int]:
    """Give the versions that were pinned, by the names of their templates."""
    named: list[Notice | Variant] = [notice, *notice.variants]
    return {one.template: one.template_version for one in named if one.template_pinned}
