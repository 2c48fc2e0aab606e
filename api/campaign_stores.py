"""What `clarion campaigns` works on: a tenant's campaigns on the stores that the settings name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from api.campaigns import Campaigns
from api.tenant_stores import TenantStores, tenant_stores
from flows.clock import business_clock
from flows.compose_stores import clickhouse_of
from schemas.tenant import Tenant
from sinks.campaign_figures import CampaignFigures
from sinks.clickhouse import connect
from state.best_hours import BestHours, RedisBestHours
from state.profiles import RedisProfiles
from state.progress import RedisProgress


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


def campaigns_of(stores: TenantStores, now_ms: Callable[[], int]) -> Campaigns:
    """Give a tenant's campaigns. now_ms: the flows' business clock."""
    return Campaigns(
        stores.tenant,
        definitions=stores.definitions,
        segments=stores.segments,
        profiles=RedisProfiles(stores.client),
        progress=RedisProgress(stores.client),
        publisher=stores.publisher(),
        writer=stores.writer,
        now_ms=now_ms,
    )


@contextmanager
def opened(tenant: str) -> Iterator[Desk]:
    """Give the desk of a tenant. Raises CommandError for what a person can mend."""
    with tenant_stores(tenant, see="clarion campaigns ls") as stores:
        settings = stores.settings
        campaigns = campaigns_of(stores, business_clock(settings.clock))
        figures = CampaignFigures(lambda: connect(clickhouse_of(settings)))
        try:
            yield Desk(stores.tenant, campaigns, figures, RedisBestHours(stores.client))
        finally:
            figures.close()
