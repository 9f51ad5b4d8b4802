-- +goose Up
-- The wallet that the tables belong to: one row, or none until they are first used.
CREATE TABLE wallet_owner (
    one     BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    cluster TEXT COLLATE "C" NOT NULL,    -- id
    past    TEXT COLLATE "C" NOT NULL     -- incarnation of the cluster's first node: a wallet that was restored has another
);

-- The entry from which a lane was set back, as it was of another past, or beyond the end; 0: it was not.
ALTER TABLE webhook_lanes ADD COLUMN set_back BIGINT NOT NULL DEFAULT 0;
