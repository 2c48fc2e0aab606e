"""What a provider's "too fast" does to the pace."""

import pytest

from operators.provider_pace import SLOWEST_PER_S, ProviderPace


def send(pace: ProviderPace, start_s: float, seconds: float, per_s: int = 1_000) -> int:
    """Try so often a second; how many went."""
    went = 0
    for n in range(int(seconds * per_s)):
        now_s = start_s + n / per_s
        if pace.admits(now_s):
            pace.started(now_s)
            went += 1
    return went


def test_without_a_refusal_there_is_no_limit() -> None:
    """All go."""
    pace = ProviderPace()
    assert pace.rate_per_s is None
    assert send(pace, 0, 3) == 3_000


def test_a_refusal_halves_the_rate_there_was() -> None:
    """A thousand a second become five hundred."""
    pace = ProviderPace()
    send(pace, 0, 3)
    assert pace.refused(3.0)
    assert pace.rate_per_s == pytest.approx(500, rel=0.01)
    assert send(pace, 3.0, 10) == pytest.approx(5_000, rel=0.02)


def test_refusals_that_were_in_flight_together_count_once() -> None:
    """Only the first within a second tells the others; the next second halves again."""
    pace = ProviderPace()
    send(pace, 0, 3)
    assert [pace.refused(3.0 + n / 100) for n in range(5)] == [True, False, False, False, False]
    assert pace.refused(4.1)
    assert pace.rate_per_s == pytest.approx(250, rel=0.01)


def test_it_grows_back_with_the_shared_share_and_ends() -> None:
    """What all processes have is followed; at 1 there is no limit."""
    pace = ProviderPace()
    send(pace, 0, 3)
    pace.follow(0.25, 3.0)
    assert pace.rate_per_s == pytest.approx(250, rel=0.01)
    pace.follow(0.75, 4.0)
    assert pace.rate_per_s == pytest.approx(750, rel=0.01)
    pace.follow(1.0, 5.0)
    assert pace.rate_per_s is None


def test_it_never_stops_all() -> None:
    """Refused for ever, one a second still goes, which finds out when it is over."""
    pace = ProviderPace()
    for second in range(100):
        pace.refused(float(second))
    assert pace.rate_per_s == SLOWEST_PER_S
    assert send(pace, 100.0, 10) == pytest.approx(10, abs=1)


def test_urgent_messages_go_and_bulk_pays() -> None:
    """Started without asking, they are taken from what bulk may send."""
    pace = ProviderPace()
    send(pace, 0, 3)
    pace.refused(3.0)
    for n in range(100):
        pace.started(3.0 + n / 1_000)
    assert send(pace, 3.1, 1) == pytest.approx(450, abs=20)
