"""What tests of the API share."""

from tests.contract.api.door_stand import app, as_caller, door, outbox, redis

__all__ = ["app", "as_caller", "door", "outbox", "redis"]
