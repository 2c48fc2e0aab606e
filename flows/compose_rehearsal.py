"""Composes a rehearsal on the live state that the settings name."""

from collections.abc import Iterator
from contextlib import contextmanager

from flows.config import load_tenants
from flows.live_redis import live_redis
from flows.rehearsal import Rehearsal, read_only
from flows.route_ports import redis_ports
from schemas.campaigns import control_of
from schemas.definitions import Kind
from schemas.settings import Settings
from state.definitions import RedisDefinitions, Watched


@contextmanager
def live_rehearsal(settings: Settings) -> Iterator[Rehearsal]:
    """Give a rehearsal on live state. Raises ConfigError."""
    tenants = load_tenants(settings.tenants_dir)
    with live_redis(settings) as redis:
        controls = Watched(RedisDefinitions(redis), Kind.CONTROL, tenants, control_of)
        ports = read_only(redis_ports(redis, tenants, controls))
        yield Rehearsal(ports, tenants, chunk_users=settings.flow.chunk_users)
