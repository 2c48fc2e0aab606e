"""What is wrong with a template before anybody gets it. Pure: for the CLI and the API."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

import msgspec

from operators.flags import FLAGS
from operators.formats import Setting, locale_of
from operators.locales import locale_key
from operators.personal_data import personal_data_in
from operators.render import Renderer, SizeOf
from operators.template_plan import Plan
from operators.template_sample import sample_device, sample_draft, sample_reader
from operators.template_values import text_of
from operators.templates import GLOBALS, USER, RenderError, compiled
from schemas.pipeline import Content, Platform
from schemas.template import Template, TemplateText, WebPushPart
from schemas.tenant import Tenant

NOON_MS = 1_767_614_400_000
"""When the samples are made: 2026-01-05, noon, so that the same template gets the same findings."""


class Finding(NamedTuple):
    """One fault. path: where in the template. text: what is wrong and what to do."""

    severity: Literal["error", "warning"]
    path: str
    text: str


def lint(template: Template, tenant: Tenant, size_of: SizeOf) -> list[Finding]:
    """Find faults: texts that are no Jinja, unknown variables, over-size, personal data.

    Everything is rendered with the template's own examples, for each locale and platform. It may be
    published when there is no error among the findings.
    """
    if locale_key(tenant.locale) not in map(locale_key, template.texts):
        text = f"has none for {tenant.locale!r}, the tenant's locale: add them"
        return [Finding("error", "texts", text)]
    plan = Plan(template, tenant.locale)
    findings = list(dict.fromkeys(_sources(plan)))
    if not findings:
        findings += dict.fromkeys(_rendered(template, tenant, plan, size_of))
    severity = tenant.lint.personal_data
    if severity != "off":
        findings += [
            Finding(severity, path, f"shows {what}: people near the screen read it, leave it out")
            for path, what in dict.fromkeys(_personal(template, plan))
        ]
    return findings


def _sources(plan: Plan) -> Iterator[Finding]:
    """Find what is no Jinja, and variables of which there is no example."""
    known = {*plan.template.variables, USER, FLAGS, *GLOBALS}
    for locale in plan.texts:
        for platform in Platform:
            for path, source, _ in plan.sources(locale, platform):
                try:
                    unknown = compiled(source).names - known
                except RenderError as error:
                    yield Finding("error", path, f"is no Jinja: {error}")
                    continue
                for name in sorted(unknown):
                    text = f"reads {name!r}, which is not under variables: add an example of it"
                    yield Finding("error", path, text)


def _rendered(template: Template, tenant: Tenant, plan: Plan, size_of: SizeOf) -> Iterator[Finding]:
    """Find what fails, or does not fit, when it is made with the examples."""
    samples = {name: value for name, value in template.variables.items() if name != USER}
    draft = sample_draft(tenant, template, samples, now_ms=NOON_MS)
    renderer = Renderer(draft, size_of)
    for locale in plan.texts:
        reader = sample_reader(template, locale)
        for platform in Platform:
            path = f"texts.{locale} on {platform}"
            try:
                raw = renderer.content(reader, sample_device(platform))
            except RenderError as error:
                yield Finding("error", path, f"with the examples: {error}")
                continue
            if note := renderer.note(raw):
                yield Finding("warning", path, f"with the examples already: {note}")
            size = size_of(platform, msgspec.msgpack.decode(raw, type=Content))
            if size is not None and size[0] > size[1]:
                text = f"{size[0]} bytes with the examples, {platform} allows {size[1]}: shorten it"
                yield Finding("error", path, f"{text}, or set on_oversize to truncate a field")


def _personal(template: Template, plan: Plan) -> Iterator[tuple[str, str]]:
    """Give personal data in what people see, as written and as filled with the examples."""
    for locale, text in plan.texts.items():
        locale_data = locale_of(locale)
        setting = Setting(locale_data) if locale_data is not None else Setting()
        for path, source in _visible(template, locale, text):
            shown = [source]
            with suppress(RenderError):  # which was said already
                shown.append(text_of(source, template.variables, setting))
            for one in shown:
                for what in personal_data_in(one):
                    yield path, what


def _visible(template: Template, locale: str, text: TemplateText) -> Iterator[tuple[str, str]]:
    for field in ("title", "body", "subtitle"):
        yield f"texts.{locale}.{field}", getattr(text, field)
    for name, title in text.actions.items():
        yield f"texts.{locale}.actions.{name}", title
    if isinstance(template.webpush, WebPushPart):
        for number, action in enumerate(template.webpush.actions):
            yield f"webpush.actions.{number}.title", action.title
