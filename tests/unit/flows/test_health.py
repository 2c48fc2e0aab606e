"""Health: when a flow counts as stuck, and what the probes answer."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from flows.health import Health, HealthServer


class Flow:
    """A flow with a clock and a lag of its own."""

    def __init__(self) -> None:
        self.now_s, self.waiting = 1_000.0, 0
        self.health = Health(
            "test", lambda: self.waiting, stalled_after_s=60, monotonic=lambda: self.now_s
        )

    def turn(self, count: int = 0, *, after_s: float = 1.0) -> None:
        self.now_s += after_s
        self.health.beat(count)


def test_a_flow_that_has_just_started_is_healthy() -> None:
    """It has not had its time yet."""
    assert Flow().health.problem() == ""


def test_idle_without_lag_is_healthy() -> None:
    """However long."""
    flow = Flow()
    for _ in range(300):
        flow.turn()
    assert flow.health.problem() == ""


def test_lag_without_progress_is_a_problem() -> None:
    """After the time allowed, not before."""
    flow = Flow()
    flow.turn(5)
    flow.waiting = 7
    for _ in range(60):
        flow.turn()
    assert flow.health.problem() == ""
    flow.turn()
    assert flow.health.problem() == "7 records wait and none was read for 61 s"


def test_lag_with_progress_is_healthy() -> None:
    """A backlog that is worked off."""
    flow = Flow()
    flow.waiting = 1_000_000
    for _ in range(300):
        flow.turn(1)
    assert flow.health.problem() == ""


def test_progress_cures() -> None:
    """One record is enough."""
    flow = Flow()
    flow.waiting = 7
    for _ in range(100):
        flow.turn()
    assert flow.health.problem()
    flow.turn(1)
    assert flow.health.problem() == ""


def test_lag_that_is_gone_cures() -> None:
    """And the time allowed begins anew with the next lag."""
    flow = Flow()
    flow.waiting = 7
    for _ in range(100):
        flow.turn()
    flow.waiting = 0
    flow.turn()
    flow.waiting = 7
    flow.turn()
    assert flow.health.problem() == ""


def test_a_flow_that_no_longer_turns_is_a_problem() -> None:
    """Without lag, too: it hangs inside a step."""
    flow = Flow()
    flow.turn()
    flow.now_s += 60
    assert flow.health.problem() == ""
    flow.now_s += 1
    assert flow.health.problem() == "the flow has not turned for 61 s"


def test_lag_is_asked_once_a_second() -> None:
    """Turns are more frequent."""
    asked = []
    now_s = [1_000.0]
    health = Health("test", lambda: len(asked.append(0) or asked), monotonic=lambda: now_s[0])
    for _ in range(100):
        now_s[0] += 0.03125
        health.beat(0)
    assert len(asked) == 4


def test_a_wait_that_is_known_is_no_problem() -> None:
    """Each failed attempt excuses the flow; from the last one on, its time begins anew."""
    flow = Flow()
    flow.waiting = 7
    flow.turn()
    for _ in range(200):
        flow.now_s += 1
        flow.health.excuse()
    assert flow.health.problem() == ""
    flow.now_s += 61
    assert flow.health.problem() == "the flow has not turned for 61 s"


class Served:
    """A health server on a free port."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.missing: list[str] = []
        self.server = HealthServer(self.flow.health, lambda: self.missing, host="127.0.0.1", port=0)

    def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.server.start()
    yield made
    made.server.stop()


def test_alive_and_ready(served: Served) -> None:
    """Both say ok."""
    assert served.get("/healthz") == (200, "ok")
    assert served.get("/readyz") == (200, "ok")


def test_a_stuck_flow_is_not_alive(served: Served) -> None:
    """A restart may cure it."""
    served.flow.now_s += 61
    assert served.get("/healthz") == (503, "the flow has not turned for 61 s")


def test_a_store_that_is_missing_makes_it_unready_but_alive(served: Served) -> None:
    """A restart would cure nothing."""
    served.missing = ["clickhouse: no answer for 9 s", "redis: READONLY"]
    assert served.get("/readyz") == (503, "clickhouse: no answer for 9 s; redis: READONLY")
    assert served.get("/healthz")[0] == 200


def test_metrics_are_served(served: Served) -> None:
    """In Prometheus's text form."""
    served.flow.turn(3)
    status, text = served.get("/metrics")
    assert status == 200
    assert 'clarion_records_read_total{flow="test"}' in text


def test_another_path_says_what_there_is(served: Served) -> None:
    """Instead of nothing."""
    assert served.get("/") == (404, "try /metrics, /healthz or /readyz")


@pytest.mark.parametrize(("error", "told"), [(BrokenPipeError, False), (ValueError, True)])
def test_a_probe_that_hangs_up_is_no_error(
    capsys: pytest.CaptureFixture[str], error: type[Exception], *, told: bool
) -> None:
    """What else goes wrong while it is answered is told."""

    def broken() -> list[str]:
        raise error("in the middle of an answer")

    server = HealthServer(Flow().health, broken, host="127.0.0.1", port=0)
    server.start()
    # The connection is closed after the error was handled.
    with pytest.raises(http.client.RemoteDisconnected):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=30)
    server.stop()
    assert (error.__name__ in capsys.readouterr().err) is told
