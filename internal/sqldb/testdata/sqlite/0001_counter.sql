-- +goose Up
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL,
    bytes BLOB
) STRICT;
