"""At which hour of the day each user opens most, as learned from their opens."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from state import keys
from state.redis_client import Command, RedisClient

HOURS = 24
_PER_COMMAND = 1_000


class BestHours(Protocol):
    """Hours 0 to 23 in UTC by user. All raise StateUnavailableError."""

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[int | None]:
        """Give the users' hours, None where nothing was learned. O(users); one round trip."""
        ...

    def put_many(self, tenant: str, shards: int, hours: Iterable[tuple[str, int]]) -> int:
        """Learn hours; how many. O(users), a thousand users a command; one round trip.

        Raises ValueError for what is no hour.
        """
        ...


class RedisBestHours:
    """A hash per shard; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[int | None]:
        """See BestHours."""
        if not user_ids:
            return []
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, shard in enumerate(keys.shards_of(user_ids, shards)):
            places[shard].append(place)
        answers = self._client.run_many(
            [
                ("HMGET", keys.best_hours_key(tenant, shard), *(user_ids[n] for n in numbers))
                for shard, numbers in places.items()
            ]
        )
        found: list[int | None] = [None] * len(user_ids)
        for numbers, values in zip(places.values(), answers, strict=True):
            for place, value in zip(numbers, values, strict=True):
                found[place] = None if value is None else int(value) % HOURS
        return found

    def put_many(self, tenant: str, shards: int, hours: Iterable[tuple[str, int]]) -> int:
        """See BestHours."""
        checked = checked_hours(hours)
        fields: defaultdict[int, list[str | int]] = defaultdict(list)
        for user, hour in checked.items():
            fields[keys.shard_of(user, shards)] += (user, hour)
        commands: list[Command] = [
            ("HSET", keys.best_hours_key(tenant, shard), *values[start : start + 2 * _PER_COMMAND])
            for shard, values in fields.items()
            for start in range(0, len(values), 2 * _PER_COMMAND)
        ]
        self._client.run_many(commands)
        return len(checked)


def checked_hours(hours: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Give them by user. Raises ValueError for what is no hour."""
    found = dict(hours)
    for user, hour in found.items():
        if not 0 <= hour < HOURS:
            raise ValueError(f"user {user!r}: {hour} is no hour, use 0 to 23")
    return found


class MemoryBestHours:
    """Hours in a dict; see BestHours."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], int] = {}

    def get_many(self, tenant: str, shards: int, user_ids: Sequence[str]) -> list[int | None]:
        """See BestHours."""
        keys.shards_of(user_ids, shards)
        return [self._stored.get((tenant, user)) for user in user_ids]

    def put_many(self, tenant: str, shards: int, hours: Iterable[tuple[str, int]]) -> int:
        """See BestHours."""
        checked = checked_hours(hours)
        keys.shards_of(list(checked), shards)
        self._stored.update({(tenant, user): hour for user, hour in checked.items()})
        return len(checked)
