"""Rules on profiles."""

from typing import Any

import msgspec
import pytest
from builders import NOW_MS, UNTIMED
from hypothesis import given
from hypothesis import strategies as st

from operators.segment_rules import compiled, version_key
from schemas.pipeline import Platform
from schemas.segment_rules import OPS, parse_rule
from state.profiles import Device, Profile

DAY_MS = 86_400_000
PHONE = Device(
    "phone", Platform.APNS, "shop", "t1", NOW_MS - 3 * DAY_MS, locale="de-AT",
    app_version="5.10.0", os_version="iOS 17", groups=("vip",),
)  # fmt: skip
TABLET = Device(
    "tablet", Platform.FCM, "shop", "t2", NOW_MS - 20 * DAY_MS, app_version="4.9.1-beta.2"
)
USER = Profile(
    "u1", 1, locale="de_CH", time_zone="Europe/Berlin", country="CH", devices=(PHONE, TABLET),
    attributes={"plan": {"name": "gold", "seats": 3}, "tags": ["a", 1], "trial": False, "n": None},
    topics=("sports",), segments=("buyers",), registered_at_ms=NOW_MS - 100 * DAY_MS,
)  # fmt: skip
NOBODY = Profile("u2", 1)


def holds(rule: Any, profile: Profile = USER) -> bool:
    return compiled(parse_rule(rule))(profile, NOW_MS)


def asks(field: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


@pytest.mark.parametrize(
    ("field", "op", "value", "expected"),
    [
        ("platform", "eq", "fcm", True),
        ("platform", "in", ["webpush"], False),
        ("app_version", "ge", "5.9", True),
        ("app_version", "gt", "5.10", False),
        ("app_version", "eq", "5.10", True),
        ("app_version", "lt", "4.9.1", True),
        ("app_version", "in", ["4.9.1-beta.2"], True),
        ("os_version", "eq", "17.0.0", True),
        ("os_version", "ne", "17", False),
        ("locale", "eq", "de", True),
        ("locale", "eq", "de-AT", False),
        ("locale", "in", ["fr", "DE-ch"], True),
        ("locale", "ne", "de", False),
        ("country", "ne", "US", True),
        ("time_zone", "starts_with", "Europe/", True),
        ("attributes.plan.name", "eq", "gold", True),
        ("attributes.plan.seats", "ge", 3, True),
        ("attributes.plan.seats", "lt", "9", False),
        ("attributes.tags", "contains", "a", True),
        ("attributes.tags", "contains", True, False),
        ("attributes.trial", "eq", False, True),
        ("attributes.trial", "eq", 0, False),
        ("attributes.plan", "eq", "gold", False),
        ("attributes.missing.deeper", "exists", False, True),
        ("attributes.n", "exists", True, False),
        ("attributes.missing", "ne", "x", True),
        ("topic", "eq", "sports", True),
        ("segment", "in", ["buyers", "x"], True),
        ("group", "eq", "vip", True),
        ("registered_age_days", "ge", 100, True),
        ("registered_age_days", "gt", 100, False),
        ("last_seen_age_days", "lt", 3.5, True),
        ("last_seen_age_days", "gt", 14, False),
    ],
)
def test_a_condition_on_a_known_user(field: str, op: str, value: Any, expected: bool) -> None:  # noqa: FBT001 - a table
    """Of several devices, one is enough."""
    assert holds(asks(field, op, value)) is expected


@pytest.mark.parametrize("field", sorted(OPS))
def test_what_is_not_known_equals_nothing(field: str) -> None:
    """It does not exist, and has no age."""
    value: Any = 1 if "age" in field else "1"
    op = "ge" if "age" in field else "eq"
    assert not holds(asks(field, op, value), NOBODY)
    assert holds(asks(field, "exists", False), NOBODY)
    assert holds({"not": asks(field, "exists")}, NOBODY)


def test_a_device_is_looked_at_alone() -> None:
    """Both conditions of one device, or each of any."""
    old_ios = [asks("platform", "eq", "apns"), asks("app_version", "lt", "5")]
    assert holds({"all": old_ios})
    assert not holds({"device": {"all": old_ios}})
    assert holds({"device": {"all": [asks("platform", "eq", "fcm"), old_ios[1]]}})
    assert holds(
        {"device": {"all": [asks("last_seen_age_days", "gt", 14), asks("locale", "eq", "de")]}}
    )
    assert holds({"not": {"device": asks("platform", "eq", "webpush")}})


def test_the_oldest_device_tells_when_the_record_does_not() -> None:
    """How long a user is there."""
    user = msgspec.structs.replace(USER, registered_at_ms=0)
    assert holds(asks("registered_age_days", "ge", 20), user)
    assert not holds(asks("registered_age_days", "ge", 21), user)


def test_versions_are_ordered_as_semantic_versioning_says() -> None:
    """Numbers by value, missing ones are 0, a pre-release before its release."""
    ordered = [
        "0.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
        "1.0.0-beta.11", "1.0.0-rc.1", "v1.0.0", "1.0.1", "1.2", "1.10", "2", "10.0.0.1",
    ]  # fmt: skip
    keys = [version_key(one) for one in ordered]
    assert keys == sorted(keys)  # type: ignore[type-var]
    assert len(set(keys)) == len(keys)
    assert version_key("1") == version_key("1.0.0") == version_key("1.0+build.7")
    assert version_key("5.x") is None
    assert version_key("") is None


_numbers = st.lists(st.integers(0, 12), min_size=1, max_size=4)


@UNTIMED
@given(_numbers, _numbers)
def test_comparing_versions_is_comparing_padded_numbers(a: list[int], b: list[int]) -> None:
    """Against the simple model."""
    user = msgspec.structs.replace(
        USER, devices=(msgspec.structs.replace(PHONE, app_version=".".join(map(str, a))),)
    )
    padded_a, padded_b = ([*one, 0, 0, 0][:4] for one in (a, b))
    text = ".".join(map(str, b))
    assert holds(asks("app_version", "lt", text), user) is (padded_a < padded_b)
    assert holds(asks("app_version", "ge", text), user) is (padded_a >= padded_b)
    assert holds(asks("app_version", "eq", text), user) is (padded_a == padded_b)


_atoms = st.sampled_from(
    [asks("country", "eq", "CH"), asks("topic", "eq", "x"), asks("platform", "eq", "fcm")]
)
_rules = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)


def by_python(rule: Any) -> bool:
    if "field" in rule:
        return rule["field"] != "topic"
    if "not" in rule:
        return not by_python(rule["not"])
    return all(map(by_python, rule["all"])) if "all" in rule else any(map(by_python, rule["any"]))


@UNTIMED
@given(_rules)
def test_rules_combine_as_pythons_logic(rule: Any) -> None:
    """Whatever stands in whatever."""
    try:
        parsed = parse_rule(rule)
    except ValueError as error:
        assert "nest at most" in str(error)  # noqa: PT017 - deep ones are refused
        return
    assert compiled(parsed)(USER, NOW_MS) is by_python(rule)
