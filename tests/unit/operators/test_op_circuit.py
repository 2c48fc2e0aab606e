"""The circuit breaker opens on a storm, probes seldom and closes soon after."""

from operators.circuit import ENOUGH, LONGEST_WAIT_S, PROBES_TO_CLOSE, REMEMBERED, Breaker
from schemas.outcomes import Reason

ILL, WELL = Reason.PROVIDER_UNAVAILABLE, Reason.ACCEPTED


def breaker() -> Breaker:
    return Breaker(lambda: 0.5)


def answered(one: Breaker, reason: Reason, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        one.answered(reason, started_s=now_s, now_s=now_s)


def opened() -> Breaker:
    one = breaker()
    answered(one, ILL, 0.0, ENOUGH)
    assert one.is_open
    return one


def test_it_opens_when_half_of_the_newest_answers_fail() -> None:
    """However many went well before: only the newest count."""
    one = breaker()
    answered(one, WELL, 0.0, 10_000)
    answered(one, ILL, 0.0, REMEMBERED // 2 - 1)
    assert not one.is_open
    answered(one, ILL, 0.0)
    assert one.is_open
    assert not one.admits(0.0)


def test_a_few_failures_open_nothing() -> None:
    """Fewer answers than enough say nothing."""
    one = breaker()
    answered(one, ILL, 0.0, ENOUGH - 1)
    assert not one.is_open


def test_old_failures_are_forgotten() -> None:
    """A long silence lies between two failures of a quiet tenant: they do not add up."""
    one = breaker()
    for n in range(4 * ENOUGH):
        answered(one, ILL, n * 31.0)
    assert not one.is_open


def test_refusals_of_messages_are_a_sign_of_health() -> None:
    """A provider that says no to each message works."""
    one = breaker()
    for reason in (Reason.TOKEN_UNREGISTERED, Reason.BAD_REQUEST, Reason.THROTTLED):
        answered(one, reason, 0.0, REMEMBERED)
    assert not one.is_open


def test_open_it_lets_one_probe_through_per_wait_and_waits_longer_each_time() -> None:
    """An hour of outage costs a probe in four seconds or so."""
    one = opened()
    probes, now_s = 0, 0.0
    while now_s < 3_600:
        if one.admits(now_s):
            one.started(now_s)
            answered(one, ILL, now_s)
            probes += 1
        now_s += 0.05
    assert 3_600 / (LONGEST_WAIT_S * 1.25) <= probes <= 3_600 / (LONGEST_WAIT_S * 0.75)


def test_it_closes_after_good_probes_sent_one_after_the_other_at_once() -> None:
    """No further waits once a probe succeeds."""
    one = opened()
    now_s = LONGEST_WAIT_S
    for _ in range(PROBES_TO_CLOSE):
        assert one.is_open
        assert one.admits(now_s)
        one.started(now_s)
        answered(one, WELL, now_s)
    assert not one.is_open


def test_a_probe_without_an_answer_keeps_nobody_back() -> None:
    """A hanging provider is probed again at the next wait, though the last probe hangs."""
    one = opened()
    one.started(1.0)
    assert not one.admits(1.1)
    assert one.admits(1.0 + LONGEST_WAIT_S * 1.25)


def test_answers_to_older_requests_close_nothing() -> None:
    """What was sent before it opened may still come back well."""
    one = opened()
    for _ in range(10):
        one.answered(WELL, started_s=-1.0, now_s=1.0)
    assert one.is_open


def test_a_failed_probe_starts_the_count_again() -> None:
    """Good, good, bad is not on the way to health."""
    one = opened()
    answered(one, WELL, 5.0, PROBES_TO_CLOSE - 1)
    answered(one, ILL, 5.0)
    assert one.is_open
    assert not one.admits(5.0)
