"""Rules of segments on profiles: each becomes a function of a profile and the time."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

from schemas.definitions import Definition
from schemas.segment_definition import SegmentBody, check_name, read_body
from schemas.segment_rules import ATTRIBUTES, OF_DEVICES, Condition, Rule, parse_rule
from state.profiles import Device, Profile
from state.segments import Edit

DAY_MS = 86_400_000
RULE, QUERY = "rule", "query"
"""The kinds of generation that are defined: what a rule keeps, and what a query gave."""

Subject = tuple[Profile, Device | None, int]
"""A profile, the one device that is looked at if any, and the time."""
Test = Callable[[Subject], bool]
Matches = Callable[[Profile, int], bool]
"""(profile, now_ms) -> whether the user is a member. Never raises."""

_ORDER = {"lt": lt, "le": le, "gt": gt, "ge": ge}
_VERSION = re.compile(
    r"^[A-Za-z ]{0,32}(\d{1,18}(?:\.\d{1,18}){0,9})(?:-([0-9A-Za-z.-]+))?(?:\+.*)?$"
)


class LiveSegment(NamedTuple):
    """A definition as the registry uses it. matches: None for a query.

    generation: of the users that match, the same for everybody who reads the definition.
    """

    name: str
    version: int
    at_ms: int
    body: SegmentBody
    matches: Matches | None

    @property
    def kind(self) -> str:
        """Of the generations that it makes."""
        return QUERY if self.matches is None else RULE

    @property
    def generation(self) -> str:
        """The rule's own set of members."""
        return f"{self.at_ms:013d}-v{self.version}"


def live_segment(definition: Definition) -> LiveSegment:
    """Read a definition. Raises BadSegmentBodyError."""
    check_name(definition.name)
    body = read_body(definition.body)
    matches = None if body.rule is None else compiled(parse_rule(body.rule))
    return LiveSegment(definition.name, definition.version, definition.at_ms, body, matches)


def edit_of(
    rule: LiveSegment, matches: Matches, profiles: Mapping[str, Profile | None], now_ms: int
) -> Edit:
    """Tell which of these users a rule means, and which not; of who is gone, none."""
    joining, leaving = list[str](), list[str]()
    for user_id, profile in profiles.items():
        is_member = profile is not None and matches(profile, now_ms)
        (joining if is_member else leaving).append(user_id)
    return Edit(rule.name, joining, leaving, rule.generation)


def compiled(rule: Rule) -> Matches:
    """Turn a rule into a function."""
    test = _test(rule)
    return lambda profile, now_ms: test((profile, None, now_ms))


def _test(rule: Rule) -> Test:
    if isinstance(rule, Condition):
        return _condition(rule)
    parts = [_test(part) for part in rule.parts]
    if rule.kind == "all":
        return lambda subject: all(part(subject) for part in parts)
    if rule.kind == "any":
        return lambda subject: any(part(subject) for part in parts)
    (inner,) = parts
    if rule.kind == "not":
        return lambda subject: not inner(subject)
    return lambda subject: any(
        inner((subject[0], device, subject[2])) for device in subject[0].devices
    )


def _condition(one: Condition) -> Test:
    values, holds = _values(one.field), _holds(one)
    if one.op == "exists":
        return lambda subject: any(True for _ in values(subject)) is one.value
    if one.op == "ne" and one.field not in OF_DEVICES:
        # Of what there may be several, none is meant; also of what is not known.
        equal = _holds(Condition(one.field, "eq", one.value))
        return lambda subject: not any(equal(value) for value in values(subject))
    return lambda subject: any(holds(value) for value in values(subject))


def _values(field: str) -> Callable[[Subject], Iterable[Any]]:
    """Give what reads a field: no value when it is not known, several when there are several."""
    if field.startswith(ATTRIBUTES):
        path = field.removeprefix(ATTRIBUTES).split(".")
        return lambda subject: _at_path(subject[0].attributes, path)
    return _FIELDS[field]


def _at_path(found: Any, path: list[str]) -> Iterable[Any]:
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return ()
        found = found[name]
    return () if found is None else (found,)


def _devices(subject: Subject) -> Iterable[Device]:
    profile, device, _ = subject
    return profile.devices if device is None else (device,)


def _of_devices(attribute: str) -> Callable[[Subject], Iterable[Any]]:
    def read(subject: Subject) -> Iterable[Any]:
        return [value for one in _devices(subject) if (value := getattr(one, attribute))]

    return read


def _locales(subject: Subject) -> Iterable[str]:
    """Give the device's, else the user's, else those of the user's devices."""
    profile, device, _ = subject
    if device is not None and device.locale:
        return (device.locale,)
    if profile.locale:
        return (profile.locale,)
    return [one.locale for one in _devices(subject) if one.locale]


def _registered_age(subject: Subject) -> Iterable[float]:
    profile, _, now_ms = subject
    times_ms = (
        [profile.registered_at_ms]
        if profile.registered_at_ms
        else [one.registered_at_ms for one in profile.devices]
    )
    return [(now_ms - min(times_ms)) / DAY_MS] if times_ms else ()


def _last_seen_age(subject: Subject) -> Iterable[float]:
    times_ms = [one.registered_at_ms for one in _devices(subject)]
    return [(subject[2] - max(times_ms)) / DAY_MS] if times_ms else ()


_FIELDS: dict[str, Callable[[Subject], Iterable[Any]]] = {
    "platform": _of_devices("platform"),
    "app": _of_devices("app"),
    "app_version": _of_devices("app_version"),
    "os_version": _of_devices("os_version"),
    "group": lambda subject: [name for one in _devices(subject) for name in one.groups],
    "locale": _locales,
    "country": lambda subject: (subject[0].country,) if subject[0].country else (),
    "time_zone": lambda subject: (subject[0].time_zone,) if subject[0].time_zone else (),
    "topic": lambda subject: subject[0].topics,
    "segment": lambda subject: subject[0].segments,
    "registered_age_days": _registered_age,
    "last_seen_age_days": _last_seen_age,
}


def _holds(one: Condition) -> Callable[[Any], bool]:
    """Give what a condition says of one value."""
    if one.field in {"app_version", "os_version"}:
        return _version_holds(one.op, one.value)
    if one.field == "locale":
        return _locale_holds(one.op, one.value)
    if one.op in _ORDER:
        return partial(_ordered, _ORDER[one.op], one.value)
    return partial(_PLAIN[one.op], one.value)


def _ordered(compare: Callable[[Any, Any], Any], wanted: Any, value: Any) -> bool:
    return _comparable(value, wanted) and bool(compare(value, wanted))


_PLAIN: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda wanted, value: _same(value, wanted),
    "ne": lambda wanted, value: not _same(value, wanted),
    "in": lambda wanted, value: any(_same(value, each) for each in wanted),
    "contains": lambda wanted, value: _contains(value, wanted),
    "starts_with": lambda wanted, value: isinstance(value, str) and value.startswith(wanted),
    "exists": lambda _wanted, _value: True,
}


def _same(value: Any, wanted: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, str):
        return isinstance(wanted, str) and wanted in value
    return isinstance(value, list) and any(_same(each, wanted) for each in value)


def _comparable(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(wanted, str):
        return isinstance(value, str)
    return isinstance(value, (int, float))


def _locale_holds(op: str, wanted: Any) -> Callable[[str], bool]:
    """Match a locale by its beginning: `de` means de-AT, too."""
    heads = (
        [_locale(each) for each in (wanted if op == "in" else (wanted,))]
        if (op != "exists")
        else []
    )

    def holds(value: str) -> bool:
        found = _locale(value)
        return any(found == head or found.startswith(f"{head}-") for head in heads)

    return holds


def _locale(tag: str) -> str:
    return tag.replace("_", "-").lower()


def _version_holds(op: str, wanted: Any) -> Callable[[str], bool]:
    if op == "exists":
        return lambda _value: True
    if op == "in":
        keys = {version_key(each) for each in wanted}
        return lambda value: (key := version_key(value)) is not None and key in keys
    key = version_key(wanted)

    def holds(value: str) -> bool:
        found = version_key(value)
        if found is None or key is None:
            return False
        if op in {"eq", "ne"}:
            return (found == key) is (op == "eq")
        return bool(_ORDER[op](found, key))

    return holds


@lru_cache(maxsize=4_096)
def version_key(text: str) -> tuple[Any, ...] | None:
    """Give what versions are compared by, None for text that is none. A name before it is skipped.

    Missing parts are 0, a pre-release comes before its release, and its parts compare as numbers
    or, after all numbers, as text. Source: Semantic Versioning 2.0.0, §11.
    """
    found = _VERSION.match(text)
    if found is None:
        return None
    numbers = [int(part) for part in found.group(1).split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    if found.group(2) is None:
        return (tuple(numbers), 1, ())
    parts = found.group(2).split(".")
    return (
        tuple(numbers),
        0,
        tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts),
    )
