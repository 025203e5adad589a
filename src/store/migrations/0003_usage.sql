-- One row for each request, and sums of them by the hour and the day.
-- Thousands a second may be written: records lie in the order of their time, in one tree, and what nobody filters by is one text of
-- JSON, since every column costs as much as a small row.
-- `at` is in microseconds since 1970 UTC, `start` in seconds; `counted` is the model that sums name; costs are nano-dollars.

CREATE TABLE usage (
    at INTEGER NOT NULL,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    backend TEXT NOT NULL,
    counted TEXT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (at, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_hourly (
    start INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    backend TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (start, tenant, key, backend, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_daily (
    start INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    backend TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (start, tenant, key, backend, model)
) STRICT, WITHOUT ROWID;
