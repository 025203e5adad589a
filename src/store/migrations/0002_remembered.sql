-- Answers kept for a repeated idempotency key, and what the pool must not forget over a restart.

CREATE TABLE answers (
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    request_digest BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    etag TEXT,
    PRIMARY KEY (actor, key)
) STRICT;
CREATE INDEX answers_by_age ON answers (at);

CREATE TABLE parks (
    scope TEXT NOT NULL,
    backend TEXT NOT NULL,
    name TEXT NOT NULL,
    generation TEXT NOT NULL,
    class TEXT NOT NULL,
    reason TEXT NOT NULL,
    dimension TEXT,
    source TEXT,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    held_by TEXT,
    held_for TEXT,
    PRIMARY KEY (scope, backend, name, generation, class)
) STRICT;

CREATE TABLE switches (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT;

-- One row that is written to learn whether the store takes writes again.
CREATE TABLE heartbeat (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at INTEGER NOT NULL
) STRICT;
