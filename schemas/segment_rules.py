"""Rules: which users a segment means, by what is known about them and their devices.

A rule is a condition, or rules combined: `{"all": [...]}`, `{"any": [...]}`, `{"not": ...}`, and
`{"device": ...}`, which wants one device for which all of it holds. A condition is
`{"field": ..., "op": ..., "value": ...}`.
"""

import math
import re
from typing import Any, NamedTuple

MAX_CONDITIONS = 100
MAX_LEVELS = 6
MAX_VALUES = 1_000
MAX_VALUE_CHARS = 256
MAX_PATH = 8
ATTRIBUTES = "attributes."

_EQUAL: frozenset[str] = frozenset({"eq", "ne", "in"})
_ORDERED: frozenset[str] = frozenset({"lt", "le", "gt", "ge"})
_TEXT = _EQUAL | {"exists", "contains", "starts_with"}
_NAMED = _EQUAL | {"exists"}
OPS: dict[str, frozenset[str]] = {
    "platform": _NAMED,
    "app": _NAMED,
    "app_version": _EQUAL | _ORDERED | {"exists"},
    "os_version": _EQUAL | _ORDERED | {"exists"},
    "locale": _NAMED,
    "country": _NAMED,
    "time_zone": _TEXT,
    "registered_age_days": _ORDERED | {"exists"},
    "last_seen_age_days": _ORDERED | {"exists"},
    "topic": _EQUAL | {"exists"},
    "segment": _EQUAL | {"exists"},
    "group": _EQUAL | {"exists"},
}
"""Field -> what it can be asked. attributes.<path> can be asked everything."""
AGES = frozenset({"registered_age_days", "last_seen_age_days"})
OF_DEVICES = frozenset({"platform", "app", "app_version", "os_version", "group"})
_VERSIONS = frozenset({"app_version", "os_version"})
_ATTRIBUTE_OPS = _TEXT | _ORDERED
_VERSION = re.compile(r"^[vV]?\d{1,18}(\.\d{1,18}){0,9}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$")


class BadRuleError(ValueError):
    """The rule is wrong; the message names the place and what to write instead."""


class Condition(NamedTuple):
    """A field, what is asked, and the value, or several for `in`."""

    field: str
    op: str
    value: Any


class Group(NamedTuple):
    """Rules combined. kind: all, any, not or device; the latter two have one."""

    kind: str
    parts: "tuple[Rule, ...]"


Rule = Condition | Group


def parse_rule(said: object) -> Rule:
    """Turn JSON into a rule. Raises BadRuleError. Bounded in conditions, levels and values."""
    return _Parser().rule(said, "rule", MAX_LEVELS, in_device=False)


def conditions(rule: Rule) -> tuple[Condition, ...]:
    """Give all conditions of a rule."""
    if isinstance(rule, Condition):
        return (rule,)
    return tuple(found for part in rule.parts for found in conditions(part))


class _Parser:
    def __init__(self) -> None:
        self._left = MAX_CONDITIONS

    def rule(self, said: object, path: str, levels: int, *, in_device: bool) -> Rule:
        if not isinstance(said, dict):
            raise BadRuleError(f"{path}: must be an object with a field, all, any, not or device")
        if "field" in said:
            return self._condition(said, path, in_device=in_device)
        if len(said) != 1 or (kind := next(iter(said))) not in {"all", "any", "not", "device"}:
            names = ", ".join(map(repr, list(said)[:5])) or "nothing"
            raise BadRuleError(
                f"{path}: give a field with op and value, or one of all, any, not and device;"
                f" there is {names[:200]}"
            )
        if not levels:
            raise BadRuleError(f"{path}: nest at most {MAX_LEVELS} levels")
        inner = said[kind]
        if kind in {"not", "device"}:
            if kind == "device" and in_device:
                raise BadRuleError(f"{path}.device: one device has no other within, remove it")
            is_device = in_device or kind == "device"
            part = self.rule(inner, f"{path}.{kind}", levels - 1, in_device=is_device)
            return Group(kind, (part,))
        if not isinstance(inner, list) or not inner:
            raise BadRuleError(f"{path}.{kind}: must be a list of at least one rule")
        return Group(
            kind,
            tuple(
                self.rule(one, f"{path}.{kind}.{n}", levels - 1, in_device=in_device)
                for n, one in enumerate(inner)
            ),
        )

    def _condition(self, said: dict[Any, Any], path: str, *, in_device: bool) -> Condition:
        self._left -= 1
        if self._left < 0:
            raise BadRuleError(f"{path}: use at most {MAX_CONDITIONS} conditions in all")
        if unknown := sorted(map(str, said.keys() - {"field", "op", "value"})):
            raise BadRuleError(f"{path}.{unknown[0][:50]}: is no field here, remove it")
        field, op, value = said["field"], said.get("op", "eq"), said.get("value")
        asked = _asked(field, path)
        if in_device and field not in OF_DEVICES | {"locale", "last_seen_age_days"}:
            raise BadRuleError(
                f"{path}.field: {field!r} belongs to the user, put it outside of device"
            )
        if op not in asked:
            raise BadRuleError(f"{path}.op: of {field!r} use one of {', '.join(sorted(asked))}")
        if op == "exists":
            if value not in (None, True, False):
                raise BadRuleError(f"{path}.value: must be true or false, or left out")
            return Condition(field, op, value is not False)
        if op == "in":
            if not isinstance(value, list) or not 1 <= len(value) <= MAX_VALUES:
                raise BadRuleError(f"{path}.value: must be a list of 1 to {MAX_VALUES} values")
            return Condition(
                field, op, tuple(_value(field, op, one, f"{path}.value") for one in value)
            )
        return Condition(field, op, _value(field, op, value, f"{path}.value"))


def _asked(field: object, path: str) -> frozenset[str]:
    if not isinstance(field, str):
        raise BadRuleError(f"{path}.field: must be text")
    if field.startswith(ATTRIBUTES):
        parts = field.removeprefix(ATTRIBUTES).split(".")
        if not all(parts) or len(parts) > MAX_PATH or len(field) > MAX_VALUE_CHARS:
            raise BadRuleError(
                f"{path}.field: write attributes.<name>, with at most {MAX_PATH} names"
            )
        return _ATTRIBUTE_OPS
    if field not in OPS:
        known = ", ".join([*sorted(OPS), "attributes.<name>"])
        raise BadRuleError(f"{path}.field: there is no {field[:50]!r}, use one of {known}")
    return OPS[field]


def _value(field: str, op: str, value: object, path: str) -> str | int | float | bool:
    if field in AGES:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not (0 <= value <= 36_500)
        ):
            raise BadRuleError(f"{path}: must be a number of days, 0 to 36500")
        return value
    if isinstance(value, str):
        if len(value) > MAX_VALUE_CHARS:
            raise BadRuleError(f"{path}: use at most {MAX_VALUE_CHARS} characters")
        if field in _VERSIONS and not _VERSION.match(value):
            raise BadRuleError(f"{path}: write a version such as '5.10.2' or '5.11-beta.1'")
        return value
    if not field.startswith(ATTRIBUTES) or op == "starts_with":
        raise BadRuleError(f"{path}: must be text in quotes")
    if isinstance(value, bool):
        if op in _ORDERED:
            raise BadRuleError(f"{path}: true and false have no order, use eq")
        return value
    if isinstance(value, (int, float)) and math.isfinite(value):
        return value
    raise BadRuleError(f"{path}: must be text, a number, true or false")
