"""One client of ClickHouse for all questions: to connect takes as long as many a question."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from clickhouse_connect.driver.client import Client


class SharedClickHouse:
    """Gives questions the client, which threads may share; see sinks.clickhouse.connect.

    connect: at the first question, and again while that fails. Nobody waits for another's attempt.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._client: Client | None = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Give the client for one question. Raises what connecting raises."""
        yield self._client or self._first()

    def _first(self) -> Client:
        made = self._connect()
        with self._lock:
            if self._client is None:
                self._client = made
            found = self._client
        if found is not made:
            made.close()
        return found
