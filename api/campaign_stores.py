"""What `clarion campaigns` works on: a tenant's campaigns on the stores that the settings name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from api.campaigns import CampaignError, Campaigns
from api.cli import CommandError
from api.publishing import ConflictError, DefinitionWriter, Publisher, PublishError
from flows.clock import business_clock
from flows.compose_stores import clickhouse_of
from flows.config import ConfigError, load_tenants
from schemas.settings import BadSettingsError, load_settings
from schemas.tenant import Tenant
from sinks.campaign_figures import CampaignFigures
from sinks.clickhouse import connect
from state.best_hours import BestHours, RedisBestHours
from state.definitions import RedisDefinitions
from state.errors import StateError
from state.profiles import RedisProfiles
from state.progress import RedisProgress
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments


@dataclass(frozen=True)
class Desk:
    """A tenant's campaigns, and what is known of how they went."""

    tenant: Tenant
    campaigns: Campaigns
    figures: CampaignFigures
    hours: BestHours

    def learn(self, days: int) -> int:
        """Learn users' best hours from their opens; of how many."""
        name, shards = self.tenant.name, self.tenant.shards
        return sum(
            self.hours.put_many(name, shards, block)
            for block in self.figures.best_hours(name, days=days)
        )


@contextmanager
def opened(tenant: str) -> Iterator[Desk]:
    """Give the desk of a tenant. Raises CommandError for what a person can mend."""
    try:
        settings = load_settings()
        tenants = load_tenants(settings.tenants_dir)
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(str(error)) from error
    if tenant not in tenants:
        raise CommandError(f"tenant: there is no {tenant!r}, use one of {', '.join(tenants)}")
    redis = settings.redis
    client = RedisClient(
        redis.url,
        cluster=redis.cluster,
        timeout_s=max(redis.timeout_s, 30.0),
        connect_timeout_s=redis.connect_timeout_s,
    )
    figures = CampaignFigures(lambda: connect(clickhouse_of(settings)))
    definitions = RedisDefinitions(client)
    publisher = Publisher(settings.kafka.client_options())
    campaigns = Campaigns(
        tenants[tenant],
        definitions=definitions,
        segments=RedisSegments(client),
        profiles=RedisProfiles(client),
        progress=RedisProgress(client),
        publisher=publisher,
        writer=DefinitionWriter(publisher, definitions),
        now_ms=business_clock(settings.clock),
    )
    try:
        yield Desk(tenants[tenant], campaigns, figures, RedisBestHours(client))
    except (CampaignError, PublishError, ConflictError, StateError) as error:
        raise CommandError(str(error)) from error
    except (ClickHouseError, HTTPError) as error:
        raise CommandError(f"clickhouse: {error}") from error
    finally:
        figures.close()
        client.close()
