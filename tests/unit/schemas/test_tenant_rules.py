"""Tenants: defaults, limits and helpers. How faults are told is in flows/test_config_files.py."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.duration import WholeSeconds
from schemas.pipeline import Platform
from schemas.tenant import Tenant

BASE: dict[str, Any] = {"name": "acme", "categories": {"news": {}}}
LIMIT = {"limit": 1, "window_s": 60}


def tenant(**changes: Any) -> Tenant:
    return Tenant.model_validate({**BASE, **changes})


def test_smallest_tenant_has_sensible_defaults() -> None:
    """A name and a category are enough."""
    found = tenant()
    assert (found.shards, found.locale, found.time_zone) == (16, "en", "UTC")
    assert found.categories["news"].default_ttl_s == 3 * 86_400
    assert found.categories["news"].quiet_hours == "defer"
    assert found.rates.of(Platform.APNS) is None
    assert found.retry.max_attempts == 6
    assert (found.hygiene.min_deaths, found.hygiene.max_share) == (100, 0.2)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(90, 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("1h30m", 5_400)],
)
def test_durations_read_as_people_write_them(written: object, seconds: int) -> None:
    """Numbers are seconds."""
    assert TypeAdapter(WholeSeconds).validate_python(written) == seconds


@pytest.mark.parametrize("written", ["", "1 day", "d", "-5s", "1.5h", True, None, "5", [1]])
def test_other_durations_are_refused(written: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValidationError, match="write seconds, or a duration such as"):
        TypeAdapter(WholeSeconds).validate_python(written)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shards": 12}, "shards: use a power of two"),
        ({"shards": 8192}, "less than or equal to 4096"),
        ({"categories": {}}, "at least 1 item"),
        ({"categories": {"a": {"caps": [{"limit": 1, "window_s": "32d"}]}}}, "less than or equal"),
        ({"categories": {"a": {"default_ttl_s": "29d"}}}, "less than or equal"),
        ({"rates": {"per_second": 0}}, "greater than 0"),
        ({"caps": [{"name": "g", "limits": []}]}, "at least 1 item"),
        ({"caps": [{"name": "g", "limits": [LIMIT]}] * 2}, "caps: give every group its own name"),
        (
            {"caps": [{"name": "g", "categories": ["nwes"], "limits": [LIMIT]}]},
            "caps.g: there is no category 'nwes'",
        ),
        (
            {"rates": {"regions": {n: {"countries": ["DE"], "per_second": 1.0} for n in "ab"}}},
            "regions: DE is in 'a' and 'b', keep one",
        ),
        ({"hygiene": {"min_deaths": 0}}, "greater than or equal to 1"),
        ({"hygiene": {"max_share": 0}}, "greater than 0"),
        ({"hygiene": {"max_share": 1.1}}, "less than or equal to 1"),
        ({"hygiene": {"window_s": "5s"}}, "greater than or equal to 10"),
        ({"retry": {"base_s": "1h", "cap_s": 1}}, "base_s must not be larger than cap_s"),
        ({"templates": {"t": {"texts": {"de": {"title": "x"}}}}}, "needs texts for the tenant's"),
        (
            {"templates": {"t": [{"texts": {"en": {}}}, {"texts": {"en": {}}}]}},
            "give every version its own number",
        ),
        ({"flags": {"a": 101}}, "use true, false or a percentage"),
        ({"flags": {"a": float("nan")}}, "use true, false or a percentage"),
    ],
)
def test_tenant_fault_is_explained(changes: dict[str, Any], says: str) -> None:
    """Every bound says what it wants."""
    with pytest.raises(ValidationError, match=says):
        tenant(**changes)


def test_template_gives_the_newest_version_or_the_one_asked() -> None:
    """Order in the file does not matter."""
    texts = {"en": {"title": "x"}}
    versions = [{"version": number, "texts": texts} for number in (3, 1)]
    found = tenant(templates={"t": versions})
    newest, first = found.template("t"), found.template("t", 1)
    assert newest is not None
    assert newest.version == 3
    assert first is not None
    assert first.version == 1
    assert found.template("t", 2) is None
    assert found.template("nope") is None


@pytest.mark.parametrize(
    ("flag", "percent"), [(True, 100.0), (False, 0.0), (25, 25.0), (0.5, 0.5), (1, 1.0)]
)
def test_flag_is_a_share_of_users(flag: bool | float, percent: float) -> None:  # noqa: FBT001 - the value under test
    """True is everybody, 1 is one in a hundred."""
    found = tenant(flags={"f": flag})
    assert found.flag_percent("f") == percent
    assert found.flag_percent("unknown") == 0.0
