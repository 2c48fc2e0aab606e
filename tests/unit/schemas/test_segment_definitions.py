"""Definitions of segments: what is taken, and what is said about mistakes."""

from typing import Any

import pytest

from schemas.segment_definition import BadSegmentBodyError, body_of, check_name
from schemas.segment_rules import MAX_CONDITIONS, Condition, Group, conditions, parse_rule

US = {"field": "country", "op": "eq", "value": "US"}


def test_a_rule_is_read() -> None:
    """Conditions, combined; eq when nothing else is asked."""
    said = {
        "all": [
            {"field": "country", "value": "US"},
            {"not": {"device": {"field": "app_version", "op": "lt", "value": "5.2"}}},
            {"field": "attributes.plan.name", "op": "in", "value": ["gold", 3]},
        ]
    }
    rule = parse_rule(said)
    assert rule == Group(
        "all",
        (
            Condition("country", "eq", "US"),
            Group("not", (Group("device", (Condition("app_version", "lt", "5.2"),)),)),
            Condition("attributes.plan.name", "in", ("gold", 3)),
        ),
    )
    assert len(conditions(rule)) == 3


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "give exactly one of rule, behaviour and sql"),
        ({"rule": US, "sql": "SELECT 1"}, "give exactly one of rule, behaviour and sql"),
        ({"rule": {}}, "rule: give a field with op and value"),
        ({"rule": {"all": []}}, "rule.all: must be a list of at least one rule"),
        ({"rule": {"all": [US, 3]}}, "rule.all.1: must be an object"),
        ({"rule": {"not": {"all": [], "any": []}}}, "rule.not: give a field"),
        ({"rule": {**US, "valeu": 1}}, "rule.valeu: is no field here, remove it"),
        ({"rule": {"field": "contry"}}, "rule.field: there is no 'contry', use one of app,"),
        ({"rule": {"field": "attributes."}}, "rule.field: write attributes.<name>"),
        ({"rule": {**US, "op": "lt"}}, "rule.op: of 'country' use one of eq, exists, in, ne"),
        ({"rule": {**US, "value": 3}}, "rule.value: must be text in quotes"),
        ({"rule": {**US, "op": "in", "value": "US"}}, "rule.value: must be a list of 1 to 1000"),
        (
            {"rule": {"field": "app_version", "op": "lt", "value": "five"}},
            "rule.value: write a version such as '5.10.2'",
        ),
        (
            {"rule": {"field": "last_seen_age_days", "op": "gt", "value": True}},
            "rule.value: must be a number of days",
        ),
        (
            {"rule": {"field": "attributes.x", "op": "lt", "value": False}},
            "rule.value: true and false have no order, use eq",
        ),
        ({"rule": {"device": US}}, "'country' belongs to the user, put it outside of device"),
        (
            {"rule": {"any": [US] * (MAX_CONDITIONS + 1)}},
            f"rule.any.{MAX_CONDITIONS}: use at most {MAX_CONDITIONS} conditions",
        ),
        (
            {"rule": {"not": {"not": {"not": {"not": {"not": {"not": {"not": US}}}}}}}},
            "nest at most",
        ),
        ({"sql": "SELECT 1", "every": "5s"}, "every: "),
        ({"behaviour": {"did": "opened", "event": "order"}}, "give exactly one of did and event"),
        ({"behaviour": {"event": "order", "campaign": "c"}}, "are of messages, use them with did"),
        (
            {"behaviour": {"did": "opened", "at_least": 3, "at_most": 2}},
            "at_least: must not be more",
        ),
        ({"behaviour": {"did": "read"}}, "did: "),
        ({"sq": "SELECT 1"}, "sq: is no field here, did you mean 'sql'?"),
    ],
)
def test_mistakes_are_named(said: dict[str, Any], expected: str) -> None:
    """The place, and what to write instead."""
    with pytest.raises(BadSegmentBodyError) as caught:
        body_of(said)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "name", ["everyone", "topic.x", "group.x", "a b", "-a", "", "x" * 65, "a@b"]
)
def test_some_names_are_not_for_people(name: str) -> None:
    """Clarion keeps them itself, or no expression could name them."""
    with pytest.raises(BadSegmentBodyError, match="name: "):
        check_name(name)
    assert check_name("vip-2.eu") == "vip-2.eu"


def test_only_rules_on_ages_change_with_time() -> None:
    """All others change with a record."""
    age = {"field": "last_seen_age_days", "op": "gt", "value": 14}
    assert body_of({"rule": {"any": [US, age]}}).has_ages
    assert not body_of({"rule": US}).has_ages
    assert not body_of({"sql": "SELECT 1"}).has_ages
