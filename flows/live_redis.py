"""A Redis client for people's commands."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.settings import Settings
from state.redis_client import RedisClient


@contextmanager
def live_redis(settings: Settings, *, answer_s: float = 0.0) -> Iterator[RedisClient]:
    """Give a client that fails at once instead of waiting, as a person does the asking.

    answer_s: wait for each answer so long, if the settings say less.
    """
    redis = settings.redis
    client = RedisClient(
        redis.url,
        cluster=redis.cluster,
        timeout_s=max(redis.timeout_s, answer_s),
        connect_timeout_s=redis.connect_timeout_s,
    )
    try:
        yield client
    finally:
        client.close()
