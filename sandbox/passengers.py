"""The demo's passengers: who they are, told as the records that an airline's apps would send.

Everything about a user follows from (seed, number), so any process can name any user again.
"""

import hashlib
import struct
from array import array
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sandbox import apns_scenarios, fcm_tokens
from sandbox.flights import ORIGINS, Airport
from sandbox.passenger_expected import Expected, reach_code
from sandbox.passenger_mix import (
    ABROAD,
    ABROAD_SHARE,
    ALL,
    AMERICAN,
    APPS,
    DEAD_SHARE,
    DEVICE_COUNTS,
    FREQUENT_SHARE,
    INTERESTS,
    LOCAL_SHARE,
    OPT_OUTS,
    PLATFORMS,
    QUIET_HOURS,
    VERSIONS,
    Home,
    Weighted,
    share_of,
)
from sandbox.passenger_records import PassengerRecords
from sandbox.webpush_subscriptions import Subscription, make_subscription
from schemas.pipeline import Platform
from schemas.stream import Record

MAX_USERS: Final = 10_000_000
DEAD_BROWSER: Final = "mozilla-410-106"
DIES_AFTER_MS: Final = 1_000
_UNPACK_DRAWS: Final = struct.Struct("<16I").unpack
_DEVICES_MAX: Final = 3


class PassengerDevice(msgspec.Struct, frozen=True, gc=False):
    """A user's device. seed: of its token. dead: its token is no more."""

    device_id: str
    platform: Platform
    seed: int
    dead: bool
    version: tuple[str, str]


class Passenger(msgspec.Struct, frozen=True):
    """A user. home: airport. refuses: "", a category, ALL or a platform. quiet_hours: local."""

    user_id: str
    home: str
    time_zone: str
    country: str
    locale: str
    segments: tuple[str, ...]
    devices: tuple[PassengerDevice, ...]
    refuses: str
    quiet_hours: tuple[str, str] | None


def user_id_of(number: int) -> str:
    """Give a user's id, such as u0000123."""
    return f"u{number:07}"


class Population:
    """The users of one tenant.

    users: how many, 1 to 10 million. airports: by code. destinations: flights by airport code,
    the weights of where users live and want to go. webpush_origin: of the push service, such as
    https://127.0.0.1:8443. vapid_public_key: the only one that may send to their browsers; None
    lets any. Raises ValueError. Holds two bytes a user once they were counted.
    """

    def __init__(
        self,
        *,
        seed: int,
        users: int,
        airports: Mapping[str, Airport],
        destinations: Mapping[str, int],
        webpush_origin: str,
        vapid_public_key: str | None = None,
        tenant: str = "skyline",
    ) -> None:
        if not 1 <= users <= MAX_USERS:
            raise ValueError(f"users: use 1 to {MAX_USERS}")
        origin = urlsplit(webpush_origin)
        if origin.scheme != "https" or not origin.netloc or webpush_origin.count("/") != 2:
            raise ValueError("webpush_origin: give https://host:port without a path")
        self.seed = seed
        self.users = users
        self.tenant = tenant
        self._origin = webpush_origin
        self._vapid_public_key = vapid_public_key
        # A seed is a prefix, so that two populations share no token.
        self._prefix = b"clarion demo %d:" % seed
        self._token_base = int.from_bytes(hashlib.sha256(self._prefix).digest()[:4]) << 32
        self._local = Weighted((_american(airports[code]), 1) for code in ORIGINS)
        self._elsewhere = Weighted((_american(airports[c]), n) for c, n in destinations.items())
        self._wishes = Weighted((f"dest-{code}", n) for code, n in destinations.items())
        self._counted: tuple[Expected, array[int]] | None = None

    def user(self, number: int) -> Passenger:
        """Give the user of this number, from 0. Raises IndexError."""
        if not 0 <= number < self.users:
            raise IndexError(f"user {number}: there are {self.users}")
        digest = hashlib.blake2b(self._prefix + b"%d" % number, digest_size=64).digest()
        draws = _UNPACK_DRAWS(digest)
        home = self._home(draws[0], draws[1])
        return Passenger(
            user_id=user_id_of(number),
            home=home.code,
            time_zone=home.time_zone,
            country=home.country,
            locale=home.locales.pick(draws[2]),
            segments=self._segments(draws),
            devices=self._devices(number, draws),
            refuses=OPT_OUTS.pick(draws[3]),
            quiet_hours=QUIET_HOURS.pick(draws[4]),
        )

    def __iter__(self) -> Iterator[Passenger]:
        return map(self.user, range(self.users))

    def registrations(
        self, registered_at_ms: int, *, died_at_ms: int | None = None
    ) -> Iterator[Record]:
        """Give each user's records: the user, the preferences if any, the devices.

        died_at_ms: since when APNs will call its dead tokens dead, one second after
        registered_at_ms when not given; earlier than that Clarion would not believe it.
        Raises ValueError.
        """
        died_at_ms = registered_at_ms + DIES_AFTER_MS if died_at_ms is None else died_at_ms
        if died_at_ms < registered_at_ms:
            raise ValueError("died_at_ms: a token dies no earlier than it was registered")
        make = PassengerRecords(self.tenant, registered_at_ms)
        return self._registrations(make, died_at_ms)

    @property
    def expected(self) -> Expected:
        """What registering all of them must lead to, counted on the first use."""
        return self._count()[0]

    @property
    def reach_codes(self) -> "array[int]":
        """Who can be reached how, by user number; see passenger_expected.reach_code."""
        return self._count()[1]

    def token(self, device: PassengerDevice, *, died_at_ms: int) -> str:
        """Give the token of an iOS or Android device."""
        if device.platform is Platform.FCM:
            kind = fcm_tokens.dead_token if device.dead else fcm_tokens.live_token
            return kind(device.seed)
        if device.dead:
            return apns_scenarios.dead_token(device.seed, died_at_ms)
        return hashlib.sha256(b"apns token %d" % device.seed).hexdigest()

    def subscription(self, device: PassengerDevice) -> Subscription:
        """Give the subscription of a browser; its endpoint is the origin plus the path."""
        return make_subscription(
            str(device.seed),
            DEAD_BROWSER if device.dead else None,
            vapid_public_key=self._vapid_public_key,
        )

    def _registrations(self, make: PassengerRecords, died_at_ms: int) -> Iterator[Record]:
        expected, codes = Expected(), array("H")
        for user in self:
            expected.count(user)
            codes.append(reach_code(user))
            yield make.user(user)
            if user.refuses or user.quiet_hours:
                yield make.preferences(user)
            for device in user.devices:
                if device.platform is Platform.WEBPUSH:
                    path, p256dh, auth = self.subscription(device)
                    yield make.device(user, device, self._origin + path, p256dh, auth)
                else:
                    yield make.device(user, device, self.token(device, died_at_ms=died_at_ms))
        self._counted = expected, codes

    def _count(self) -> "tuple[Expected, array[int]]":
        if self._counted is None:
            expected, codes = Expected(), array("H")
            for user in self:
                expected.count(user)
                codes.append(reach_code(user))
            self._counted = expected, codes
        return self._counted

    def _home(self, draw: int, which: int) -> Home:
        if draw < share_of(LOCAL_SHARE):
            return self._local.pick(which)
        return (ABROAD if draw < _LOCAL_OR_ABROAD else self._elsewhere).pick(which)

    def _segments(self, draws: tuple[int, ...]) -> tuple[str, ...]:
        wishes = draws[6 : 6 + INTERESTS.pick(draws[5])]
        found = dict.fromkeys(map(self._wishes.pick, wishes))
        if draws[9] < _FREQUENT:
            found["frequent"] = None
        return tuple(found)

    def _devices(self, number: int, draws: tuple[int, ...]) -> tuple[PassengerDevice, ...]:
        """Platform, death and version of a device come from one draw each, of three."""
        ...
