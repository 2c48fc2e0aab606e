-- Which variant of its message the user was to see; empty for messages without variants.
ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS variant LowCardinality(String) AFTER created_at;
