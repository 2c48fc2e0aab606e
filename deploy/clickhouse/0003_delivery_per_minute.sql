-- Delivery by minute, tenant, platform and priority, kept as sums and t-digests of the latency.
-- The materialised view sees every outcome once; delivery_per_minute finishes the merge.
-- Retention: 13 months, as for outcomes. To change it: ALTER TABLE delivery_minutes MODIFY TTL ...
CREATE TABLE IF NOT EXISTS delivery_minutes
(
    tenant      LowCardinality(String),
    minute      DateTime('UTC'),
    platform    LowCardinality(String),
    priority    LowCardinality(String),
    sandbox     Bool,
    outcomes    SimpleAggregateFunction(sum, UInt64),
    sent        SimpleAggregateFunction(sum, UInt64),
    failed      SimpleAggregateFunction(sum, UInt64),
    rejected    SimpleAggregateFunction(sum, UInt64),
    suppressed  SimpleAggregateFunction(sum, UInt64),
    expired     SimpleAggregateFunction(sum, UInt64),
    unknown     SimpleAggregateFunction(sum, UInt64),
    retried     SimpleAggregateFunction(sum, UInt64),
    deferred    SimpleAggregateFunction(sum, UInt64),
    delivered   SimpleAggregateFunction(sum, UInt64),
    opened      SimpleAggregateFunction(sum, UInt64),
    clicked     SimpleAggregateFunction(sum, UInt64),
    dismissed   SimpleAggregateFunction(sum, UInt64),
    latency     AggregateFunction(quantilesTDigestIf(0.5, 0.95, 0.99), Int64, UInt8)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant, minute, platform, priority, sandbox)
TTL minute + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS delivery_minutes_mv TO delivery_minutes AS
SELECT
    tenant,
    toStartOfMinute(toDateTime(occurred_at, 'UTC')) AS minute,
    platform,
    priority,
    sandbox,
    count() AS outcomes,
    countIf(status = 'sent') AS sent,
    countIf(status = 'failed') AS failed,
    countIf(status = 'rejected') AS rejected,
    countIf(status = 'suppressed') AS suppressed,
    countIf(status = 'expired') AS expired,
    countIf(status = 'unknown') AS unknown,
    countIf(status = 'retry') AS retried,
    countIf(status = 'deferred') AS deferred,
    countIf(status = 'delivered') AS delivered,
    countIf(status = 'opened') AS opened,
    countIf(status = 'clicked') AS clicked,
    countIf(status = 'dismissed') AS dismissed,
    quantilesTDigestIfState(0.5, 0.95, 0.99)(latency_ms, status = 'sent' AND latency_ms >= 0) AS latency
FROM outcomes
GROUP BY tenant, minute, platform, priority, sandbox;

CREATE VIEW IF NOT EXISTS delivery_per_minute AS
SELECT
    tenant,
    minute,
    platform,
    priority,
    sandbox,
    sum(delivery_minutes.outcomes) AS outcomes,
    sum(delivery_minutes.sent) AS sent,
    sum(delivery_minutes.failed) AS failed,
    sum(delivery_minutes.rejected) AS rejected,
    sum(delivery_minutes.suppressed) AS suppressed,
    sum(delivery_minutes.expired) AS expired,
    sum(delivery_minutes.unknown) AS unknown,
    sum(delivery_minutes.retried) AS retried,
    sum(delivery_minutes.deferred) AS deferred,
    sum(delivery_minutes.delivered) AS delivered,
    sum(delivery_minutes.opened) AS opened,
    sum(delivery_minutes.clicked) AS clicked,
    sum(delivery_minutes.dismissed) AS dismissed,
    quantilesTDigestIfMerge(0.5, 0.95, 0.99)(latency) AS latency_quantiles_ms,
    latency_quantiles_ms[1] AS latency_p50_ms,
    latency_quantiles_ms[2] AS latency_p95_ms,
    latency_quantiles_ms[3] AS latency_p99_ms
FROM delivery_minutes
GROUP BY tenant, minute, platform, priority, sandbox;
