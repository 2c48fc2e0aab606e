"""What is held for a while to be looked at together: digests, and contests for a scarce cap."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.content import Wire
from schemas.duration import WholeSeconds
from schemas.fields import ClockTime, Key, Name

WEEK_S = 7 * 86_400

_Window = Annotated[WholeSeconds, Field(ge=1, le=WEEK_S)]


class DigestWindow(Wire):
    """Collapses a user's events of one key into one message.

    window_s: from the first event on; with sliding from the last one, but no longer than longest_s
    (ten windows when absent) from the first. until: instead, up to this time of the user's day.
    max_items: so many close it at once. template: renders `count`, `items` and `key`.
    """

    window_s: _Window | None = None
    sliding: Annotated[bool, Field(strict=True)] = False
    longest_s: _Window | None = None
    until: ClockTime | None = None
    max_items: Annotated[int, Field(strict=True, ge=2, le=100)] = 50
    template: Name

    @model_validator(mode="after")
    def _one_window(self) -> Self:
        if (self.window_s is None) == (self.until is None):
            raise ValueError("give exactly one of window_s and until")
        if self.sliding and self.window_s is None:
            raise ValueError("sliding: goes with window_s only")
        if self.longest_s is not None and not self.sliding:
            raise ValueError("longest_s: goes with sliding only")
        if self.longest_s is not None and self.longest_s < (self.window_s or 0):
            raise ValueError("longest_s: must not be shorter than window_s")
        return self


class CategoryDigest(DigestWindow):
    """The digest of all events of a category. by: what tells events apart.

    It names an entry of the event's data or variables; without it, it is the event's type.
    """

    by: Name | None = None


class EventDigest(DigestWindow):
    """A digest that the event asks for itself. key: events of one key go together."""

    key: Key


class Arbitration(Wire):
    """A contest: what comes within window_s waits, then the most valuable gets the cap first.

    value: the entry of the event's data or variables that holds the number, 0 where it has none;
    "priority" ranks high before normal before low. Of equals, the earlier goes first.
    """

    window_s: Annotated[WholeSeconds, Field(ge=1, le=86_400)]
    value: Name
