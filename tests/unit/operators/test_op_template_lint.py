"""template_lint: what is wrong is found before anybody gets it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.template_lint import Finding, lint
from schemas.template import Template
from sinks.sizes import size_of
from tests.unit.operators.builders import tenant


def found(template: dict[str, Any], **of_tenant: Any) -> list[Finding]:
    return lint(Template.model_validate(template), tenant(**of_tenant), size_of)


def texts(**fields: str) -> dict[str, Any]:
    return {"texts": {"en": fields}}


def test_a_sound_template_has_no_findings() -> None:
    """With everything declared, in two languages."""
    template = {
        "texts": {
            "en": {"title": "{{ n | plural(one='# bid', other='# bids') }} for {{ user.name }}"},
            "de": {
                "title": "{{ n | plural(one='# Auftrag', other='# Aufträge') }}",
                "body": "{% if flags.f %}neu{% endif %}",
            },
        },
        "data": {"n": "{{ n }}"},
        "apns": {"badge": "{{ n }}", "sound": "{% if user.vip %}v.caf{% endif %}"},
        "variables": {"n": 3, "user": {"name": "Ann", "vip": False}},
    }
    assert found(template, flags={"f": 50}) == []


def test_the_template_in_the_docs_has_no_findings() -> None:
    """Who copies it can publish it."""
    page = (Path(__file__).parents[3] / "docs" / "templates.md").read_text("utf-8")
    example = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    assert example["on_oversize"] == "truncate: body"
    assert found(example) == []


@pytest.mark.parametrize(
    ("template", "path", "said"),
    [
        (texts(title="{{ nmae }}"), "texts.en.title", "reads 'nmae', which is not under variables"),
        (texts(title="{{ n "), "texts.en.title", "is no Jinja: TemplateSyntaxError"),
        (texts(title="{{ n | nope }}"), "texts.en.title", "is no Jinja"),
        ({**texts(title="t"), "data": {"k": "{{ x }}"}}, "data.k", "reads 'x'"),
        ({**texts(title="t"), "apns": {"badge": "{{ x }}"}}, "apns.badge", "reads 'x'"),
        (
            {**texts(title="t"), "apns": {"live_activity": {"content_state": {"a": ["{{ x }}"]}}}},
            "apns.live_activity.content_state.a.0",
            "reads 'x'",
        ),
        ({"texts": {"de": {"title": "t"}}}, "texts", "has none for 'en'"),
        (
            {**texts(title="{{ n | date }}"), "variables": {"n": 5}},
            "texts.en on apns",
            "with the examples: FormatError: date",
        ),
        (texts(title="{{ user.name }}"), "texts.en on fcm", "UndefinedError"),
        (
            {**texts(title="t"), "webpush": {"declarative": True}},
            "texts.en on webpush",
            "needs a title and a url",
        ),
        (
            texts(body="日" * 1_400),
            "texts.en on webpush",
            "bytes with the examples, webpush allows",
        ),
    ],
)
def test_an_error_names_its_place_and_the_remedy(
    template: dict[str, Any], path: str, said: str
) -> None:
    """Each stops publishing."""
    faults = [one for one in found(template) if one.path == path]
    assert faults
    assert faults[0].severity == "error"
    assert said in faults[0].text


def test_what_is_truncated_with_the_examples_is_a_warning() -> None:
    """It is not meant to be the usual case."""
    template = {**texts(title="t", body="日" * 1_400), "on_oversize": "truncate: body"}
    assert {(one.severity, one.text) for one in found(template)} == {
        ("warning", "with the examples already: body truncated")
    }


@pytest.mark.parametrize("severity", ["warning", "error"])
def test_personal_data_by_the_tenants_choice(severity: str) -> None:
    """In the words, in the examples, and in a branch that the examples do not take."""
    template = {
        "texts": {
            "en": {
                "title": "Call +49 30 901820",
                "body": "{{ mail }}",
                "subtitle": "{% if vip %}4111 1111 1111 1111{% endif %}",
            }
        },
        "variables": {"mail": "ann@mail.example", "vip": False},
    }
    faults = found(template, lint={"personal_data": severity})
    assert {one.severity for one in faults} == {severity}
    assert [(one.path, one.text.split(":")[0]) for one in faults] == [
        ("texts.en.title", "shows a phone number"),
        ("texts.en.body", "shows an e-mail address"),
        ("texts.en.subtitle", "shows a payment card number"),
    ]
    assert found(template, lint={"personal_data": "off"}) == []


def test_buttons_are_visible_too() -> None:
    """In either place."""
    actions = [{"action": "a", "title": "+49 30 901820"}]
    template = {"texts": {"en": {"title": "t", "actions": {"a": "x@y.example"}}},
                "webpush": {"actions": actions}}  # fmt: skip
    assert [one.path for one in found(template)] == [
        "texts.en.actions.a",
        "webpush.actions.0.title",
    ]


def test_the_same_template_gets_the_same_findings() -> None:
    """Nothing depends on when or where."""
    template = texts(title="{{ a }} {{ b }}")
    assert found(template) == found(template)
    assert [one.text.split("'")[1] for one in found(template)] == ["a", "b"]
