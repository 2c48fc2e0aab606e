from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from pydantic import BaseModel

from sandbox.apns_scenarios import read_scenario
from sandbox.fcm_tokens import is_well_formed, scenario_of
from sandbox.flights import Airport
from sandbox.passenger_mix import below
from sandbox.passengers import (
    MARKETING,
    TRANSACTIONAL,
    Passenger,
    PassengerDevice,
    Population,
    Reach,
)
from sandbox.webpush_subscriptions import find_receiver, key_print_of
from schemas.pipeline import Platform
from schemas.registry import DeviceRegistration, UserPreferences, UserProfile, registry_key
from schemas.stream import Record
from schemas.topics import DEVICES, PREFERENCES, USERS

AIRPORTS = {
    code: Airport(code, name, tz)
    for code, name, tz in (
        ("EWR", "Newark", "America/New_York"),
        ("JFK", "Kennedy", "America/New_York"),
        ("LGA", "La Guardia", "America/New_York"),
        ("LAX", "Los Angeles", "America/Los_Angeles"),
        ("ORD", "O'Hare", "America/Chicago"),
        ("HNL", "Honolulu", "Pacific/Honolulu"),
    )
}
DESTINATIONS = {"LAX": 600, "ORD": 390, "HNL": 10}
ORIGIN = "https://127.0.0.1:8443"
VAPID_KEY = "BPn-a-public-key"
REGISTERED_AT_MS = 1_800_000_000_123
MODELS: dict[str, type[BaseModel]] = {
    DEVICES: DeviceRegistration,
    USERS: UserProfile,
    PREFERENCES: UserPreferences,
}


def population(*, seed: int = 1, users: int = 4_000) -> Population:
    return Population(
        seed=seed,
        users=users,
        airports=AIRPORTS,
        destinations=DESTINATIONS,
        webpush_origin=ORIGIN,
        vapid_public_key=VAPID_KEY,
    )


@pytest.fixture(scope="module")
def people() -> Population:
    return population()


@pytest.fixture(scope="module")
def records(people: Population) -> list[Record]:
    return list(people.registrations(REGISTERED_AT_MS))


def test_every_record_is_valid_and_has_the_registrys_key(records: list[Record]) -> None:
    """The models of the registry accept all of them, under the keys that they prescribe."""
    for record in records:
        said = MODELS[record.topic].model_validate_json(record.value or b"")
        assert isinstance(said, (DeviceRegistration, UserProfile, UserPreferences))
        parts = [said.tenant, said.user_id]
        if isinstance(said, DeviceRegistration):
            parts.append(said.device_id)
        assert record.key == registry_key(*parts)
        at = said.registered_at if isinstance(said, DeviceRegistration) else said.updated_at
        assert at.isoformat() == "2027-01-15T08:00:00.123000+00:00"


def test_the_same_seed_gives_the_same_records(records: list[Record]) -> None:
    """Another population with this seed says the same, and one with another seed does not."""
    assert list(population().registrations(REGISTERED_AT_MS)) == records
    other = list(population(seed=2).registrations(REGISTERED_AT_MS))
    tokens = {token(record) for record in records if record.topic == DEVICES}
    assert tokens.isdisjoint(token(record) for record in other if record.topic == DEVICES)


def token(record: Record) -> str:
    return str(msgspec.json.decode(record.value or b"")["token"])


def test_a_user_is_the_same_by_number_and_in_line(people: Population) -> None:
    """Any process can name user 1234 without making those before."""
    assert people.user(1_234) == list(people)[1_234]
    assert people.user(1_234).user_id == "u0001234"
    with pytest.raises(IndexError, match="user 4000: there are 4000"):
        people.user(4_000)


def test_expected_figures_match_the_records(people: Population, records: list[Record]) -> None:
    """Counted again from what the records say."""
    expected = people.expected
    said = [(record.topic, msgspec.json.decode(record.value or b"")) for record in records]
    devices = [value for topic, value in said if topic == DEVICES]
    profiles = [value for topic, value in said if topic == USERS]
    preferences = [value for topic, value in said if topic == PREFERENCES]
    owners = {device["user_id"] for device in devices}
    assert expected.records == len(records)
    assert expected.users == len(profiles) == 4_000
    assert expected.users_without_devices == 4_000 - len(owners)
    assert expected.devices == Counter(device["platform"] for device in devices)
    assert expected.preferences == len(preferences)
    assert expected.users_with_quiet_hours == sum("quiet_hours" in one for one in preferences)
    refusals = ("opt_out_all", "opted_out_categories", "opted_out_channels")
    assert expected.opted_out == sum(any(name in one for name in refusals) for one in preferences)
    assert expected.locales == Counter(one["locale"] for one in profiles)
    assert expected.segments == dict(
        sorted(Counter(name for one in profiles for name in one["segments"]).items())
    )


def test_expected_figures_need_no_registration(people: Population, records: list[Record]) -> None:
    """A population that nobody registered counts the same."""
    assert len(records) == population().expected.records
    assert people.expected.codes == population().expected.codes


def test_an_abandoned_registration_leaves_no_half_count() -> None:
    """Whoever stops reading still gets the figures of all users."""
    stopped = population(users=100)
    next(stopped.registrations(REGISTERED_AT_MS))
    assert stopped.expected.users == 100


def test_live_and_dead_tokens_are_what_the_simulators_know(people: Population) -> None:
    """Dead ones are as many as expected; browsers take the tenant's VAPID key only."""
    writer = people.records(registered_at_ms=REGISTERED_AT_MS, died_at_ms=REGISTERED_AT_MS + 5)
    dead: Counter[Platform] = Counter()
    for user in people:
        for device in user.devices:
            address = writer.address(device)
            dead[device.platform] += IS_DEAD[device.platform](address.token)
            assert IS_DEAD[device.platform](address.token) == device.dead
    assert dead == people.expected.dead_tokens
    assert all(dead[platform] for platform in Platform)


def apns_is_dead(token: str) -> bool:
    scenario = read_scenario(token)
    if scenario is None:
        return False
    assert (scenario.name, scenario.at_ms) == ("Unregistered", REGISTERED_AT_MS + 5)
    return True


def fcm_is_dead(token: str) -> bool:
    assert is_well_formed(token)
    return scenario_of(token) == "UNREGISTERED"


def webpush_is_dead(token: str) -> bool:
    receiver = find_receiver(token.removeprefix(ORIGIN))
    assert receiver is not None
    assert receiver.key_print == key_print_of(VAPID_KEY)
    return receiver.scenario == "mozilla-410-106"


IS_DEAD: dict[Platform, Callable[[str], bool]] = {
    Platform.APNS: apns_is_dead,
    Platform.FCM: fcm_is_dead,
    Platform.WEBPUSH: webpush_is_dead,
}


def test_tokens_and_device_ids_are_unique(records: list[Record]) -> None:
    """No two devices share a token, so nothing is held back as a duplicate."""
    tokens = [token(record) for record in records if record.topic == DEVICES]
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize(
    ("what", "share", "tolerance"),
    [
        ("users_without_devices", 0.04, 0.01),
        ("opted_out", 0.06, 0.012),
        ("users_with_quiet_hours", 0.25, 0.02),
    ],
)
def test_shares_are_as_described(
    people: Population, what: str, share: float, tolerance: float
) -> None:
    """The mix is what passenger_mix.py says, within what chance allows."""
    assert getattr(people.expected, what) / people.users == pytest.approx(share, abs=tolerance)


def test_one_in_twenty_tokens_is_dead(people: Population) -> None:
    """Across all platforms."""
    expected = people.expected
    share = expected.dead_tokens.total() / expected.devices.total()
    assert share == pytest.approx(0.05, abs=0.012)


def test_users_want_to_go_where_flights_go(people: Population) -> None:
    """One to three destinations each, the busy ones more often; few fly frequently."""
    segments = people.expected.segments
    assert segments["dest-LAX"] > segments["dest-ORD"] > segments["dest-HNL"] > 0
    assert segments["frequent"] / people.users == pytest.approx(0.15, abs=0.02)
    for user in people:
        wishes = [name for name in user.segments if name.startswith("dest-")]
        assert 1 <= len(wishes) <= 3
        assert len(set(user.segments)) == len(user.segments)


def test_homes_and_languages_are_mixed(people: Population) -> None:
    """New Yorkers first, destinations next, and visitors for whom the evening is night."""
    homes = Counter(user.home for user in people)
    here = sum(homes[code] for code in ("EWR", "JFK", "LGA"))
    assert here / people.users == pytest.approx(0.45, abs=0.03)
    assert homes["LAX"] > homes["HNL"] > 0
    assert {"Europe/Berlin", "Pacific/Honolulu"} <= {user.time_zone for user in people}
    assert {"en", "de", "fr", "es", "pt-BR", "ja"} <= people.expected.locales.keys()


def reach_by_hand(people: Population, category: str, segment: str | None) -> Reach:
    found = Reach()
    for user in people:
        if segment is not None and segment not in user.segments:
            continue
        found.users += 1
        willing = [device for device in user.devices if device.platform != user.refuses]
        if user.refuses in ("all", category) or (user.devices and not willing):
            found.refused += 1
        elif not user.devices:
            found.without_device += 1
        else:
            found.devices += len(willing)
            found.live_devices += sum(not device.dead for device in willing)
    return found


@pytest.mark.parametrize("category", [TRANSACTIONAL, MARKETING])
@pytest.mark.parametrize("segment", [None, "dest-LAX", "frequent"])
def test_reach_agrees_with_counting_by_hand(
    people: Population, category: str, segment: str | None
) -> None:
    """Packed codes summed up say the same as the users one by one."""
    assert people.expected.reach(category, segment) == reach_by_hand(people, category, segment)


def test_an_unknown_segment_reaches_nobody(people: Population) -> None:
    """As in Clarion, a segment that nobody is in is empty."""
    assert people.expected.reach(MARKETING, "dest-XXX") == Reach()


def test_what_a_user_refuses_stands_in_the_preferences(
    people: Population, records: list[Record]
) -> None:
    """All, a category or a channel, each in its own field."""
    said = {
        one.user_id: one
        for record in records
        if record.topic == PREFERENCES
        for one in [UserPreferences.model_validate_json(record.value or b"")]
    }
    seen = set()
    for user in people:
        assert (user.user_id in said) == user.has_preferences
        if not user.refuses:
            continue
        one = said[user.user_id]
        seen.add(user.refuses)
        assert one.opt_out_all == (user.refuses == "all")
        told = {*one.opted_out_categories, *(str(channel) for channel in one.opted_out_channels)}
        assert told == (set() if one.opt_out_all else {str(user.refuses)})
    assert seen == {"all", MARKETING, TRANSACTIONAL, *Platform}


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"users": 0}, "users: use 1 to"),
        ({"users": 10_000_001}, "users: use 1 to"),
        ({"webpush_origin": "http://127.0.0.1:1"}, "webpush_origin: give https"),
        ({"webpush_origin": "https://127.0.0.1:1/"}, "webpush_origin: give https"),
        ({"destinations": {}}, "at least one option"),
        ({"destinations": {"ATL": 1}}, "airports: add ATL"),
    ],
)
def test_bad_parameters_are_refused(change: dict[str, object], hint: str) -> None:
    """With the parameter's name and what to use."""
    given: dict[str, object] = {
        "seed": 1,
        "users": 10,
        "airports": AIRPORTS,
        "destinations": DESTINATIONS,
        "webpush_origin": ORIGIN,
    }
    with pytest.raises(ValueError, match=hint):
        Population(**(given | change))  # type: ignore[arg-type]  # parameters vary per case


def test_no_token_dies_before_it_was_registered(people: Population) -> None:
    """Clarion would not believe it and would keep the token."""
    with pytest.raises(ValueError, match="died_at_ms"):
        people.registrations(REGISTERED_AT_MS, died_at_ms=REGISTERED_AT_MS - 1)


def test_passengers_are_plain_values() -> None:
    """A share of 5% is every twentieth of the draws, and structs compare by value."""
    assert below(0.05) == 2**32 // 20
    device = PassengerDevice("d", Platform.FCM, 7, False, ("1", "2"))
    user = Passenger("u", "JFK", "America/New_York", "US", "en", (), (device,), "", None)
    assert not user.has_preferences
