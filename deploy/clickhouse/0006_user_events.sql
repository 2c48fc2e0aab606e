-- What users did, as producers tell it (schemas/user_events.py): behaviour segments count these.
-- Rows may arrive more than once; count uniqExact(event_id), or add FINAL.
-- Retention: 13 months, as for outcomes.
CREATE TABLE IF NOT EXISTS user_events
(
    tenant      LowCardinality(String),
    user_id     String CODEC(ZSTD(1)),
    event_id    String CODEC(ZSTD(1)),
    name        LowCardinality(String),
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    value       Float64,
    properties  Map(LowCardinality(String), String) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (tenant, name, toDate(occurred_at), user_id, event_id)
TTL toDateTime(occurred_at) + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1;
