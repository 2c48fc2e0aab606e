"""Composes a rehearsal on the live state that the settings name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flows.config import load_tenants
from flows.rehearsal import Rehearsal, read_only
from flows.route_steps import RoutePorts
from schemas.campaigns import control_of
from schemas.definitions import Kind
from schemas.settings import Settings
from schemas.tenant import Tenant
from state.best_hours import RedisBestHours
from state.caps import RedisCaps
from state.dedup import RedisDedup
from state.definitions import RedisDefinitions, Watched
from state.profiles import RedisProfiles
from state.quotas import RedisDailyQuotas
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments


def live_ports(redis: RedisClient, tenants: Mapping[str, Tenant]) -> RoutePorts:
    """Make ports that read live state and write nothing."""
    return read_only(
        dedup=RedisDedup(redis),
        segments=RedisSegments(redis),
        profiles=RedisProfiles(redis),
        caps=RedisCaps(redis),
        quotas=RedisDailyQuotas(redis),
        controls=Watched(RedisDefinitions(redis), Kind.CONTROL, tenants, control_of),
        best_hours=RedisBestHours(redis),
    )


@contextmanager
def live_redis(settings: Settings) -> Iterator[RedisClient]:
    """Give a client that fails at once instead of waiting, as a person does the asking."""
    redis = settings.redis
    client = RedisClient(
        redis.url,
        cluster=redis.cluster,
        timeout_s=redis.timeout_s,
        connect_timeout_s=redis.connect_timeout_s,
    )
    try:
        yield client
    finally:
        client.close()


@contextmanager
def live_rehearsal(settings: Settings) -> Iterator[Rehearsal]:
    """Give a rehearsal on live state. Raises ConfigError."""
    tenants = load_tenants(settings.tenants_dir)
    with live_redis(settings) as redis:
        ports = live_ports(redis, tenants)
        yield Rehearsal(ports, tenants, chunk_users=settings.flow.chunk_users)
