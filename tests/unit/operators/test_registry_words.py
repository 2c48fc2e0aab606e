"""What was said comes back as it was said."""

from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from operators.registration import decode_registrations, with_change
from operators.registry_words import device_words, preferences_words, profile_words
from schemas import topics
from schemas.fields import EPOCH
from schemas.pipeline import Platform
from schemas.registry import (
    EVERYONE,
    WEEKDAYS,
    DeviceRegistration,
    PreferencesBody,
    ProfileBody,
    UserPreferences,
    UserProfile,
)
from state.profiles import Profile
from tests.unit.operators.builders import NOW_MS, UNTIMED, messages

HEAD: dict[str, Any] = {
    "tenant": "acme",
    "user_id": "zoë/1",
    "updated_at": EPOCH + timedelta(milliseconds=NOW_MS - 1),
}
B = TypeVar("B", ProfileBody, PreferencesBody)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True)
topic_names = st.from_regex(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,10}", fullmatch=True)
locales = st.from_regex(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,2}", fullmatch=True)
zones = st.sampled_from(["Europe/Berlin", "UTC", "America/New_York", "Asia/Kathmandu"])
milliseconds = st.integers(int(datetime(2000, 1, 1).timestamp()) * 1_000, 10**13)  # noqa: DTZ001 - about
times = milliseconds.map(lambda at_ms: EPOCH + timedelta(milliseconds=at_ms))
clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
plain = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=6,
)


def maybe(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | one


def some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(one, max_size=4, unique=True).map(tuple)


profiles = st.builds(
    ProfileBody,
    locale=maybe(locales),
    time_zone=maybe(zones),
    country=maybe(st.sampled_from(["DE", "US"])),
    attributes=st.dictionaries(plain, values, max_size=4),
    segments=some(topic_names.filter(lambda name: name != EVERYONE)),
    registered_at=maybe(times),
)
windows = st.fixed_dictionaries(
    {
        "start": clocks,
        "end": clocks,
        "time_zone": maybe(zones),
        "days": st.sets(st.sampled_from(WEEKDAYS)).map(
            lambda days: tuple(sorted(days, key=WEEKDAYS.index))
        ),
    }
).filter(lambda window: window["start"] != window["end"])
choices = st.fixed_dictionaries(
    {
        "allow": st.booleans(),
        "type": plain,
        "category": names,
        "channel": maybe(st.sampled_from(Platform)),
    }
)
preferences = st.builds(
    PreferencesBody,
    opt_out_all=st.booleans(),
    opted_out_categories=some(names),
    opted_out_channels=some(st.sampled_from(Platform)),
    muted_until=maybe(times),
    choices=st.lists(
        choices, max_size=4, unique_by=lambda one: (one["type"], one["category"], one["channel"])
    ),
    quiet_hours=st.lists(windows, max_size=4).map(tuple),
    topics=some(topic_names),
)
devices = st.builds(
    DeviceRegistration,
    tenant=st.just("acme"),
    user_id=st.just("u1"),
    device_id=names,
    platform=st.just(Platform.FCM),
    app=names,
    token=st.from_regex(r"[A-Za-z0-9_:-]{20,40}", fullmatch=True).filter(
        lambda token: token.strip("_:-") != ""
    ),
    environment=st.sampled_from(["production", "sandbox"]),
    locale=maybe(locales),
    app_version=plain,
    os_version=plain,
    groups=some(topic_names),
    registered_at=times,
)


def kept(topic: str, record: UserProfile | UserPreferences | DeviceRegistration) -> Profile:
    """Give the profile after this one record, as the registry makes it."""
    raw = record.model_dump_json(exclude_defaults=True).encode()
    changes, letters = decode_registrations(messages(topic, raw, at_ms=10**13), NOW_MS)
    assert not letters
    change: Any = changes[0]
    found = with_change(None, change)
    assert found is not None
    return found


@UNTIMED
@given(profiles)
def test_a_profile_comes_back_as_it_was_said(said: ProfileBody) -> None:
    """Any valid one, by way of JSON, the registry's change and what is kept."""
    record = UserProfile(**HEAD, **dict(said))
    assert profile_words(kept(topics.USERS, record)) == said


@UNTIMED
@given(preferences)
def test_preferences_come_back_as_they_were_said(said: PreferencesBody) -> None:
    """Any valid ones; days of quiet hours in the week's order."""
    record = UserPreferences(**HEAD, **dict(said))
    assert preferences_words(kept(topics.PREFERENCES, record)) == said


@UNTIMED
@given(devices)
def test_a_device_comes_back_as_it_was_said(said: DeviceRegistration) -> None:
    """Any valid one, but for the ids, which stand beside it."""
    (device,) = kept(topics.DEVICES, said).devices
    found = device_words(device)
    assert device.device_id == said.device_id
    assert dict(found) == {name: value for name, value in said if name in type(found).model_fields}


def test_of_nobody_nothing_was_said() -> None:
    """What is there before the first record."""
    assert profile_words(None) == ProfileBody()
    assert preferences_words(None) == PreferencesBody()
    assert profile_words(Profile("u1", 1)) == ProfileBody()
    assert preferences_words(Profile("u1", 1)) == PreferencesBody()
