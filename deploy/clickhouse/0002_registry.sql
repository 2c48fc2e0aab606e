-- Devices and users as the registry last saw them. Rows may arrive more than once and in any
-- order; the highest version of a key wins. Query the plain views: they leave out older
-- versions and what was removed.
CREATE TABLE IF NOT EXISTS devices
(
    tenant          LowCardinality(String),
    user_id         String,
    device_id       String,
    platform        LowCardinality(String),
    app             LowCardinality(String),
    environment     LowCardinality(String),
    token_hash      String,
    locale          LowCardinality(String),
    timezone        LowCardinality(String),
    app_version     LowCardinality(String),
    attributes      Map(LowCardinality(String), String),
    registered_at   DateTime64(3, 'UTC'),
    removed_at      Nullable(DateTime64(3, 'UTC')),
    removal_reason  LowCardinality(String),
    version         UInt64,
    INDEX by_token token_hash TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, user_id, device_id);

CREATE TABLE IF NOT EXISTS users
(
    tenant      LowCardinality(String),
    user_id     String,
    locale      LowCardinality(String),
    timezone    LowCardinality(String),
    segments    Array(LowCardinality(String)),
    opted_out   Array(LowCardinality(String)),
    attributes  Map(LowCardinality(String), String),
    created_at  DateTime64(3, 'UTC'),
    removed_at  Nullable(DateTime64(3, 'UTC')),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, user_id);

CREATE VIEW IF NOT EXISTS devices_current AS
SELECT * EXCEPT (version, removed_at, removal_reason) FROM devices FINAL WHERE removed_at IS NULL;

CREATE VIEW IF NOT EXISTS users_current AS
SELECT * EXCEPT (version, removed_at) FROM users FINAL WHERE removed_at IS NULL;
