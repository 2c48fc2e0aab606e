"""What the demo's passengers are like: shares chosen for the demo, not measured anywhere."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Final, Generic, NamedTuple, TypeVar

from schemas.pipeline import Platform

T = TypeVar("T")
_DRAWS: Final = 2**32


class Weighted(Generic[T]):
    """A choice with weights: a draw of 32 bits picks one."""

    __slots__ = ("_bounds", "_options")

    def __init__(self, weights: Iterable[tuple[T, float]]) -> None:
        """Take options and positive weights, in any unit. Raises ValueError without any."""
        pairs = list(weights)
        total = sum(weight for _, weight in pairs)
        if not pairs or total <= 0:
            raise ValueError("weights: give at least one option with a positive weight")
        self._options = [option for option, _ in pairs]
        sums = list(accumulate(weight for _, weight in pairs))
        self._bounds = [int(reached / total * _DRAWS) for reached in sums[:-1]]

    def pick(self, draw: int) -> T:
        """Give the option for a draw in 0 to 2**32 - 1."""
        return self._options[bisect_right(self._bounds, draw)]


class Home(NamedTuple):
    """Where a user lives. code: of the airport; country: ISO 3166-1; locales: how they read."""

    code: str
    time_zone: str
    country: str
    locales: Weighted[str]


AMERICAN: Final = Weighted(
    (("en", 76), ("es", 11), ("es-US", 4), ("fr", 3), ("pt-BR", 3), ("de", 2), ("zh-Hans", 1))
)
"""The tenant's templates have en, de, fr, es and pt-BR; others show what a fallback does."""

ABROAD: Final = Weighted(
    (
        (Home("LHR", "Europe/London", "GB", Weighted((("en-GB", 1),))), 4),
        (Home("FRA", "Europe/Berlin", "DE", Weighted((("de", 9), ("en", 1)))), 3),
        (Home("CDG", "Europe/Paris", "FR", Weighted((("fr", 9), ("en", 1)))), 3),
        (Home("GRU", "America/Sao_Paulo", "BR", Weighted((("pt-BR", 19), ("en", 1)))), 3),
        (Home("MAD", "Europe/Madrid", "ES", Weighted((("es", 1),))), 2),
        (Home("YUL", "America/Toronto", "CA", Weighted((("fr-CA", 6), ("en-CA", 4)))), 2),
        (Home("NRT", "Asia/Tokyo", "JP", Weighted((("ja", 7), ("en", 3)))), 1),
    )
)
"""Visitors: the evening in New York is their night."""

LOCAL_SHARE: Final = 0.45
ABROAD_SHARE: Final = 0.15
"""Of the users; the others live at the flights' destinations, busy ones first."""

DEVICE_COUNTS: Final = Weighted(((0, 4), (1, 66), (2, 24), (3, 6)))
PLATFORMS: Final = Weighted(((Platform.APNS, 46), (Platform.FCM, 38), (Platform.WEBPUSH, 16)))
DEAD_SHARE: Final = 0.05
"""Of the tokens: the app is gone, and nobody knows yet."""
FREQUENT_SHARE: Final = 0.15
INTERESTS: Final = Weighted(((1, 50), (2, 30), (3, 20)))

ALL: Final = "all"
OPT_OUTS: Final = Weighted[str](
    (
        ("", 940),
        ("marketing", 42),
        (ALL, 6),
        ("transactional", 2),
        (Platform.APNS, 4),
        (Platform.FCM, 3),
        (Platform.WEBPUSH, 3),
    )
)
"""What a user refuses: nothing, a category, ALL, or a channel."""

QUIET_HOURS: Final = Weighted[tuple[str, str] | None](
    (
        (None, 75),
        (("22:00", "07:00"), 10),
        (("23:00", "06:30"), 7),
        (("21:30", "08:00"), 5),
        (("00:00", "09:00"), 3),
    )
)

VERSIONS: Final = {
    Platform.APNS: Weighted(
        ((("8.4.0", "26.1"), 55), (("8.4.0", "18.6"), 30), (("8.3.2", "17.7"), 15))
    ),
    Platform.FCM: Weighted(((("8.4.1", "16"), 40), (("8.4.1", "15"), 40), (("8.2.0", "13"), 20))),
    Platform.WEBPUSH: Weighted(((("8.4.0", ""), 1),)),
}
"""Versions of the app and of the system."""

APPS: Final = {Platform.APNS: "ios", Platform.FCM: "android", Platform.WEBPUSH: "web"}


def below(share: float) -> int:
    """Give the draws of 32 bits under which a share of all lies."""
    return int(share * _DRAWS)
