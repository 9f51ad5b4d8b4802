-- +goose Up
-- Keys of personal data, or what is left of them. The row without tenant and account is the mark of the master key.
CREATE TABLE personal_keys (
    tenant    TEXT NOT NULL,
    account   TEXT NOT NULL,
    sealed    BLOB,             -- under the master key; NULL once it was destroyed
    version   INTEGER NOT NULL CHECK (version > 0),
    erased_at INTEGER,          -- nanoseconds since 1970 UTC
    erased_by TEXT,             -- id of an API key, or empty
    PRIMARY KEY (tenant, account),
    CHECK ((sealed IS NULL) = (erased_at IS NOT NULL) AND (erased_at IS NULL) = (erased_by IS NULL))
) STRICT, WITHOUT ROWID;

-- Personal data, sealed under its owner's key. There is none without a key.
CREATE TABLE personal_items (
    tenant  TEXT NOT NULL,
    account TEXT NOT NULL,
    item    TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    sealed  BLOB NOT NULL,
    PRIMARY KEY (tenant, account, item),
    FOREIGN KEY (tenant, account) REFERENCES personal_keys (tenant, account)
) STRICT, WITHOUT ROWID;
