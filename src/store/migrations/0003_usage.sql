-- One row for each request, and sums of them by the hour and the day.
-- Records lie in the order of their time, in one tree: thousands a second are written, and a second tree would cost as much again.
-- `at` is in microseconds since 1970 UTC, `start` in seconds; costs are nano-dollars, `cost` is null where none is known.

CREATE TABLE usage (
    at INTEGER NOT NULL,
    id TEXT NOT NULL,
    operation TEXT NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    backend TEXT NOT NULL,
    model TEXT NOT NULL,
    served TEXT,
    counted TEXT NOT NULL,
    stream INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    cost INTEGER,
    attempts INTEGER NOT NULL,
    queue_us INTEGER NOT NULL,
    first_content_us INTEGER,
    duration_us INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    cause TEXT NOT NULL,
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
