"""Composes a rehearsal on live state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flows.config import load_tenants
from flows.live_redis import live_redis
from flows.rehearsal import Rehearsal, read_only
from flows.route_ports import redis_ports
from schemas.campaigns import control_of
from schemas.definitions import Kind
from schemas.settings import Settings
from schemas.tenant import Tenant
from state.definitions import RedisDefinitions, Watched
from state.redis_client import RedisClient


@contextmanager
def live_rehearsal(settings: Settings) -> Iterator[Rehearsal]:
    """Give a rehearsal on the state that the settings name. Raises ConfigError."""
    tenants = load_tenants(settings.tenants_dir)
    with live_redis(settings) as redis:
        yield rehearsal_on(redis, tenants, settings.flow.chunk_users)


def rehearsal_on(redis: RedisClient, tenants: Mapping[str, Tenant], chunk_users: int) -> Rehearsal:
    """Give a rehearsal on this state, for one thread. tenants: whose events it may be asked of."""
    controls = Watched(RedisDefinitions(redis), Kind.CONTROL, tenants, control_of)
    ports = read_only(redis_ports(redis, tenants, controls))
    return Rehearsal(ports, tenants, chunk_users=chunk_users)
