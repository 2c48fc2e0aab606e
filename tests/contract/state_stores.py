"""The state ports together, in memory and in Redis."""

from typing import NamedTuple

from state.caps import Caps, RedisCaps
from state.dedup import Dedup, RedisDedup
from state.definitions import Definitions, RedisDefinitions
from state.gatherings import Gatherings, RedisGatherings
from state.ledger import Ledger, RedisLedger
from state.memory import (
    MemoryDedup,
    MemoryDefinitions,
    MemoryLedger,
    MemoryProfiles,
    MemorySegments,
    MemoryTokens,
)
from state.memory_gatherings import MemoryGatherings
from state.memory_limits import MemoryCaps, MemoryDailyQuotas, MemoryRates
from state.memory_pruning import MemoryPruning
from state.profiles import Profiles, RedisProfiles
from state.pruning import Pruning, RedisPruning
from state.quotas import DailyQuotas, RedisDailyQuotas
from state.rates import Rates, RedisRates
from state.redis_client import RedisClient
from state.redis_segments import RedisSegments
from state.segments import Segments
from state.tokens import RedisTokens, Tokens


class Stores(NamedTuple):
    """One of each port, empty and sharing nothing with other tests. client: None in memory."""

    profiles: Profiles
    tokens: Tokens
    segments: Segments
    dedup: Dedup
    caps: Caps
    rates: Rates
    ledger: Ledger
    pruning: Pruning
    definitions: Definitions
    quotas: DailyQuotas
    gatherings: Gatherings
    client: RedisClient | None


def in_memory() -> Stores:
    return Stores(
        MemoryProfiles(),
        MemoryTokens(),
        MemorySegments(),
        MemoryDedup(),
        MemoryCaps(),
        MemoryRates(),
        MemoryLedger(),
        MemoryPruning(),
        MemoryDefinitions(),
        MemoryDailyQuotas(),
        MemoryGatherings(),
        None,
    )


def in_redis(client: RedisClient) -> Stores:
    return Stores(
        RedisProfiles(client),
        RedisTokens(client),
        RedisSegments(client),
        RedisDedup(client),
        RedisCaps(client),
        RedisRates(client),
        RedisLedger(client),
        RedisPruning(client),
        RedisDefinitions(client),
        RedisDailyQuotas(client),
        RedisGatherings(client),
        client,
    )
