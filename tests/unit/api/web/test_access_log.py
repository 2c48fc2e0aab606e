"""The API's access log."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from api.web.access_log import ERROR_LINES_PER_S, LINES_PER_S, MAX_ACTORS, OTHER, AccessLog
from schemas.access import Principal

KEY = Principal("acme", "key", "k1", frozenset())


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def scope(principal: Principal | None = KEY) -> dict[str, Any]:
    state = {"principal": principal, "request_id": "r-1"}
    path = "/v1/users/anna@example.com"
    return {"type": "http", "method": "GET", "path": path, "headers": [], "state": state}


ROUTE = "/v1/users/{user_id}"


def denied(actor: str) -> float:
    labels = {"tenant": "acme", "actor": actor, "status": "404"}
    return REGISTRY.get_sample_value("clarion_api_denied_total", labels) or 0.0


def test_a_request_is_one_line_without_the_path() -> None:
    """The route's template stands for it."""
    with capture_logs() as lines:
        AccessLog()(scope(), ROUTE, 200, 0.0123)
    assert lines == [
        {
            "event": "request",
            "log_level": "info",
            "method": "GET",
            "route": "/v1/users/{user_id}",
            "status": 200,
            "took_ms": 12.3,
            "request_id": "r-1",
            "tenant": "acme",
            "actor": "key:k1",
        }
    ]


@pytest.mark.parametrize("kind", ["device", "jwt"])
def test_who_may_be_a_person_is_masked(kind: str) -> None:
    """A device's id holds its user's."""
    with capture_logs() as lines:
        AccessLog()(scope(Principal("acme", kind, "anna/phone", frozenset())), ROUTE, 200, 0)
    assert lines[0]["actor"].startswith(f"{kind}:~")
    assert "anna" not in str(lines)


def test_successes_are_logged_up_to_a_number_a_second_and_errors_beyond_it() -> None:
    """How many more there were is told in the next second."""
    clock = Clock()
    log = AccessLog(monotonic=clock)
    with capture_logs() as lines:
        for status in (200, 404):
            for _ in range(LINES_PER_S + 10):
                log(scope(None), ROUTE, status, 0)
        clock.now_s += 1
        log(scope(None), ROUTE, 200, 0)
    assert [line["event"] for line in lines].count("request") == 2 * LINES_PER_S + 10 + 1
    assert lines[-2]["unlogged"] == 10


def test_a_flood_of_errors_does_not_fill_the_disk() -> None:
    """They have a bound of their own."""
    log = AccessLog(monotonic=Clock())
    with capture_logs() as lines:
        for _ in range(ERROR_LINES_PER_S + 10):
            log(scope(None), ROUTE, 401, 0)
    assert len(lines) == ERROR_LINES_PER_S


def test_who_is_denied_is_counted_up_to_a_number_of_names() -> None:
    """Further ones share a name, so that the metric stays small."""
    log, other = AccessLog(), denied(OTHER)
    with capture_logs():
        for number in range(MAX_ACTORS + 3):
            log(scope(Principal("acme", "key", f"n{number}", frozenset())), ROUTE, 404, 0)
    assert denied("key:n0") == 1
    assert denied(OTHER) == other + 3
