"""Questions to ClickHouse on behalf of a request."""

from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from api.web.door import Door
from api.web.problems import ProblemError


@contextmanager
def asking(door: Door) -> Iterator[Client]:
    """Give a client for one question. Raises ProblemError: 503 when ClickHouse does not answer."""
    try:
        with door.clickhouse() as client:
            yield client
    except (ClickHouseError, HTTPError, OSError):
        raise ProblemError(
            503, "ClickHouse does not answer in time, try again", headers={"Retry-After": "1"}
        ) from None
