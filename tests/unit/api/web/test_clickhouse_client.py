"""One client of ClickHouse for all questions."""

from typing import Any

import pytest

from api.web.clickhouse_client import SharedClickHouse


class FakeClient:
    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_questions_share_a_client() -> None:
    """It is made for the first, and stays open after each."""
    made: list[Any] = []

    def connect() -> Any:
        made.append(FakeClient())
        return made[-1]

    shared = SharedClickHouse(connect)
    assert made == []
    for _ in range(2):
        with shared.client() as client:
            assert client is made[0]
    assert len(made) == 1
    assert not made[0].is_closed


def test_a_failure_to_connect_is_not_kept() -> None:
    """The next question tries anew."""
    answers: list[Any] = [OSError("refused"), FakeClient()]

    def connect() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    shared = SharedClickHouse(connect)
    with pytest.raises(OSError, match="refused"), shared.client():
        pass
    with shared.client() as client:
        assert isinstance(client, FakeClient)


def test_of_two_that_connect_at_once_one_is_closed() -> None:
    """The later one, as the first may be in use."""
    first, second = FakeClient(), FakeClient()
    inner: list[Any] = []

    def connect() -> Any:
        if inner:
            return first
        inner.append(None)
        with shared.client() as client:
            inner[0] = client
        return second

    shared = SharedClickHouse(connect)
    with shared.client() as client:
        assert client is inner[0] is first
    assert second.is_closed
    assert not first.is_closed
