-- +goose Up
-- The wallet that the tables belong to: one row, or none until they are first used.
CREATE TABLE wallet_owner (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster TEXT NOT NULL,    -- id
    past    TEXT NOT NULL     -- incarnation of the cluster's first node: a wallet that was restored has another
) STRICT, WITHOUT ROWID;

-- The entry from which a lane was set back, as it was of another past, or beyond the end; 0: it was not.
ALTER TABLE webhook_lanes ADD COLUMN set_back INTEGER NOT NULL DEFAULT 0;
