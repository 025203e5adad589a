-- What many records of usage have in common is kept once a day, and each record names it by number: a row of its own is then half
-- as long, and costs less than half to write. `id` is a digest of the rest, so that writers need not look it up; those made here are
-- negative and so differ from all digests. `served` tells whether a model answered.
-- Programs of schema 3 and older would look for the table that goes.

CREATE TABLE usage_labels (
    id INTEGER NOT NULL PRIMARY KEY,
    day INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    backend TEXT NOT NULL,
    counted TEXT NOT NULL,
    operation TEXT NOT NULL,
    served INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    cause TEXT NOT NULL
) STRICT;

CREATE INDEX usage_labels_by_day ON usage_labels (day);

CREATE TABLE usage_records (
    at INTEGER NOT NULL,
    id TEXT NOT NULL,
    labels INTEGER NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (at, id)
) STRICT, WITHOUT ROWID;

CREATE TEMP VIEW told AS
SELECT at, id, at / 86400000000 * 86400 AS day, tenant, key, backend, counted, facts ->> 'op' AS operation,
    facts ->> 'served' IS NOT NULL AS served, coalesce(facts ->> 'stream', 0) AS stream, facts ->> 'status' AS status,
    facts ->> 'outcome' AS outcome, coalesce(facts ->> 'cause', '') AS cause,
    json_remove(facts, '$.op', '$.stream', '$.status', '$.outcome', '$.cause') AS facts
FROM usage;

INSERT INTO usage_labels
SELECT -row_number() OVER (), *
FROM (SELECT DISTINCT day, tenant, key, backend, counted, operation, served, stream, status, outcome, cause FROM told);

INSERT INTO usage_records
SELECT told.at, told.id, labels.id, told.facts
FROM told JOIN usage_labels AS labels USING (day, tenant, key, backend, counted, operation, served, stream, status, outcome, cause);

DROP VIEW told;
DROP TABLE usage;

UPDATE compatibility SET least_known = 4;
