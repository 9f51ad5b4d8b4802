package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqlitePragmas are the settings of each connection to SQLite. With synchronous FULL
// a transaction is on the disk when it is committed; with secure_delete what is deleted is overwritten
// with zeros; temporary tables are in no file.
var sqlitePragmas = []string{
	"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)", "foreign_keys(ON)", "temp_store(MEMORY)",
}

// OpenSQLite opens the database in a file of SQLite, which is made if it is not there, for
// its owner alone to read. Of several processes on this machine that have it open, one writes at a time.
func OpenSQLite(file string, o *Options) (*DB, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600) // SQLite gives its other files the same rights
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db := &DB{dialect: SQLite, options: o.withDefaults()}
	if db.write, err = openSQLite(file, url.Values{"_txlock": {"immediate"}}); err != nil {
		return nil, err
	}
	db.write.SetMaxOpenConns(1)
	if db.read, err = openSQLite(file, url.Values{"_query_only": {"true"}}); err != nil {
		return nil, errors.Join(err, db.write.Close())
	}
	db.read.SetMaxOpenConns(db.options.MaxReaders)
	db.read.SetMaxIdleConns(db.options.MaxReaders)
	// What a process that was killed had deleted may still be in the write-ahead log.
	ctx, cancel := context.WithTimeout(context.Background(), db.options.Timeout)
	defer cancel()
	if err := db.Scrub(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", file, err), db.Close())
	}
	return db, nil
}

func openSQLite(file string, parameters url.Values) (*sql.DB, error) {
	parameters["_pragma"] = sqlitePragmas
	name := url.URL{Scheme: "file", Path: file, RawQuery: parameters.Encode()}
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	return sql.OpenDB(connector), nil
}

// scrubPause is for pause: up to 8 ms until it is tried again to empty the write-ahead log, while somebody reads.
const scrubPause = 3

// Scrub makes what was deleted unreadable in the database's files: with SQLite it writes the
// write-ahead log, where earlier forms of pages are, into the database, where they are overwritten, and
// empties it. It waits for readers until ctx ends. With PostgreSQL it does nothing: see the documentation
// of what keeps deleted rows there.
func (db *DB) Scrub(ctx context.Context) error {
	if db.dialect != SQLite {
		return nil
	}
	for {
		var busy, pages, moved int
		err := db.write.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: what was deleted is still in the write-ahead log, as somebody reads: %w", ErrUnavailable, ctx.Err())
		case err != nil && !conflict(err):
			return explain(ctx, ctx, err)
		case err == nil && busy == 0:
			return nil
		}
		pause(ctx, scrubPause)
	}
}

// sqliteCode returns the primary result code of an error of SQLite, 0 if it is none.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return sqlite3.SQLITE_OK
}
