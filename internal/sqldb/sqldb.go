// Package sqldb opens the databases of what is not on a log: SQLite in a file of this
// process, or PostgreSQL, which several processes share. Both are used in the same way:
//
//	db, err := sqldb.OpenSQLite("side.db", nil) // or sqldb.OpenPostgres("postgres://…", nil)
//	err = db.Migrate(ctx, "wallet", migrations)
//	err = db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error { … })
//
// Statements are written in the SQL that both know, with parameters $1, $2 and so on;
// migrations, whose types differ, are written for each.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// ErrUnavailable says that the database is away or takes no writes, as far as this
// process can see. Of a transaction that was being committed it does not say what
// became of it.
var ErrUnavailable = errors.New("the database is not available")

// Dialect is the kind of a database.
type Dialect int

// The dialects.
const (
	SQLite Dialect = iota
	Postgres
)

// String returns the name of the directory with the dialect's migrations.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "sqlite"
	case Postgres:
		return "postgres"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// Options are the settings of a database; nil means all defaults.
type Options struct {
	// Timeout is for how long a transaction may take, with the time to connect and
	// to try again; default 5 s.
	Timeout time.Duration
	// MaxReaders is how many connections there are beside the one that writes, and with
	// PostgreSQL in all; default 8.
	MaxReaders int
}

const (
	defaultTimeout    = 5 * time.Second
	defaultMaxReaders = 8
)

func (o *Options) withDefaults() Options {
	var filled Options
	if o != nil {
		filled = *o
	}
	if filled.Timeout <= 0 {
		filled.Timeout = defaultTimeout
	}
	if filled.MaxReaders <= 0 {
		filled.MaxReaders = defaultMaxReaders
	}
	return filled
}

// DB is a database. It is safe for concurrent use.
type DB struct {
	dialect     Dialect
	read, write *sql.DB // the same with PostgreSQL
	options     Options
	counts      counts
}

// Dialect returns the kind of the database.
func (db *DB) Dialect() Dialect { return db.dialect }

// Close closes all connections.
func (db *DB) Close() error {
	err := db.write.Close()
	if db.read != db.write {
		err = errors.Join(err, db.read.Close())
	}
	return err
}

// Exec carries out a statement that cannot be in a transaction, such as one that makes a database.
func (db *DB) Exec(ctx context.Context, statement string) error {
	_, err := db.write.ExecContext(ctx, statement)
	return explain(ctx, ctx, err)
}

// maxTries is how often a transaction is tried that another one got in the way of.
const maxTries = 16

// Update runs f in a transaction that takes place as if it were alone, and commits it if f
// returns nil. In SQLite there is one at a time; in PostgreSQL the isolation is SERIALIZABLE, and f runs
// again when another transaction got in the way: it must leave nothing behind. What it asks
// of the database it asks with its context, which ends with the time that the transaction has. Where the
// database is away the error wraps [ErrUnavailable], unless ctx has ended.
func (db *DB) Update(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return db.run(ctx, db.write, &sql.TxOptions{Isolation: db.isolation()}, f)
}

// View runs f in a transaction that reads one state of the database. It is to Update in all
// else as reading is to writing.
func (db *DB) View(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	return db.run(ctx, db.read, &sql.TxOptions{Isolation: db.isolation(), ReadOnly: db.dialect == Postgres}, f)
}

// isolation returns the level at which transactions do not see each other. SQLite has no other.
func (db *DB) isolation() sql.IsolationLevel {
	if db.dialect == Postgres {
		return sql.LevelSerializable
	}
	return sql.LevelDefault
}

func (db *DB) run(parent context.Context, pool *sql.DB, o *sql.TxOptions, f func(ctx context.Context, tx *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(parent, db.options.Timeout)
	defer cancel()
	began := time.Now()
	var err error
	for try := range maxTries {
		if err = transact(ctx, pool, o, f); err == nil || !conflict(err) {
			break
		}
		db.counts.conflicts.Add(1)
		pause(ctx, try)
	}
	err = explain(parent, ctx, err)
	if errors.Is(err, ErrUnavailable) {
		db.counts.unavailable.Add(1)
	} else {
		db.counts.done.Add(1)
	}
	db.counts.took.Add(uint64(time.Since(began)))
	return err
}

// transact runs f in one transaction.
func transact(ctx context.Context, pool *sql.DB, o *sql.TxOptions, f func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := pool.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of no effect after a commit
	if err := f(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// pause waits a random time that doubles, from 1 ms to a quarter of a second, so that those
// that got in each other's way do not again.
func pause(ctx context.Context, try int) {
	t := time.NewTimer(rand.N(time.Millisecond << min(try, 8)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// explain returns an error that wraps ErrUnavailable if the database is what failed, or if it
// did not answer in the time that a transaction has.
func explain(parent, ctx context.Context, err error) error {
	switch {
	case err == nil, parent.Err() != nil:
		return err
	case away(err), conflict(err), ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}
