"""What commands about one tenant work on: settings, the tenant, the shared state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache

from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from api.cli import CommandError
from api.publishing import ConflictError, DefinitionWriter, Publisher, PublishError
from api.refusals import RefusedError, Why
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
    """A tenant, its shared state and its way to Kafka; nothing connects before it is used."""

    settings: Settings
    tenant: Tenant
    client: RedisClient
    publisher: Callable[[], Publisher]

    @cached_property
    def segments(self) -> RedisSegments:
        """Give the tenant's segments."""
        return RedisSegments(self.client)

    @cached_property
    def definitions(self) -> RedisDefinitions:
        """Give what the tenant has defined."""
        return RedisDefinitions(self.client)

    @cached_property
    def writer(self) -> DefinitionWriter:
        """Give what defines, and waits until the registry has it."""
        return DefinitionWriter(self.publisher(), self.definitions)


@contextmanager
def tenant_stores(tenant: str, *errors: type[Exception], see: str = "") -> Iterator[TenantStores]:
    """Give the stores of a tenant that the settings name.

    errors: what else is a person's to mend. see: the command that lists what there is. Raises
    CommandError for these, for what is refused, for wrong settings and for stores that do not
    answer.
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
            options = dict(settings.kafka.client_options())
            publisher = lru_cache(maxsize=1)(lambda: Publisher(options))
            yield TenantStores(settings, tenants[tenant], client, publisher)
    except RefusedError as error:
        hint = f"; see {see}" if see and error.why is Why.MISSING else ""
        raise CommandError(f"{error}{hint}") from error
    except mendable as error:
        raise CommandError(str(error)) from error
    except (ClickHouseError, HTTPError) as error:
        raise CommandError(f"clickhouse: {' '.join(str(error).split())}") from error
