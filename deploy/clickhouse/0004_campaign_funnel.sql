-- What became of each campaign, by day: users are counted once however many devices, attempts and
-- opens they have (uniqCombined64: exact for small sets, about 0.5 % off for millions);
-- deliveries are counted as they are. campaign_funnel finishes the merge over all days.
-- Retention: 13 months, as for outcomes. To change it: ALTER TABLE campaign_days MODIFY TTL ...
CREATE TABLE IF NOT EXISTS campaign_days
(
    tenant             LowCardinality(String),
    campaign_id        String,
    day                Date,
    sandbox            Bool,
    outcomes           SimpleAggregateFunction(sum, UInt64),
    sent_deliveries    SimpleAggregateFunction(sum, UInt64),
    failed_deliveries  SimpleAggregateFunction(sum, UInt64),
    targeted           AggregateFunction(uniqCombined64If, String, UInt8),
    suppressed         AggregateFunction(uniqCombined64If, String, UInt8),
    sent               AggregateFunction(uniqCombined64If, String, UInt8),
    failed             AggregateFunction(uniqCombined64If, String, UInt8),
    delivered          AggregateFunction(uniqCombined64If, String, UInt8),
    opened             AggregateFunction(uniqCombined64If, String, UInt8),
    clicked            AggregateFunction(uniqCombined64If, String, UInt8)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, campaign_id, day, sandbox)
TTL day + INTERVAL 13 MONTH
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS campaign_days_mv TO campaign_days AS
SELECT
    tenant,
    campaign_id,
    toDate(occurred_at) AS day,
    sandbox,
    count() AS outcomes,
    countIf(status = 'sent') AS sent_deliveries,
    countIf(status IN ('failed', 'rejected', 'expired', 'unknown')) AS failed_deliveries,
    uniqCombined64IfState(user_id, user_id != '') AS targeted,
    uniqCombined64IfState(user_id, user_id != '' AND status = 'suppressed') AS suppressed,
    uniqCombined64IfState(user_id, user_id != '' AND status = 'sent') AS sent,
    uniqCombined64IfState(user_id, user_id != '' AND status IN ('failed', 'rejected', 'expired', 'unknown')) AS failed,
    uniqCombined64IfState(user_id, user_id != '' AND status = 'delivered') AS delivered,
    uniqCombined64IfState(user_id, user_id != '' AND status = 'opened') AS opened,
    uniqCombined64IfState(user_id, user_id != '' AND status = 'clicked') AS clicked
FROM outcomes
WHERE campaign_id != ''
GROUP BY tenant, campaign_id, day, sandbox;

CREATE VIEW IF NOT EXISTS campaign_funnel AS
SELECT
    tenant,
    campaign_id,
    sandbox,
    min(day) AS first_day,
    max(day) AS last_day,
    sum(campaign_days.outcomes) AS outcomes,
    sum(campaign_days.sent_deliveries) AS sent_deliveries,
    sum(campaign_days.failed_deliveries) AS failed_deliveries,
    uniqCombined64IfMerge(targeted) AS targeted_users,
    uniqCombined64IfMerge(suppressed) AS suppressed_users,
    uniqCombined64IfMerge(sent) AS sent_users,
    uniqCombined64IfMerge(failed) AS failed_users,
    uniqCombined64IfMerge(delivered) AS delivered_users,
    uniqCombined64IfMerge(opened) AS opened_users,
    uniqCombined64IfMerge(clicked) AS clicked_users
FROM campaign_days
GROUP BY tenant, campaign_id, sandbox;
