"""What tests of the API share."""

from tests.contract.api.clickhouse_stand import clickhouse, clickhouse_engine
from tests.contract.api.door_stand import app, as_caller, door, outbox, redis

__all__ = ["app", "as_caller", "clickhouse", "clickhouse_engine", "door", "outbox", "redis"]
