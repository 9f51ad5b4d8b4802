-- +goose Up
-- Keys of personal data, or what is left of them. The row without tenant and account is the mark of the master key.
CREATE TABLE personal_keys (
    tenant    TEXT COLLATE "C" NOT NULL,
    account   TEXT COLLATE "C" NOT NULL,
    sealed    BYTEA,            -- under the master key; NULL once it was destroyed
    version   BIGINT NOT NULL CHECK (version > 0),
    erased_at BIGINT,           -- nanoseconds since 1970 UTC
    erased_by TEXT,             -- id of an API key, or empty
    PRIMARY KEY (tenant, account),
    CHECK ((sealed IS NULL) = (erased_at IS NOT NULL) AND (erased_at IS NULL) = (erased_by IS NULL))
);

-- Personal data, sealed under its owner's key. There is none without a key.
CREATE TABLE personal_items (
    tenant  TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    item    TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL CHECK (version > 0),
    sealed  BYTEA NOT NULL,
    PRIMARY KEY (tenant, account, item),
    FOREIGN KEY (tenant, account) REFERENCES personal_keys (tenant, account)
);
