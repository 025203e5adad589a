-- What the admin API made, the secrets that belong to it (sealed), and who changed what.
-- Times are microseconds since 1970 UTC.

-- `least_known`: the oldest schema whose program may still work on this one. A migration that only adds leaves it alone.
CREATE TABLE compatibility (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    least_known INTEGER NOT NULL
) STRICT;
INSERT INTO compatibility (one, least_known) VALUES (1, 1);

CREATE TABLE resources (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    row TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL,
    body TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;

CREATE TABLE sealed (
    row TEXT NOT NULL REFERENCES resources (row) ON DELETE CASCADE,
    field TEXT NOT NULL,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL,
    text BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    last4 TEXT NOT NULL,
    PRIMARY KEY (row, field)
) STRICT;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    source TEXT,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    before TEXT,
    after TEXT
) STRICT;
CREATE INDEX audit_of_one ON audit (kind, id, seq);
CREATE INDEX audit_by_actor ON audit (actor, seq);
