"""Hooks in processes: whatever a tenant's code does, the flow gets an answer in time."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flows.hooks import FAILURES, OFF_S, HookError, HookProcess, HookRunner
from operators.hooks import HookFailed
from schemas.hooks import Hook, HookMessage, Point, Verdict
from tests.unit.flows.hook_package import install
from tests.unit.operators.builders import tenant

LONG_S, SHORT_S = 5.0, 0.05


def some(*users: str) -> list[HookMessage]:
    return [
        HookMessage(point=Point.BEFORE_SEND, tenant="acme", message_id="m", user_id=user)
        for user in users
    ]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the package for the processes that are started from here."""
    paths = [str(install(tmp_path)), str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))


@pytest.fixture
def running(package: None, request: pytest.FixtureRequest) -> Iterator[HookProcess]:
    """Give the process of the hook that the test names."""
    del package
    process = HookProcess(request.param)
    yield process
    process.close()


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("running", [name], indirect=True)


@of("good")
def test_a_hook_answers_for_each_message(running: HookProcess) -> None:
    """Again and again, from one process."""
    for _ in range(3):
        assert running.ask(some("a", "bad"), LONG_S) == [None, Verdict(suppress="no")]


@of("prints")
def test_a_hook_may_print_and_answer_nothing(running: HookProcess) -> None:
    """That passes all."""
    assert running.ask(some("a", "b"), LONG_S) == [None, None]


@pytest.mark.parametrize(
    ("running", "says"),
    [
        ("wrong", "a verdict must be a Verdict or None, not str"),
        ("short", "1 verdicts for 2 messages"),
        ("raises", "LookupError: nothing there"),
        ("dies", "its process failed: it has ended"),
        ("missing", "cannot load missing"),
    ],
    indirect=["running"],
)
def test_a_hook_that_fails_says_how_each_time(running: HookProcess, says: str) -> None:
    """A process that has ended is started again."""
    for _ in range(2):
        with pytest.raises(HookError, match=says):
            running.ask(some("a", "b"), LONG_S)


@of("hangs")
def test_a_hook_that_hangs_is_killed(running: HookProcess) -> None:
    """The flow waits no longer than its time."""
    with pytest.raises(HookError, match=r"no answer within 0\.05 s"):
        running.ask(some("a"), SHORT_S)
    assert running._child is None


class FakeHook:
    """Fails while it is told to."""

    def __init__(self) -> None:
        self.fails = True
        self.calls = 0

    def ask(self, messages: Sequence[HookMessage], _timeout_s: float) -> list[Verdict | None]:
        self.calls += 1
        if self.fails:
            raise HookError("broken")
        return [None] * len(messages)

    def close(self) -> None:
        self.calls = -1


def test_a_hook_that_goes_on_failing_is_left_alone_for_a_while() -> None:
    """Then it is asked once, and when that goes well, as before."""
    fake, now = FakeHook(), [100.0]
    hooks = {"before_send": {"name": "h"}}
    runner = HookRunner(
        {"acme": tenant(hooks=hooks)}, make=lambda _name: fake, monotonic=lambda: now[0]
    )
    hook = runner.hook("acme", Point.BEFORE_SEND)
    assert hook == Hook(name="h")
    assert runner.hook("acme", Point.BEFORE_ROUTING) is None
    assert runner.hook("other", Point.BEFORE_SEND) is None
    answers = [runner.ask("acme", hook, some("a")) for _ in range(FAILURES + 2)]
    assert answers[0] == HookFailed("hook h: broken")
    assert answers[-1] == HookFailed(f"hook h is switched off after {FAILURES} failures")
    assert fake.calls == FAILURES
    now[0] += OFF_S
    runner.ask("acme", hook, some("a"))
    runner.ask("acme", hook, some("a"))
    assert fake.calls == FAILURES + 1
    now[0] += OFF_S
    fake.fails = False
    for _ in range(3):
        assert runner.ask("acme", hook, some("a", "b")) == [None, None]
    runner.close()
    assert fake.calls == -1
