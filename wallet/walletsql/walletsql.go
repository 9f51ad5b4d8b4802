// Package walletsql keeps what a wallet has beside its log, in SQLite or PostgreSQL: see
// [maru.example/internal/sqldb]. It implements [wallet.PersonalStore] and
// [wallet.WebhookStore].
package walletsql

import (
	"context"
	"embed"
	"io/fs"

	"maru.example/internal/sqldb"
)

//go:embed migrations
var migrations embed.FS

// Store is a wallet's tables in a database.
type Store struct {
	db    *sqldb.DB
	owner *Owner // nil: it was not claimed
}

// Open brings the wallet's tables in a database up to date. The database remains the
// caller's to close.
func Open(ctx context.Context, db *sqldb.DB) (*Store, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "wallet", files); err != nil {
		return nil, err
	}
	return &Store{db: db}, nil
}
