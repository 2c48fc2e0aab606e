"""Who user number n is: everything follows from the seed and n, in any process, in any order."""

import hashlib
import struct
from collections.abc import Mapping
from typing import Final

import msgspec

from sandbox.flights import ORIGINS, Airport
from sandbox.passenger_mix import (
    ABROAD,
    ABROAD_SHARE,
    AMERICAN,
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
    below,
)
from schemas.pipeline import Platform

FREQUENT: Final = "frequent"
_LOCAL: Final = below(LOCAL_SHARE)
_ABROAD: Final = below(LOCAL_SHARE + ABROAD_SHARE)
_DEAD: Final = below(DEAD_SHARE)
_FREQUENT: Final = below(FREQUENT_SHARE)
_DRAWS: Final = struct.Struct("<20I")


class PassengerDevice(msgspec.Struct, frozen=True, gc=False):
    """A user's device. seed: of its token. dead: its token is no more. version: app, system."""

    device_id: str
    platform: Platform
    seed: int
    dead: bool
    version: tuple[str, str]


class Passenger(msgspec.Struct, frozen=True):
    """A user. home: airport. refuses: see OPT_OUTS. quiet_hours: start and end, local."""

    user_id: str
    home: str
    time_zone: str
    country: str
    locale: str
    segments: tuple[str, ...]
    devices: tuple[PassengerDevice, ...]
    refuses: str
    quiet_hours: tuple[str, str] | None

    @property
    def has_preferences(self) -> bool:
        """Whether there is anything to say about what the user does not want."""
        return bool(self.refuses) or self.quiet_hours is not None


def user_id_of(number: int) -> str:
    """Give a user's id, such as u0000123."""
    return f"u{number:07}"


def segment_of(dest: str) -> str:
    """Name the segment of those who want to go there."""
    return f"dest-{dest}"


class People:
    """Makes users by number.

    airports: by code, with those of destinations and New York. destinations: weight by code of
    where users live and want to go. Raises ValueError without destinations or for one that is no
    airport.
    """

    def __init__(
        self, *, seed: int, airports: Mapping[str, Airport], destinations: Mapping[str, float]
    ) -> None:
        self._prefix = b"clarion passenger %d:" % seed
        # The upper half of a token's seed, so that two populations share no token.
        self._tokens = int.from_bytes(hashlib.sha256(self._prefix).digest()[:4]) << 32
        for code in (*ORIGINS, *destinations):
            if code not in airports:
                raise ValueError(f"airports: add {code}")
        self._local = Weighted((_american(airports[code]), 1) for code in ORIGINS)
        self._elsewhere = Weighted((_american(airports[c]), w) for c, w in destinations.items())
        self._wishes = Weighted((segment_of(c), w) for c, w in destinations.items())

    def user(self, number: int) -> Passenger:
        """Give the user of this number, 0 to 2**30 - 1."""
        raw = hashlib.shake_128(self._prefix + b"%d" % number).digest(_DRAWS.size)
        (where, home_draw, locale, refuses, quiet, frequent, wish_count, *wishes) = _DRAWS.unpack(
            raw
        )
        home = self._home(where, home_draw)
        found = dict.fromkeys(map(self._wishes.pick, wishes[: INTERESTS.pick(wish_count)]))
        if frequent < _FREQUENT:
            found[FREQUENT] = None
        user_id = user_id_of(number)
        return Passenger(
            user_id,
            home.code,
            home.time_zone,
            home.country,
            home.locales.pick(locale),
            tuple(found),
            self._devices(user_id, self._tokens | number << 2, wishes[3:]),
            OPT_OUTS.pick(refuses),
            QUIET_HOURS.pick(quiet),
        )

    def _home(self, where: int, which: int) -> Home:
        if where < _LOCAL:
            return self._local.pick(which)
        return (ABROAD if where < _ABROAD else self._elsewhere).pick(which)

    def _devices(self, user_id: str, seed: int, draws: list[int]) -> tuple[PassengerDevice, ...]:
        """Draw how many, then platform, death and version of each."""
        found = []
        for at in range(DEVICE_COUNTS.pick(draws[0])):
            platform_draw, death, version = draws[1 + 3 * at : 4 + 3 * at]
            platform = PLATFORMS.pick(platform_draw)
            found.append(
                PassengerDevice(
                    f"{user_id}-{at + 1}",
                    platform,
                    seed | at,
                    death < _DEAD,
                    VERSIONS[platform].pick(version),
                )
            )
        return tuple(found)


def _american(airport: Airport) -> Home:
    return Home(airport.code, airport.tz, "US", AMERICAN)
