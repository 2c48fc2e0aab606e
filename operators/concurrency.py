"""How many requests to a provider may be under way: as many as it answers without queueing them.

After Netflix's concurrency-limits (Gradient2) and the ProbeRTT state of BBR
(draft-ietf-ccwg-bbr): the limit grows until answers take longer than when little was under way,
and every now and then little is under way again, so that "longer" keeps its meaning.
"""

from math import sqrt

FIRST = 128
LEAST = 32
TOLERANCE = 1.25
SLACK_S = 0.015
"""Answers may take this much longer than unhurried ones before the limit shrinks: what is less is
the weather on the way, and this process's own work."""
FEWEST_SAMPLES = 32
SHORTEST_WINDOW_S = 0.05
LOOK_AGAIN_S = 15.0
"""How often the limit is halved for a moment to see what unhurried answers take."""
AFTER_DROPS = 0.9
SHRINK_EVERY_S = 1.0


class AdaptiveLimit:
    """A limit between LEAST and ``most``, moved once per window of answers.

    Starts at FIRST and doubles while nothing slows down. LEAST keeps enough under way to use a
    connection well, whatever a noisy clock says.
    """

    __slots__ = ("_dropped_s", "_full", "_growing", "_looked_s", "_looking", "_most",
                 "_peak", "_samples", "_sum_s", "_turned_s", "_unhurried_s", "limit")  # fmt: skip

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit: int = min(FIRST, most)
        self._full = float(self.limit)
        self._growing = True
        self._unhurried_s = 0.0
        self._looking = False
        self._looked_s = 0.0
        self._turned_s = 0.0
        self._samples = 0
        self._dropped_s = -SHRINK_EVERY_S
        self._peak = 0
        self._sum_s = 0.0

    def answered(self, took_s: float, now_s: float, *, in_flight: int) -> None:
        """Note an answer. in_flight: how many were under way with it."""
        self._peak = max(self._peak, in_flight)
        if not self._looked_s:
            self._looked_s = now_s
        if now_s - took_s < self._turned_s:
            return  # sent under another limit
        self._samples += 1
        self._sum_s += took_s
        if self._samples >= FEWEST_SAMPLES and now_s - self._turned_s >= SHORTEST_WINDOW_S:
            self._turn(self._sum_s / self._samples, now_s)

    def dropped(self, now_s: float) -> None:
        """Note a request that got no answer: the limit shrinks, once a second."""
        if now_s - self._dropped_s >= SHRINK_EVERY_S:
            self._dropped_s = now_s
            self._growing = False
            self._set(self._full * AFTER_DROPS)

    def reset(self) -> None:
        """Begin anew, as after an outage."""
        self._growing = True
        self._looking = False
        self._begin()
        self._set(min(FIRST, self._most))

    def _begin(self) -> None:
        self._samples = self._peak = 0
        self._sum_s = 0.0

    def _turn(self, mean_s: float, now_s: float) -> None:
        peak = self._peak
        self._begin()
        self._turned_s = now_s
        if self._looking:
            self._looking = False
            self._unhurried_s = mean_s
            self._looked_s = now_s
            self._set(self._full)
            return
        if not self._unhurried_s or mean_s < self._unhurried_s:
            self._unhurried_s = mean_s
        if now_s - self._looked_s >= LOOK_AGAIN_S:
            self._looking = True
            self.limit = max(min(LEAST, self._most), int(self._full / 2))
            return
        allowed_s = TOLERANCE * self._unhurried_s + SLACK_S
        gradient = max(0.5, min(1.0, allowed_s / mean_s))
        if gradient < 1.0:
            self._growing = False
        elif peak < self.limit / 2:
            return  # it was not the limit that kept more from being under way
        if self._growing:
            self._set(self._full * 2)
        else:
            self._set(self._full * gradient + sqrt(self._full))

    def _set(self, limit: float) -> None:
        self._full = max(float(min(LEAST, self._most)), min(float(self._most), limit))
        if not self._looking:
            self.limit = int(self._full)
