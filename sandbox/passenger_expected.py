"""What must come out, counted from the generated users without any of Clarion's own code."""

from array import array
from collections import Counter
from typing import Final

import msgspec

from sandbox.passenger_mix import ALL
from sandbox.passenger_people import Passenger
from schemas.pipeline import Platform

TRANSACTIONAL: Final = "transactional"
MARKETING: Final = "marketing"
_SHIFTS: Final = {TRANSACTIONAL: 0, MARKETING: 5}
_REFUSED: Final = 4 << 2


class Reach(msgspec.Struct):
    """What becomes of an audience before caps, quiet hours and expiry have a say.

    users: the audience. refused: users who opted out of it, or of all their channels;
    without_device: users with none; both while no dead token has been found yet. devices: of the
    others, so one delivery each; at most, as a user's dead token is used only until it is found.
    live_devices: those of them whose tokens work, so exactly what providers accept.
    """

    users: int = 0
    refused: int = 0
    without_device: int = 0
    devices: int = 0
    live_devices: int = 0


def reach_of(codes: Counter[int], category: str) -> Reach:
    """Sum up users by their reach codes, for TRANSACTIONAL or MARKETING."""
    found = Reach()
    for packed, users in codes.items():
        code = packed >> _SHIFTS[category] & 0b11111
        devices = code >> 2
        found.users += users
        if code == _REFUSED:
            found.refused += users
        elif not devices:
            found.without_device += users
        else:
            found.devices += devices * users
            found.live_devices += (code & 3) * users
    return found


def reach_code(user: Passenger) -> int:
    """Pack how a user can be reached: 5 bits for transactional messages, 5 for marketing.

    Three of them: 0 no device, 1 to 3 devices, 4 refused; two: how many of the devices live.
    """
    if not user.refuses:
        code = _code(user, "")
        return code | code << 5
    return _refusing(user, TRANSACTIONAL) | _refusing(user, MARKETING) << 5


def _refusing(user: Passenger, category: str) -> int:
    return _REFUSED if user.refuses in {ALL, category} else _code(user, user.refuses)


def _code(user: Passenger, silent: str) -> int:
    """silent: a platform that the user wants nothing from, or any other text."""
    if not user.devices:
        return 0
    devices = live = 0
    for device in user.devices:
        if device.platform != silent:
            devices += 1
            live += not device.dead
    return devices << 2 | live if devices else _REFUSED


class Expected:
    """Figures of a population.

    devices, dead_tokens: by platform. refusing: users by what they refuse (see OPT_OUTS).
    locales, homes: users by these. codes: each user's reach code, in order.
    """

    def __init__(self) -> None:
        self.users = 0
        self.users_without_devices = 0
        self.users_with_quiet_hours = 0
        self.devices: Counter[Platform] = Counter()
        self.dead_tokens: Counter[Platform] = Counter()
        self.refusing: Counter[str] = Counter()
        self.locales: Counter[str] = Counter()
        self.preferences = 0
        self.codes = array("H")
        self._segments: dict[str, Counter[int]] = {}

    def count(self, user: Passenger) -> None:
        """Add one user."""
        self.users += 1
        self.users_without_devices += not user.devices
        self.users_with_quiet_hours += user.quiet_hours is not None
        self.preferences += user.has_preferences
        self.locales[user.locale] += 1
        if user.refuses:
            self.refusing[user.refuses] += 1
        for device in user.devices:
            self.devices[device.platform] += 1
            if device.dead:
                self.dead_tokens[device.platform] += 1
        code = reach_code(user)
        self.codes.append(code)
        for segment in user.segments:
            self._segments.setdefault(segment, Counter())[code] += 1

    @property
    def opted_out(self) -> int:
        """Users who refuse anything at all."""
        return self.refusing.total()

    @property
    def records(self) -> int:
        """Records on the registry's topics."""
        return self.users + self.preferences + self.devices.total()

    @property
    def segments(self) -> dict[str, int]:
        """Users by segment."""
        return {name: codes.total() for name, codes in sorted(self._segments.items())}

    def reach(self, category: str, segment: str | None = None) -> Reach:
        """Give the reach of a message of this category to a segment, or to everyone."""
        if segment is None:
            return reach_of(Counter(self.codes), category)
        return reach_of(self.segment_codes(segment), category)

    def segment_codes(self, segment: str) -> Counter[int]:
        """Give how many users of a segment have which reach code."""
        return self._segments.get(segment, Counter())
