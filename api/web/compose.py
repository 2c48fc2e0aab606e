"""Makes the door from settings; nothing connects before it is used."""

from functools import lru_cache, partial
from os import urandom

from api.auth.access import Access, Prover
from api.auth.api_keys import ApiKeys
from api.auth.device_tokens import DeviceTokens
from api.auth.jwts import jwts_of
from api.auth.leased_limits import LeasedLimits
from api.auth.signing import Signer
from api.publishing import Publisher
from api.segment_stores import upload_to
from api.web.applied import Applied
from api.web.audit_trail import KafkaAuditTrail
from api.web.clickhouse_client import SharedClickHouse
from api.web.door import Door
from api.web.outbox import KafkaOutbox
from flows.clock import business_clock, wall_ms
from flows.compose_stores import clickhouse_of
from flows.config import load_tenants
from flows.secret_reader import secret_reader
from schemas.security import Insecure
from schemas.settings import Settings
from sinks.clickhouse import connect
from sinks.sealing import KEY_BYTES, KeyRing, MasterKeyError, read_master_keys
from state.definitions import RedisDefinitions
from state.event_quotas import RedisEventQuotas
from state.profiles import RedisProfiles
from state.rates import RedisRates
from state.redis_client import RedisClient

REDIS_ANSWER_S = 10.0
PROOF_ANSWER_S = 0.5
NO_MASTER_KEY = (
    "CLARION_SECURITY__MASTER_KEY: there is no master key, make one with: clarion secrets new-key"
    " (or name master_key in CLARION_SECURITY__INSECURE_ALLOWED, to try things out)"
)


def make_door(settings: Settings) -> Door:
    """Make the door. Raises ConfigError for tenants with faults, MasterKeyError."""
    keys = read_master_keys(settings.security)
    if not keys and Insecure.MASTER_KEY not in settings.security.insecure_allowed:
        raise MasterKeyError(NO_MASTER_KEY)
    redis = settings.redis
    connected = partial(
        RedisClient, redis.url, cluster=redis.cluster, max_connections=redis.max_connections
    )
    client = connected(
        timeout_s=max(redis.timeout_s, REDIS_ANSWER_S),
        connect_timeout_s=redis.connect_timeout_s,
        retries=redis.retries,
    )
    # Every request waits for a proof: a Redis that hangs is given up soon, as callers who were
    # proven lately go on without it.
    hasty = connected(timeout_s=PROOF_ANSWER_S, connect_timeout_s=PROOF_ANSWER_S, retries=1)
    options = dict(settings.kafka.client_options())
    outbox = KafkaOutbox(options)

    clickhouse = SharedClickHouse(lambda: connect(clickhouse_of(settings)))
    tenants = load_tenants(settings.tenants_dir)
    definitions, profiles = RedisDefinitions(client), RedisProfiles(client)
    # A key of this process alone, where that is allowed: what it signs ends with it.
    signer = Signer(keys or [urandom(KEY_BYTES)])
    provers: list[Prover] = [
        ApiKeys(tenants, RedisDefinitions(hasty), wall_ms),
        DeviceTokens(signer, tenants, RedisProfiles(hasty), wall_ms),
        jwts_of(tenants, wall_ms),
    ]
    limits = LeasedLimits(
        tenants,
        RedisRates(client),
        RedisEventQuotas(client),
        now_ms=wall_ms,
        day_ms=business_clock(settings.clock),
    )
    return Door(
        settings=settings,
        tenants=tenants,
        redis=client,
        applied=Applied(profiles),
        definitions=definitions,
        outbox=outbox,
        publisher=lru_cache(maxsize=1)(lambda: Publisher(options)),
        clickhouse=clickhouse.client,
        list_upload=upload_to(options),
        access=Access(provers, wall_ms),
        limits=limits,
        signer=signer,
        seals=KeyRing(keys) if keys else None,
        secrets=secret_reader(settings),
        audit=KafkaAuditTrail(outbox, wall_ms),
        now_ms=business_clock(settings.clock),
        wall_ms=wall_ms,
    )
