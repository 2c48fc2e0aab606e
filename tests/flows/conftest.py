"""Fixtures of the flow tests."""

from flow_harness import stores
from registry_stand import no_clickhouse, redis, registry, settings

__all__ = ["no_clickhouse", "redis", "registry", "settings", "stores"]
