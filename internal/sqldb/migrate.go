package sqldb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// ErrNewer says that a newer version of the program has changed the tables.
var ErrNewer = errors.New("the database was changed by a newer version of the program")

const (
	// migrateLock is the number of PostgreSQL's advisory lock that one process has while it
	// changes the tables.
	migrateLock = 0x6d617275 // maru
	// migrateTries is how often, once a second, it is asked for.
	migrateTries = 60
)

var systemForm = regexp.MustCompile(`^[a-z]{1,32}$`)

// Migrate brings the tables of a system up to date: it applies those of its numbered migrations
// that have not been. They are in the directories sqlite and postgres of files, in goose's
// form, forward only: 0001_accounts.sql, 0002_… . Which ones were applied is in the table <system>_migrations, so
// that systems can share a database. Several processes may do it at once. Each migration is a transaction.
func (db *DB) Migrate(ctx context.Context, system string, files fs.FS) error {
	if !systemForm.MatchString(system) {
		return fmt.Errorf("sqldb: %q is not a system's name", system)
	}
	own, err := fs.Sub(files, db.dialect.String())
	if err != nil {
		return err
	}
	o := []goose.ProviderOption{goose.WithTableName(system + "_migrations"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	dialect := goose.DialectSQLite3
	if db.dialect == Postgres {
		dialect = goose.DialectPostgres
		one, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrateLock), lock.WithLockTimeout(1, migrateTries))
		if err != nil {
			return err
		}
		o = append(o, goose.WithSessionLocker(one))
	}
	p, err := goose.NewProvider(dialect, db.write, own, o...)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", system, err)
	}
	if err := migrate(ctx, p); err != nil {
		return fmt.Errorf("migrations of %s: %w", system, explain(ctx, ctx, err))
	}
	return nil
}

func migrate(ctx context.Context, p *goose.Provider) error {
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	current, known, err := p.GetVersions(ctx)
	if err == nil && current > known {
		err = fmt.Errorf("%w: its tables are of version %d, and this one knows %d", ErrNewer, current, known)
	}
	return err
}
