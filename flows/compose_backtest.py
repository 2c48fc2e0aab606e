"""Composes a backtest: Kafka's events, live profiles and segments, ClickHouse's outcomes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from flows.backtest import Simulation
from flows.backtest_run import EVENTS_LIMIT, Backtest
from flows.backtest_state import CachedProfiles, SeededCaps
from flows.clock import business_time
from flows.compose_stores import clickhouse_of
from flows.config import ConfigError, Problem, load_tenant, load_tenants
from flows.event_log import EventLog
from flows.live_redis import live_redis
from flows.rehearsal import read_only
from flows.route_ports import redis_ports
from flows.route_steps import RoutePorts, at_once, route_steps
from operators.cap import limits_of
from schemas.campaigns import Control
from schemas.settings import Settings
from schemas.tenant import Tenant
from sinks.clickhouse import connect
from sinks.outcome_counts import OutcomeCounts
from state.memory import MemoryDedup
from state.memory_gatherings import MemoryGatherings
from state.memory_limits import MemoryDailyQuotas


class NobodyStops:
    """No campaign is paused or cancelled: when that was is not remembered. See Controls."""

    def of(self, tenant: str) -> Mapping[str, Control]:
        """Give none."""
        del tenant
        return {}


def read_policy(settings: Settings, path: Path) -> tuple[Tenant, Tenant]:
    """Read a tenant's new rules and those of now. Raises ConfigError, naming field and fix."""
    policy = load_tenant(path)
    now = load_tenants(settings.tenants_dir).get(policy.name)
    if now is None:
        fault = f"no tenant {policy.name!r} in {settings.tenants_dir}: name the one to compare with"
        raise ConfigError([Problem(str(path), "name", fault)])
    if policy.shards != now.shards:
        fault = f"users are in {now.shards} parts, use that: it cannot be changed on trial"
        raise ConfigError([Problem(str(path), "shards", fault)])
    return policy, now


@contextmanager
def live_backtest(
    settings: Settings,
    policy: Tenant,
    now: Tenant | None,
    from_ms: int,
    *,
    limit: int = EVENTS_LIMIT,
) -> Iterator[Backtest]:
    """Give a backtest of new rules, and of those of now unless that is None, from a time on.

    from_ms: by policy's clock.
    """
    rules = {"would": policy, **({"today": now} if now is not None else {})}
    client = connect(clickhouse_of(settings))
    log = EventLog({**settings.kafka.client_options(), "log_level": 0})
    try:
        with live_redis(settings) as redis:
            live = read_only(redis_ports(redis, {policy.name: policy}, NobodyStops()))
            profiles = CachedProfiles(live.profiles)
            business_ms = business_time(settings.clock)

            def counts(until_ms: int) -> OutcomeCounts:
                return OutcomeCounts(client, policy.name, since_ms=from_ms, until_ms=until_ms)

            caps = {name: _caps(tenant, counts(from_ms)) for name, tenant in rules.items()}
            simulations = {
                name: _simulation(
                    replace(live, profiles=profiles, caps=caps[name]),
                    tenant,
                    business_ms,
                    chunk_users=settings.flow.chunk_users,
                )
                for name, tenant in rules.items()
            }
            yield Backtest(
                log,
                policy,
                simulations,
                profiles=profiles,
                caps=list(caps.values()),
                counts=counts,
                business_ms=business_ms,
                limit=limit,
            )
    finally:
        log.close()
        client.close()


def _caps(tenant: Tenant, counts: OutcomeCounts) -> SeededCaps:
    """Make caps that begin with what users had; nothing is asked for rules without caps."""
    windows_s = [cap.window_s for category in tenant.categories.values() for cap in category.caps]
    windows_s += [cap.window_s for group in tenant.caps for cap in group.limits]
    windows_s += [86_400] if tenant.quotas.user_daily is not None else []
    if not windows_s:
        return SeededCaps(lambda _users: (), lambda _category, _type: ())
    return SeededCaps(
        partial(counts.had_before, window_ms=max(windows_s) * 1_000),
        lambda category, kind: (
            limits_of(tenant, category, kind) if category in tenant.categories else ()
        ),
    )


def _simulation(
    ports: RoutePorts, tenant: Tenant, business_ms: Callable[[int], int], *, chunk_users: int
) -> Simulation:
    own = replace(
        ports,
        dedup=MemoryDedup(),
        quotas=MemoryDailyQuotas(),
        gatherings=MemoryGatherings(),
    )
    steps = route_steps(
        own,
        {tenant.name: tenant},
        submit=at_once,
        chunk_users=chunk_users,
        business_ms=business_ms,
    )
    return Simulation(steps, business_ms=business_ms)
