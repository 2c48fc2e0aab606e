from collections import Counter, defaultdict
from datetime import datetime
from itertools import islice, pairwise

import msgspec
import pytest

from sandbox.flights import Flight, airports, destination_counts, load_flights
from sandbox.passengers import MARKETING, TRANSACTIONAL, Population, Reach, user_id_of
from sandbox.replay import Replay, events
from sandbox.replay_events import FARE_SALE, FLIGHT_CANCELLED, FLIGHT_DELAYED, MISTAKES, malformed
from schemas.events import BadEventError, Event, SegmentAudience, UsersAudience, decode_event
from schemas.fields import epoch_ms
from schemas.pipeline import Priority
from schemas.stream import Record
from schemas.topics import EVENTS

SHIFT_MS = 400 * 86_400_000
DAYS = 4


@pytest.fixture(scope="module")
def flights() -> list[Flight]:
    return load_flights(days=DAYS)


@pytest.fixture(scope="module")
def people(flights: list[Flight]) -> Population:
    return Population(
        seed=3,
        users=2_000,
        airports=airports(),
        destinations=destination_counts(flights),
        webpush_origin="https://127.0.0.1:8443",
    )


def replay(flights: list[Flight], people: Population, **options: float) -> Replay:
    return events(flights, people, shift_ms=SHIFT_MS, seed=5, **options)  # type: ignore[arg-type]  # numbers


Told = list[tuple[int, Record]]


@pytest.fixture(scope="module")
def told(flights: list[Flight], people: Population) -> tuple[Replay, Told]:
    run = replay(flights, people, duplicate_share=0.05, malformed_share=0.05)
    return run, list(run)


def decoded(told: Told) -> list[tuple[int, Record, Event]]:
    found = []
    for at_ms, record in told:
        try:
            found.append((at_ms, record, decode_event(record.value)))
        except BadEventError:
            continue
    return found


def once(told: Told) -> dict[str, tuple[int, Record, Event]]:
    """Give the first of each sound event, by id."""
    found: dict[str, tuple[int, Record, Event]] = {}
    for row in decoded(told):
        found.setdefault(row[2].id, row)
    return found


def test_events_come_in_the_order_of_their_times(told: tuple[Replay, Told]) -> None:
    """Duplicates and malformed records included."""
    assert all(one[0] <= two[0] for one, two in pairwise(told[1]))
    assert told[0].counts.first_at_ms == told[1][0][0]
    assert told[0].counts.last_at_ms == told[1][-1][0]


def test_the_same_seed_gives_the_same_replay(
    flights: list[Flight], people: Population, told: tuple[Replay, Told]
) -> None:
    """Byte for byte; another seed books other passengers."""
    assert list(replay(flights, people, duplicate_share=0.05, malformed_share=0.05)) == told[1]
    other = events(flights, people, shift_ms=SHIFT_MS, seed=6)
    assert next(other)[1].value != told[1][0][1].value


def test_every_late_and_cancelled_flight_is_told_once(
    flights: list[Flight], told: tuple[Replay, Told]
) -> None:
    """More than 15 minutes late, or cancelled; at the time it should have left."""
    late = {f.flight_id: f for f in flights if (f.dep_delay_min or 0) > 15}
    gone = {f.flight_id: f for f in flights if f.cancelled}
    found = once(told[1])
    by_type = defaultdict(set)
    for at_ms, record, event in found.values():
        by_type[event.type].add(event.id)
        if event.type != FARE_SALE:
            flight = (late | gone)[event.id.split("-", 1)[1]]
            assert at_ms == flight.scheduled_at_ms + SHIFT_MS == event.created_at_ms
            assert record.key == flight.flight_id.encode()
    assert by_type[FLIGHT_DELAYED] == {f"{FLIGHT_DELAYED}-{name}" for name in late}
    assert by_type[FLIGHT_CANCELLED] == {f"{FLIGHT_CANCELLED}-{name}" for name in gone}


def test_a_delay_says_when_the_flight_leaves(
    flights: list[Flight], told: tuple[Replay, Told]
) -> None:
    """High priority, transactional, for six hours, to those who are booked."""
    flight = next(f for f in flights if (f.dep_delay_min or 0) > 15)
    event = once(told[1])[f"{FLIGHT_DELAYED}-{flight.flight_id}"][2]
    assert (event.priority, event.category, event.ttl_s) == (Priority.HIGH, TRANSACTIONAL, 21_600)
    assert event.template is not None
    assert event.template.name == FLIGHT_DELAYED
    assert event.variables == {
        "flight": "EV 4144",
        "airline": "ExpressJet Airlines Inc.",
        "origin": "EWR",
        "origin_name": "Newark Liberty Intl",
        "dest": "IAD",
        "dest_name": "Washington Dulles Intl",
        "delay_min": 24,
        "new_time": "06:32",
        "new_time_12h": "6:32 AM",
    }
    assert isinstance(event.audience, UsersAudience)
    booked = told[0].passengers(flight)
    assert event.audience.users == tuple(user_id_of(number) for number in booked)


def test_a_cancellation_is_critical_and_collapses_by_flight(
    flights: list[Flight], told: tuple[Replay, Told]
) -> None:
    """For a day; a later word on the same flight would replace it."""
    flight = next(f for f in flights if f.cancelled)
    event = once(told[1])[f"{FLIGHT_CANCELLED}-{flight.flight_id}"][2]
    assert (event.priority, event.ttl_s) == (Priority.CRITICAL, 86_400)
    assert event.category == TRANSACTIONAL
    assert event.collapse_key == flight.flight_id


def test_ten_sales_a_day_open_at_six_in_new_york(
    flights: list[Flight], told: tuple[Replay, Told]
) -> None:
    """One for each of the busiest destinations, to the segment of those who want to go."""
    sales = [row for row in once(told[1]).values() if row[2].type == FARE_SALE]
    assert len(sales) == 10 * DAYS
    busiest = list(destination_counts(flights))[:10]
    for at_ms, record, event in sales:
        _, dest, day = (event.campaign_id or "").split("-", 2)
        opens = datetime.fromisoformat(f"{day}T18:00:00-05:00")
        assert at_ms == epoch_ms(opens) + SHIFT_MS == event.created_at_ms
        assert dest in busiest
        assert event.audience == SegmentAudience(segment=f"dest-{dest}")
        assert event.id == event.campaign_id
        assert (record.topic, event.category, event.ttl_s) == ("events.low", MARKETING, 172_800)
        assert event.platforms is not None
        assert event.platforms.webpush["urgency"] == "very-low"


def test_a_sale_keeps_new_york_time_through_the_year(people: Population) -> None:
    """Six in the evening is 23:00 in UTC before 10 March 2013 and 22:00 from then on."""
    flights = [
        Flight(f"{day}.UA1.JFK-LAX", "UA", 1, "JFK", "LAX", at_ms, at_ms, 0)
        for day, at_ms in (("2013-03-09", 1_362_834_000_000), ("2013-03-10", 1_362_916_800_000))
    ]
    run = events(
        flights, people, shift_ms=0, seed=5, sales_per_day=1, duplicate_share=0, malformed_share=0
    )
    sales = [at_ms for at_ms, record in run if record.topic == EVENTS[Priority.LOW]]
    expected = [
        datetime.fromisoformat("2013-03-09T23:00:00Z"),
        datetime.fromisoformat("2013-03-10T22:00:00Z"),
    ]
    assert sales == [epoch_ms(moment) for moment in expected]


def test_every_event_is_on_its_priority_s_topic_under_its_own_key(
    told: tuple[Replay, Told],
) -> None:
    """Topic, priority, tenant and idempotency key agree."""
    for _, record, event in decoded(told[1]):
        assert record.topic == EVENTS[event.priority]
        assert event.tenant == "skyline"
        assert event.idempotency_key == event.id


def test_counts_match_what_was_handed_out(told: tuple[Replay, Told]) -> None:
    """Sound events, repeats and faulty records, each counted apart."""
    run, rows = told
    sound = decoded(rows)
    first = once(rows)
    counts = run.counts
    assert counts.records == len(rows)
    assert counts.events == Counter(event.type for _, _, event in first.values())
    assert counts.by_priority == {
        priority: sum(event.priority == priority for _, _, event in first.values())
        for priority in (Priority.HIGH, Priority.CRITICAL, Priority.LOW)
    }
    assert counts.duplicates.total() == len(sound) - len(first)
    assert counts.malformed.total() == len(rows) - len(sound)
    assert counts.malformed_topics.total() == counts.malformed.total()
    assert counts.malformed.keys() == MISTAKES.keys()


def test_repeats_are_the_same_bytes_soon_after(told: tuple[Replay, Told]) -> None:
    """A producer that got no answer sends again within a minute and a half."""
    first = once(told[1])
    repeats = [row for row in decoded(told[1]) if row[:2] != first[row[2].id][:2]]
    assert len(repeats) > 20
    for at_ms, record, event in repeats:
        sent_at_ms, sent, _ = first[event.id]
        assert record == sent
        assert 0 < at_ms - sent_at_ms <= 90_000


def test_shares_of_repeats_and_mistakes(flights: list[Flight], people: Population) -> None:
    """None when none are wanted, and every event twice when all are to be repeated."""
    clean = replay(flights, people, duplicate_share=0, malformed_share=0)
    ids = [decode_event(record.value).id for _, record in clean]
    assert len(set(ids)) == len(ids) == clean.counts.records
    double = replay(flights, people, duplicate_share=1, malformed_share=1)
    rows = list(double)
    assert len(rows) == 3 * len(ids)
    assert double.counts.duplicates == double.counts.events
    assert all(one[0] <= two[0] for one, two in pairwise(rows))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_refused(told: tuple[Replay, Told], mistake: str) -> None:
    """Whatever the kind of event, it ends as a dead letter and not as another message."""
    samples = {event.type: record for _, record, event in once(told[1]).values()}
    assert len(samples) == 3
    for record in samples.values():
        bad = malformed(record, mistake)
        assert bad.topic == record.topic
        with pytest.raises(BadEventError):
            decode_event(bad.value)


def test_reach_agrees_with_the_users_of_the_events(
    people: Population, told: tuple[Replay, Told]
) -> None:
    """Counted again by hand from every event's audience; repeats reach nobody anew."""
    by_id = {user.user_id: user for user in people}
    found: dict[str, Reach] = defaultdict(Reach)
    for _, _, event in once(told[1]).values():
        reach = found[event.type]
        if isinstance(event.audience, UsersAudience):
            audience = [by_id[user_id] for user_id in event.audience.users]
        else:
            assert isinstance(event.audience, SegmentAudience)
            audience = [u for u in by_id.values() if event.audience.segment in u.segments]
        for user in audience:
            willing = [d for d in user.devices if d.platform != user.refuses]
            reach.users += 1
            if user.refuses in ("all", event.category) or (user.devices and not willing):
                reach.refused += 1
            elif not willing:
                reach.without_device += 1
            reach.devices += len(willing) * (user.refuses not in ("all", event.category))
            reach.live_devices += sum(
                not d.dead for d in willing if user.refuses not in ("all", event.category)
            )
    assert {kind: told[0].counts.reach(kind) for kind in found} == found


@pytest.mark.parametrize(("mean", "most"), [(1.0, 1), (3.0, 8), (20.0, 40)])
def test_flights_have_as_many_passengers_as_asked(
    flights: list[Flight], people: Population, mean: float, most: int
) -> None:
    """On average, and never one twice on the same flight."""
    run = replay(flights, people, passengers_per_flight=mean)
    booked = [run.passengers(flight) for flight in flights]
    sizes = [len(numbers) for numbers in booked]
    assert sum(sizes) / len(sizes) == pytest.approx(mean, rel=0.03)
    assert 1 <= min(sizes) <= max(sizes) <= most
    assert all(len(set(numbers)) == len(numbers) for numbers in booked)
    assert all(0 <= number < people.users for numbers in booked for number in numbers)


def test_a_flight_has_the_same_passengers_in_a_longer_replay(
    flights: list[Flight], people: Population
) -> None:
    """What happens to a flight does not hang on which others are replayed."""
    whole = {record.key: record for _, record in replay(flights, people)}
    part = list(islice(replay(flights[500:], people, sales_per_day=0, malformed_share=0), 20))
    assert all(record == whole[record.key] for _, record in part)


def test_it_can_be_stopped_in_the_middle(flights: list[Flight], people: Population) -> None:
    """The counts are those of what was read."""
    run = replay(flights, people)
    assert len(list(islice(run, 25))) == 25
    assert run.counts.records == 25


@pytest.mark.parametrize(
    "options",
    [
        {"passengers_per_flight": 0.5},
        {"passengers_per_flight": 201},
        {"duplicate_share": 1.5},
        {"malformed_share": -0.1},
        {"sales_per_day": -1},
    ],
)
def test_bad_options_are_refused(
    flights: list[Flight], people: Population, options: dict[str, float]
) -> None:
    """Before the first event, naming the option."""
    with pytest.raises(ValueError, match=next(iter(options))):
        replay(flights, people, **options)


def test_a_malformed_record_does_not_share_its_models_id(told: tuple[Replay, Told]) -> None:
    """A dead letter's id says that it is none of the sound ones."""
    record = told[1][0][1]
    bad = msgspec.json.decode(malformed(record, "unknown_field").value or b"")
    assert bad["id"].startswith("bad-")
    assert bad["idempotency_key"] == bad["id"]
