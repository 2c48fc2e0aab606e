"""Patience: how long it waits, when it ends, and whom it tells."""

import pytest

from state.patience import FAIL_FAST, FIRST_WAIT_S, LONGEST_WAIT_S, Patience


class AwayError(Exception):
    """The store is away."""


class Store:
    """Fails so many times, each failure taking so long."""

    def __init__(self, failures: int = 10**9, *, each_s: float = 0.0) -> None:
        self.now_s = 1_000.0
        self.calls = 0
        self.waits: list[float] = []
        self.told: list[str] = []
        self.stop_after = 10**9
        self._failures, self._each_s = failures, each_s

    def patience(self, limit_s: float = 60.0) -> Patience:
        return Patience(
            limit_s=limit_s,
            stopped=lambda: len(self.waits) >= self.stop_after,
            watch=self,
            clock=lambda: self.now_s,
            sleep=self._sleep,
        )

    def answer(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            self.now_s += self._each_s
            raise AwayError(f"away {self.calls}")
        return "here"

    def keep(self, patience: Patience) -> str:
        return patience.keep("redis", self.answer, passing=lambda e: isinstance(e, AwayError))

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    def began(self, store: str, why: str) -> None:
        self.told.append(f"began {store}: {why}")

    def goes_on(self, store: str, why: str) -> None:
        self.told.append(f"goes on {store}: {why}")

    def ended(self, store: str, *, answered: bool) -> None:
        self.told.append(f"ended {store}: {answered}")


def test_a_store_that_answers_is_asked_once_and_nobody_is_told() -> None:
    """The usual case."""
    store = Store(failures=0)
    assert store.keep(store.patience()) == "here"
    assert (store.calls, store.waits, store.told) == (1, [], [])


def test_waits_double_up_to_a_second_with_jitter() -> None:
    """Each between half of its step and all of it."""
    store = Store(failures=9)
    assert store.keep(store.patience()) == "here"
    steps = [min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n) for n in range(9)]
    assert all(step / 2 <= wait <= step for wait, step in zip(store.waits, steps, strict=True))
    assert len(set(store.waits)) == len(store.waits)


def test_the_beginning_and_the_end_are_told_once() -> None:
    """With what the store said last."""
    store = Store(failures=3)
    store.keep(store.patience())
    assert store.told == [
        "began redis: away 1",
        "goes on redis: away 2",
        "goes on redis: away 3",
        "ended redis: True",
    ]


def test_patience_ends_with_what_was_raised_last() -> None:
    """Not before its time, and not long after it."""
    store = Store()
    patience = store.patience(limit_s=3.0)
    with pytest.raises(AwayError) as raised:
        store.keep(patience)
    assert str(raised.value) == f"away {store.calls}"
    assert not patience.cut_short
    assert 3.0 <= sum(store.waits) < 3.0 + LONGEST_WAIT_S
    assert store.told[-1] == "ended redis: False"


def test_a_flow_that_is_to_stop_waits_no_more() -> None:
    """After the wait under way, which is at most a second."""
    store = Store()
    store.stop_after = 2
    patience = store.patience()
    with pytest.raises(AwayError) as raised:
        store.keep(patience)
    assert len(store.waits) == 2
    assert patience.cut_short == [raised.value]


def test_what_is_ended_waits_no_more() -> None:
    """As when another thread has failed and the process closes its clients."""
    store = Store()
    patience = store.patience()
    patience.end()
    with pytest.raises(AwayError):
        store.keep(patience)
    assert (store.waits, store.told) == ([], [])


def test_what_will_not_pass_is_raised_at_once() -> None:
    """A refusal."""
    store = Store()
    with pytest.raises(AwayError):
        store.patience().keep("redis", store.answer, passing=lambda _error: False)
    assert (store.calls, store.waits, store.told) == (1, [], [])


def test_a_refusal_after_a_wait_ends_it() -> None:
    """The store came back and refused."""
    store = Store()
    with pytest.raises(AwayError):
        store.patience().keep("redis", store.answer, passing=lambda _error: store.calls < 3)
    assert store.told[-1] == "ended redis: False"


def test_waits_of_one_turn_share_the_limit() -> None:
    """Kafka counts from the last poll, not from the last failure."""
    store = Store(failures=5, each_s=10.0)
    patience = store.patience(limit_s=60.0)
    patience.renew()
    store.keep(patience)
    store.calls = 0
    with pytest.raises(AwayError):
        store.keep(patience)
    assert store.calls == 1


def test_a_turn_of_the_flow_renews_the_patience() -> None:
    """As long a wait as before."""
    store = Store(failures=5, each_s=10.0)
    patience = store.patience(limit_s=60.0)
    store.keep(patience)
    patience.renew()
    store.calls = 0
    assert store.keep(patience) == "here"


def test_fail_fast_does_not_wait() -> None:
    """For the API and the command line, where somebody else waits."""
    store = Store()
    with pytest.raises(AwayError):
        store.keep(FAIL_FAST)
    assert store.calls == 1
