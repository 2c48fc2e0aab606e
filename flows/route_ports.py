"""route's ports on Redis."""

from collections.abc import Mapping

from flows.route_steps import RoutePorts
from flows.template_view import templates_of
from operators.hooks import NoHooks
from operators.recall import Controls
from schemas.tenant import Tenant
from state.best_hours import RedisBestHours
from state.caps import RedisCaps
from state.dedup import RedisDedup
from state.definitions import RedisDefinitions
from state.gatherings import RedisGatherings
from state.profiles import RedisProfiles
from state.progress import RedisProgress
from state.quotas import RedisDailyQuotas
from state.rates import Leases, RedisRates
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments


def redis_ports(
    redis: RedisClient, tenants: Mapping[str, Tenant], controls: Controls
) -> RoutePorts:
    """Make route's ports on Redis, without hooks: those are processes, which a flow starts."""
    definitions = RedisDefinitions(redis)
    return RoutePorts(
        hooks=NoHooks(),
        dedup=RedisDedup(redis),
        segments=RedisSegments(redis),
        profiles=RedisProfiles(redis),
        caps=RedisCaps(redis),
        quotas=RedisDailyQuotas(redis),
        gatherings=RedisGatherings(redis),
        leases=Leases(RedisRates(redis)),
        controls=controls,
        progress=RedisProgress(redis),
        best_hours=RedisBestHours(redis),
        templates=templates_of(definitions, tenants),
    )
