"""The embedded ClickHouse that tests of the API share."""

import pytest

from api.web.door import Door
from tests.contract.api.clickhouse_stand import LazyClickHouse, tell


@pytest.mark.parametrize("turn", [1, 2])
def test_a_test_finds_it_empty_and_what_it_tells(
    door: Door, clickhouse: LazyClickHouse, turn: int
) -> None:
    """Rows of an earlier test are gone; later writes add to earlier ones."""
    assert not clickhouse.used
    tell(door, {"message_id": f"m-{turn}"}, {"message_id": f"m-{turn}"})
    tell(door, {"message_id": f"m-{turn}", "status": "opened", "reason": "feedback"})
    with door.clickhouse() as client:
        rows = client.query("SELECT message_id, count() FROM outcomes GROUP BY 1").result_rows
    assert rows == [(f"m-{turn}", 3)]
