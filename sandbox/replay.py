"""2013 once more: the year's flights as the stream of events that an airline would have sent."""

import hashlib
import heapq
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from math import ceil, comb
from operator import itemgetter
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sandbox.flights import NEW_YORK, Flight, airlines, destination_counts
from sandbox.passenger_expected import MARKETING, TRANSACTIONAL, Reach, reach_of
from sandbox.passenger_mix import below
from sandbox.passenger_people import segment_of, user_id_of
from sandbox.passengers import Population
from sandbox.replay_events import (
    FARE_SALE,
    FLIGHT_CANCELLED,
    FLIGHT_DELAYED,
    MISTAKES,
    EventWriter,
    Sale,
    malformed,
)
from schemas.pipeline import Priority
from schemas.stream import Record

LATE_AFTER_MIN: Final = 15
"""Who leaves later gets a message. BTS, whose data this is, calls 15 minutes and more late."""
SALE_HOUR: Final = 18
MAX_PASSENGERS: Final = 200
USUAL_PASSENGERS_AT_MOST: Final = 8
REPEATS_WITHIN_MS: Final = 90_000
_PRIORITIES: Final = {
    FLIGHT_DELAYED: Priority.HIGH,
    FLIGHT_CANCELLED: Priority.CRITICAL,
    FARE_SALE: Priority.LOW,
}
_MISTAKES: Final = tuple(MISTAKES)


class ReplayCounts:
    """What was handed out so far.

    events: sound ones, each once, by type. duplicates: by type, sent again with the same
    idempotency key. malformed: by mistake; malformed_topics: the same by topic.
    first_at_ms, last_at_ms: virtual times, 0 before the first.
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.duplicates: Counter[str] = Counter()
        self.malformed: Counter[str] = Counter()
        self.malformed_topics: Counter[str] = Counter()
        self.first_at_ms = 0
        self.last_at_ms = 0
        self._codes: dict[str, Counter[int]] = {kind: Counter() for kind in _PRIORITIES}

    @property
    def by_priority(self) -> dict[Priority, int]:
        """Sound events, each once, by priority."""
        return {priority: self.events[kind] for kind, priority in _PRIORITIES.items()}

    @property
    def records(self) -> int:
        """Everything handed out."""
        return self.events.total() + self.duplicates.total() + self.malformed.total()

    def reach(self, kind: str) -> Reach:
        """Give whom the events of a type address, summed over events; duplicates count once.

        For a sale this is before caps and quiet hours, which hold back or delay some of it.
        """
        return reach_of(self._codes[kind], MARKETING if kind == FARE_SALE else TRANSACTIONAL)

    def count(self, kind: str, codes: Counter[int] | list[int]) -> None:
        """Add a sound event with its audience's reach codes."""
        self.events[kind] += 1
        self._codes[kind].update(codes)


class _Chances(NamedTuple):
    """Draws of 32 bits about one event; the same in every replay with the same seed."""

    repeats: int
    repeats_after: int
    fails: int
    mistake: int
    size: int
    passengers: tuple[int, ...]


class _Occasion(NamedTuple):
    """What there is an event about. at_ms: in 2013. name: unique."""

    at_ms: int
    kind: str
    name: str
    about: Flight | Sale


class Replay:
    """Iterates over (virtual time in epoch ms, record), in order; counts tells how far it got.

    See events(). Holds no event but the duplicates that are still to come.
    """

    def __init__(
        self,
        flights: Sequence[Flight],
        population: Population,
        writer: EventWriter,
        *,
        shift_ms: int,
        seed: int,
        passengers_per_flight: float,
        sales_per_day: int,
        duplicate_share: float,
        malformed_share: float,
    ) -> None:
        if not 1 <= passengers_per_flight <= MAX_PASSENGERS:
            raise ValueError(f"passengers_per_flight: use 1 to {MAX_PASSENGERS}")
        if not (0 <= duplicate_share <= 1 and 0 <= malformed_share <= 1):
            raise ValueError("duplicate_share, malformed_share: use 0 to 1")
        if sales_per_day < 0:
            raise ValueError("sales_per_day: use 0 or more")
        self.counts = ReplayCounts()
        self._flights = flights
        self._population = population
        self._writer = writer
        self._shift_ms = shift_ms
        self._seed = b"clarion replay %d:" % seed
        self._sizes = _sizes(passengers_per_flight)
        self._draws = struct.Struct(f"<{len(_Chances._fields) - 1 + len(self._sizes)}I")
        self._sales_per_day = sales_per_day
        self._repeat_below = below(duplicate_share)
        self._fail_below = below(malformed_share)
        self._repeats: list[tuple[int, str, str, Record]] = []
        self._records = self._run()

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        return self

    def __next__(self) -> tuple[int, Record]:
        at_ms, record = next(self._records)
        self.counts.first_at_ms = self.counts.first_at_ms or at_ms
        self.counts.last_at_ms = at_ms
        return at_ms, record

    def passengers(self, flight: Flight) -> list[int]:
        """Give the numbers of the users booked on a flight, each once."""
        return self._booked(self._chances(flight.flight_id))

    def _run(self) -> Iterator[tuple[int, Record]]:
        for occasion in self._occasions():
            at_ms = occasion.at_ms + self._shift_ms
            yield from self._repeats_until(at_ms)
            chances = self._chances(occasion.name)
            record = self._tell(occasion, chances)
            if chances.repeats < self._repeat_below:
                again_at_ms = at_ms + 1 + chances.repeats_after % REPEATS_WITHIN_MS
                repeat = (again_at_ms, occasion.name, occasion.kind, record)
                heapq.heappush(self._repeats, repeat)
            yield at_ms, record
            if chances.fails < self._fail_below:
                mistake = _MISTAKES[chances.mistake % len(_MISTAKES)]
                self.counts.malformed[mistake] += 1
                self.counts.malformed_topics[record.topic] += 1
                yield at_ms, malformed(record, mistake)
        yield from self._repeats_until(None)

    def _repeats_until(self, at_ms: int | None) -> Iterator[tuple[int, Record]]:
        """Give the repeats that are due, or all that are left."""
        while self._repeats and (at_ms is None or self._repeats[0][0] <= at_ms):
            due_at_ms, _, kind, record = heapq.heappop(self._repeats)
            self.counts.duplicates[kind] += 1
            yield due_at_ms, record

    def _tell(self, occasion: _Occasion, chances: _Chances) -> Record:
        """Write the event and count whom it reaches."""
        expected, about = self._population.expected, occasion.about
        if isinstance(about, Sale):
            self.counts.count(occasion.kind, expected.segment_codes(segment_of(about.dest)))
            return self._writer.sale(about)
        booked = self._booked(chances)
        self.counts.count(occasion.kind, [expected.codes[number] for number in booked])
        write = self._writer.cancelled if about.cancelled else self._writer.delayed
        return write(about, [user_id_of(number) for number in booked])

    def _occasions(self) -> Iterator[_Occasion]:
        return heapq.merge(self._flight_news(), self._sales(), key=itemgetter(0))

    def _flight_news(self) -> Iterator[_Occasion]:
        """Late and cancelled flights, as known when they should have left.

        The data says nothing about when passengers could have known earlier.
        """
        for flight in self._flights:
            if flight.cancelled:
                kind = FLIGHT_CANCELLED
            elif (flight.dep_delay_min or 0) > LATE_AFTER_MIN:
                kind = FLIGHT_DELAYED
            else:
                continue
            yield _Occasion(flight.scheduled_at_ms, kind, flight.flight_id, flight)

    def _sales(self) -> Iterator[_Occasion]:
        """One a day for each of the busiest destinations, at SALE_HOUR in New York."""
        busiest = list(destination_counts(self._flights))[: self._sales_per_day]
        zone = ZoneInfo(NEW_YORK)
        for day in dict.fromkeys(flight.day for flight in self._flights):
            opens = datetime.fromisoformat(f"{day}T{SALE_HOUR:02}:00").replace(tzinfo=zone)
            at_ms = int(opens.timestamp()) * 1000
            for dest in busiest:
                draw = self._chances(f"price:{dest}:{day}").size
                sale = Sale(dest, day, at_ms, price_usd=49 + 10 * (draw % 16))
                yield _Occasion(at_ms, FARE_SALE, sale.campaign_id, sale)

    def _chances(self, name: str) -> _Chances:
        raw = hashlib.shake_128(self._seed + name.encode()).digest(self._draws.size)
        first, second, third, fourth, fifth, *rest = self._draws.unpack(raw)
        return _Chances(first, second, third, fourth, fifth, tuple(rest))

    def _booked(self, chances: _Chances) -> list[int]:
        users = self._population.users
        size = 1 + bisect_right(self._sizes, chances.size)
        # The upper bits of draw * users are a number below users, evenly enough for 32 bits.
        return list(dict.fromkeys(draw * users >> 32 for draw in chances.passengers[:size]))


def events(
    flights: Sequence[Flight],
    population: Population,
    *,
    shift_ms: int,
    seed: int,
    passengers_per_flight: float = 3.0,
    sales_per_day: int = 10,
    duplicate_share: float = 0.005,
    malformed_share: float = 0.001,
) -> Replay:
    """Replay flights as events, in the order of their times.

    flights: by scheduled time, as load_flights gives them. shift_ms: added to every time.
    passengers_per_flight: on average, 1 to 200, of the population; most flights have 1 to 8.
    sales_per_day: for the busiest destinations. duplicate_share: of the events, sent again up to
    90 seconds later. malformed_share: of the events, followed by a faulty record.
    Raises ValueError. The first event waits for a pass over the population, unless its
    registrations were read before.
    """
    writer = EventWriter(
        tenant=population.tenant,
        shift_ms=shift_ms,
        airports=population.airports,
        airlines=airlines(),
    )
    return Replay(
        flights,
        population,
        writer,
        shift_ms=shift_ms,
        seed=seed,
        passengers_per_flight=passengers_per_flight,
        sales_per_day=sales_per_day,
        duplicate_share=duplicate_share,
        malformed_share=malformed_share,
    )


def _sizes(mean: float) -> list[int]:
    """Bounds for drawing how many passengers beyond the first: binomial with this mean."""
    most = max(USUAL_PASSENGERS_AT_MOST, ceil(2 * mean)) - 1
    p = (mean - 1) / most
    shares = (comb(most, k) * p**k * (1 - p) ** (most - k) for k in range(most + 1))
    return [below(min(reached, 1.0)) for reached in accumulate(shares)]
