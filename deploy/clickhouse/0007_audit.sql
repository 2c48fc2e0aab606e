-- Who did what through the API (schemas/audit.py): one row per call, or per minute and kind of call.
-- Written once, never changed: grant nobody UPDATE or DELETE on it (docs/security.md). Rows may
-- arrive more than once; add FINAL. tenant is empty where nobody is known, as for a credential that
-- proves nobody.
-- Retention: 25 months. To change it: ALTER TABLE audit MODIFY TTL toDateTime(at) + INTERVAL n MONTH.
CREATE TABLE IF NOT EXISTS audit
(
    at          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    tenant      LowCardinality(String),
    audit_id    String CODEC(ZSTD(1)),
    actor_kind  LowCardinality(String),
    actor       String CODEC(ZSTD(1)),
    action      LowCardinality(String),
    target      String CODEC(ZSTD(1)),
    status      UInt16,
    address     String CODEC(ZSTD(1)),
    user_agent  String CODEC(ZSTD(1)),
    request_id  String CODEC(ZSTD(1)),
    before      String CODEC(ZSTD(1)),
    after       String CODEC(ZSTD(1)),
    count       UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (tenant, at, audit_id)
TTL toDateTime(at) + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1;
