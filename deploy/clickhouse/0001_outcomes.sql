-- One row per decision about one recipient or device (schemas/pipeline.py, Outcome).
--
-- Partition: the month of occurred_at. An insert into one month is atomic; the writer never mixes two.
-- Order: a tenant's day, then the user. "Why did user X (not) get message Y" reads a granule or two
--   per day; a scan over a tenant's time reads only the days asked for.
-- Skip indexes: look-ups that know only the user, the message or the delivery.
-- Projection resume_points: where each Kafka partition stopped, written in the same part as the
--   rows, so it can never disagree with them, and read without touching the rows.
-- Retention: 13 months. To change it: ALTER TABLE outcomes MODIFY TTL toDateTime(occurred_at) + INTERVAL n MONTH.
-- Device tokens never come here: token_hash is the first 32 hex digits of their SHA-256.
-- The deduplication window lets the writer repeat a failed insert: rows already there are
--   dropped and only what the views missed is added.
-- Projections are rebuilt by a DELETE (a user's erasure), which is refused otherwise.
CREATE TABLE IF NOT EXISTS outcomes
(
    outcome_id       String CODEC(ZSTD(1)),
    occurred_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    tenant           LowCardinality(String),
    message_id       String CODEC(ZSTD(1)),
    status           LowCardinality(String),
    reason           LowCardinality(String),
    priority         LowCardinality(String),
    user_id          String CODEC(ZSTD(1)),
    device_id        String CODEC(ZSTD(1)),
    delivery_id      String CODEC(ZSTD(1)),
    platform         LowCardinality(String),
    category         LowCardinality(String),
    type             LowCardinality(String),
    campaign_id      LowCardinality(String),
    attempt          UInt16,
    provider_status  UInt16,
    detail           String CODEC(ZSTD(1)),
    provider_id      String CODEC(ZSTD(1)),
    latency_ms       Int64 CODEC(ZSTD(1)),
    token_action     LowCardinality(String),
    token_hash       String CODEC(ZSTD(1)),
    token_invalid_at DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    trace_id         String CODEC(ZSTD(1)),
    sandbox          Bool,
    created_at       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_topic      LowCardinality(String),
    kafka_partition  UInt16,
    kafka_offset     UInt64 CODEC(Delta, ZSTD(1)),
    inserted_at      DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),
    INDEX by_user user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_message message_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_delivery delivery_id TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION resume_points
    (
        SELECT kafka_topic, kafka_partition, toYYYYMM(occurred_at), max(kafka_offset)
        GROUP BY kafka_topic, kafka_partition, toYYYYMM(occurred_at)
    )
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (tenant, toDate(occurred_at), user_id, occurred_at)
TTL toDateTime(occurred_at) + INTERVAL 13 MONTH
SETTINGS
    ttl_only_drop_parts = 1,
    non_replicated_deduplication_window = 10000,
    lightweight_mutation_projection_mode = 'rebuild';
