"""What commands about one tenant work on: settings, the tenant, the shared state."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from api.cli import CommandError
from api.publishing import ConflictError, PublishError
from flows.config import ConfigError, load_tenants
from flows.live_redis import live_redis
from schemas.settings import BadSettingsError, Settings, load_settings
from schemas.tenant import Tenant
from state.definitions import RedisDefinitions
from state.errors import StateError
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments

ANSWER_S = 30.0
"""A command may wait longer than a flow: counting over all shards takes its time."""


@dataclass(frozen=True)
class TenantStores:
    """A tenant and its shared state; nothing connects before it is used."""

    settings: Settings
    tenant: Tenant
    client: RedisClient

    @cached_property
    def segments(self) -> RedisSegments:
        """Give the tenant's segments."""
        return RedisSegments(self.client)

    @cached_property
    def definitions(self) -> RedisDefinitions:
        """Give what the tenant has defined."""
        return RedisDefinitions(self.client)


@contextmanager
def tenant_stores(tenant: str, *errors: type[Exception]) -> Iterator[TenantStores]:
    """Give the stores of a tenant that the settings name.

    errors: what else is a person's to mend. Raises CommandError for that, for wrong settings and
    for stores that do not answer.
    """
    try:
        settings = load_settings()
        tenants = load_tenants(settings.tenants_dir)
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(str(error)) from error
    if tenant not in tenants:
        raise CommandError(f"tenant: there is no {tenant!r}, use one of {', '.join(tenants)}")
    mendable: tuple[type[Exception], ...] = (PublishError, ConflictError, StateError, *errors)
    try:
        with live_redis(settings, answer_s=ANSWER_S) as client:
            yield TenantStores(settings, tenants[tenant], client)
    except mendable as error:
        raise CommandError(str(error)) from error
    except (ClickHouseError, HTTPError) as error:
        raise CommandError(f"clickhouse: {' '.join(str(error).split())}") from error
