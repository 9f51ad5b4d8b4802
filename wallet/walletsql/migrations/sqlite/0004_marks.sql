-- +goose Up
-- The newest entry of each partition that is known here: nothing was told of one behind it, and no lane is further.
CREATE TABLE webhook_marks (
    part   INTEGER NOT NULL PRIMARY KEY,
    entry  INTEGER NOT NULL,
    digest BLOB    -- of the entry; NULL: not known
) STRICT, WITHOUT ROWID;
INSERT INTO webhook_marks (part, entry)
SELECT part, MAX(CASE WHEN number > 0 THEN entry ELSE entry - 1 END) FROM webhook_lanes WHERE entry > 1 GROUP BY part;

-- Drawn when the tables were given to a log that had parted from the one that they knew; empty: they never were.
ALTER TABLE wallet_owner ADD COLUMN branch TEXT NOT NULL DEFAULT '';
