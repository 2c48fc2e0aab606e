"""The demo's users: a population that follows from a seed, and what must come out of it."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from sandbox.flights import Airport
from sandbox.passenger_expected import MARKETING, TRANSACTIONAL, Expected, Reach
from sandbox.passenger_people import Passenger, PassengerDevice, People, segment_of, user_id_of
from sandbox.passenger_records import PassengerRecords
from schemas.stream import Record

__all__ = [
    "MARKETING",
    "TENANT",
    "TRANSACTIONAL",
    "Expected",
    "Passenger",
    "PassengerDevice",
    "Population",
    "Reach",
    "segment_of",
    "user_id_of",
]

TENANT: Final = "skyline"
MAX_USERS: Final = 10_000_000
DIES_AFTER_MS: Final = 1_000


class Population:
    """The users of one tenant.

    users: how many, 1 to 10 million. airports: by code. destinations: flights by airport code
    (destination_counts), the weights of where users live and want to go. webpush_origin: of the
    push service, such as https://127.0.0.1:8443. vapid_public_key: base64url, the only key that
    may send to their browsers; None lets any. Raises ValueError.
    Memory: two bytes a user, once they were counted.
    """

    def __init__(
        self,
        *,
        seed: int,
        users: int,
        airports: Mapping[str, Airport],
        destinations: Mapping[str, float],
        webpush_origin: str,
        vapid_public_key: str | None = None,
        tenant: str = TENANT,
    ) -> None:
        if not 1 <= users <= MAX_USERS:
            raise ValueError(f"users: use 1 to {MAX_USERS}")
        origin = urlsplit(webpush_origin)
        if origin.scheme != "https" or not origin.netloc or webpush_origin.count("/") != 2:
            raise ValueError("webpush_origin: give https://host:port, without a path")
        self.users = users
        self.tenant = tenant
        self.airports = airports
        self._people = People(seed=seed, airports=airports, destinations=destinations)
        self._origin = webpush_origin
        self._vapid_public_key = vapid_public_key
        self._expected: Expected | None = None

    def user(self, number: int) -> Passenger:
        """Give the user of this number, from 0. Raises IndexError."""
        if not 0 <= number < self.users:
            raise IndexError(f"user {number}: there are {self.users}, from 0")
        return self._people.user(number)

    def __len__(self) -> int:
        return self.users

    def __iter__(self) -> Iterator[Passenger]:
        return map(self._people.user, range(self.users))

    @property
    def expected(self) -> Expected:
        """What must come out; counted in a pass over all users, unless one was made already."""
        if self._expected is None:
            counted = Expected()
            for user in self:
                counted.count(user)
            self._expected = counted
        return self._expected

    def records(self, *, registered_at_ms: int, died_at_ms: int | None = None) -> PassengerRecords:
        """Give the writer of these users' records; the times are those of registrations()."""
        if died_at_ms is None:
            died_at_ms = registered_at_ms + DIES_AFTER_MS
        if died_at_ms < registered_at_ms:
            raise ValueError("died_at_ms: no token dies before it was registered")
        return PassengerRecords(
            tenant=self.tenant,
            registered_at_ms=registered_at_ms,
            died_at_ms=died_at_ms,
            webpush_origin=self._origin,
            vapid_public_key=self._vapid_public_key,
        )

    def registrations(
        self, registered_at_ms: int, *, died_at_ms: int | None = None
    ) -> Iterator[Record]:
        """Give all records for the registry's topics, user by user, and count on the way.

        registered_at_ms: of every record. died_at_ms: since when APNs calls its dead tokens dead,
        a second later when not given. Raises ValueError when that is earlier, as Clarion would
        keep such tokens.
        """
        records = self.records(registered_at_ms=registered_at_ms, died_at_ms=died_at_ms)
        return self._registrations(records)

    def _registrations(self, records: PassengerRecords) -> Iterator[Record]:
        counted = Expected()
        for user in self:
            counted.count(user)
            yield from records.of(user)
        self._expected = counted
