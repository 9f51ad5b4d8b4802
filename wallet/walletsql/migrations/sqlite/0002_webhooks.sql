-- +goose Up
-- Times are nanoseconds since 1970 UTC; NULL: none.
CREATE TABLE webhooks (
    id       TEXT NOT NULL PRIMARY KEY,
    tenant   TEXT NOT NULL,
    url      TEXT NOT NULL,
    note     TEXT NOT NULL,
    chosen   TEXT NOT NULL,    -- JSON: kinds, accounts, thresholds
    secrets  TEXT NOT NULL,    -- JSON
    enabled  INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    reason   TEXT NOT NULL,
    created  INTEGER NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    attempts INTEGER NOT NULL DEFAULT 0 -- that were ever kept
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_lanes (
    webhook       TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    part          INTEGER NOT NULL,    -- partition
    generation    INTEGER NOT NULL,
    entry         INTEGER NOT NULL,
    number        INTEGER NOT NULL,
    since         INTEGER,
    attempts      INTEGER NOT NULL,
    first_attempt INTEGER,
    next_attempt  INTEGER,
    last_error    TEXT NOT NULL,
    last_success  INTEGER,
    failing_since INTEGER,
    gap_to        INTEGER NOT NULL,
    PRIMARY KEY (webhook, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_attempts (
    webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    message TEXT NOT NULL,
    kind    TEXT NOT NULL,
    try     INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    latency INTEGER NOT NULL,    -- nanoseconds
    error   TEXT NOT NULL,
    PRIMARY KEY (webhook, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_dead_letters (
    webhook  TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    message  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error    TEXT NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (webhook, message)
) STRICT;
CREATE INDEX webhook_dead_letters_by_time ON webhook_dead_letters (webhook, at, message);
