-- +goose Up
-- Times are nanoseconds since 1970 UTC; NULL: none.
CREATE TABLE webhooks (
    id       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant   TEXT COLLATE "C" NOT NULL,
    url      TEXT COLLATE "C" NOT NULL,
    note     TEXT COLLATE "C" NOT NULL,
    chosen   TEXT COLLATE "C" NOT NULL,    -- JSON: kinds, accounts, thresholds
    secrets  TEXT COLLATE "C" NOT NULL,    -- JSON
    enabled  BOOLEAN NOT NULL,
    reason   TEXT COLLATE "C" NOT NULL,
    created  BIGINT NOT NULL,
    revision BIGINT NOT NULL CHECK (revision > 0),
    attempts BIGINT NOT NULL DEFAULT 0 -- that were ever kept
);

CREATE TABLE webhook_lanes (
    webhook       TEXT COLLATE "C" NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    part          BIGINT NOT NULL,    -- partition
    generation    BIGINT NOT NULL,
    entry         BIGINT NOT NULL,
    number        BIGINT NOT NULL,
    since         BIGINT,
    attempts      BIGINT NOT NULL,
    first_attempt BIGINT,
    next_attempt  BIGINT,
    last_error    TEXT COLLATE "C" NOT NULL,
    last_success  BIGINT,
    failing_since BIGINT,
    gap_to        BIGINT NOT NULL,
    PRIMARY KEY (webhook, part)
);

CREATE TABLE webhook_attempts (
    webhook TEXT COLLATE "C" NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    seq     BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    message TEXT COLLATE "C" NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    try     BIGINT NOT NULL,
    status  BIGINT NOT NULL,
    latency BIGINT NOT NULL,    -- nanoseconds
    error   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (webhook, seq)
);

CREATE TABLE webhook_dead_letters (
    webhook  TEXT COLLATE "C" NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    message  TEXT COLLATE "C" NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    at       BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    error    TEXT COLLATE "C" NOT NULL,
    body     BYTEA NOT NULL,
    PRIMARY KEY (webhook, message)
);
CREATE INDEX webhook_dead_letters_by_time ON webhook_dead_letters (webhook, at, message);
