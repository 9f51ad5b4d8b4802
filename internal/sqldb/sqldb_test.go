package sqldb_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"maru.example/internal/sqldb"
	"maru.example/internal/sqldb/sqltest"
)

func migrations() fs.FS { return os.DirFS("testdata") }

func migrate(t *testing.T, db *sqldb.DB) {
	t.Helper()
	if err := db.Migrate(t.Context(), "test", migrations()); err != nil {
		t.Fatal(err)
	}
}

func set(ctx context.Context, db *sqldb.DB, name string, value int64, data []byte) error {
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO counter (name, value, bytes) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value, bytes = excluded.bytes`, name, value, data)
		return err
	})
}

func get(ctx context.Context, db *sqldb.DB, name string) (value int64, data []byte, err error) {
	err = db.View(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT value, bytes FROM counter WHERE name = $1", name).Scan(&value, &data)
	})
	return value, data, err
}

func TestDB(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db)
		t.Run("what is committed is read", func(t *testing.T) { testCommit(t, db) })
		t.Run("what fails leaves nothing", func(t *testing.T) { testRollback(t, db) })
		t.Run("transactions are as if alone", func(t *testing.T) { testSerializable(t, db) })
		t.Run("a reader cannot write", func(t *testing.T) { testReadOnly(t, db) })
		t.Run("a statement that is wrong is not the database's being away", func(t *testing.T) { testWrong(t, db) })
		t.Run("migrations are applied once, by many at once", func(t *testing.T) { testMigrateAgain(t, db) })
		t.Run("a system has migrations of its own", func(t *testing.T) { testOtherSystem(t, db) })
		t.Run("tables of a newer program are refused", func(t *testing.T) { testNewer(t, db) })
	})
}

func testCommit(t *testing.T, db *sqldb.DB) {
	want := []byte{0, 1, 255}
	if err := set(t.Context(), db, "a", 1<<62, want); err != nil {
		t.Fatal(err)
	}
	value, data, err := get(t.Context(), db, "a")
	if err != nil || value != 1<<62 || !bytes.Equal(data, want) {
		t.Errorf("got %d, %x, %v, want %d, %x", value, data, err, int64(1<<62), want)
	}
}

func testRollback(t *testing.T, db *sqldb.DB) {
	stop := errors.New("stop")
	err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO counter (name, value) VALUES ('gone', 1)"); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) || errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("Update returned %v, want %v", err, stop)
	}
	if _, _, err := get(t.Context(), db, "gone"); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("what was rolled back: %v, want %v", err, sql.ErrNoRows)
	}
}

// testSerializable lets many add one to a number that each has read before.
func testSerializable(t *testing.T, db *sqldb.DB) {
	const adders, each = 4, 5
	if err := set(t.Context(), db, "sum", 0, nil); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range adders {
		all.Go(func() {
			for range each {
				if err := addOne(t.Context(), db); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if value, _, err := get(t.Context(), db, "sum"); err != nil || value != adders*each {
		t.Errorf("sum is %d, %v, want %d", value, err, adders*each)
	}
}

func addOne(ctx context.Context, db *sqldb.DB) error {
	return db.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var n int64
		if err := tx.QueryRowContext(ctx, "SELECT value FROM counter WHERE name = 'sum'").Scan(&n); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE counter SET value = $1 WHERE name = 'sum'", n+1)
		return err
	})
}

func testReadOnly(t *testing.T, db *sqldb.DB) {
	err := db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM counter")
		return err
	})
	if err == nil {
		t.Error("a view has deleted rows")
	}
}

func testWrong(t *testing.T, db *sqldb.DB) {
	err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
		return err
	})
	if err == nil || errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("got %v, want an error that is not %v", err, sqldb.ErrUnavailable)
	}
}

func testMigrateAgain(t *testing.T, db *sqldb.DB) {
	if err := set(t.Context(), db, "kept", 1, nil); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := db.Migrate(t.Context(), "test", migrations()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if value, _, err := get(t.Context(), db, "kept"); err != nil || value != 1 {
		t.Errorf("a row is %d, %v after migrations that were applied before, want 1", value, err)
	}
}

func testOtherSystem(t *testing.T, db *sqldb.DB) {
	other := fstest.MapFS{db.Dialect().String() + "/0001_other.sql": {Data: []byte("-- +goose Up\nCREATE TABLE other (n INTEGER);\n")}}
	if err := db.Migrate(t.Context(), "other", other); err != nil {
		t.Error(err)
	}
	if err := db.Migrate(t.Context(), "no system", other); err == nil {
		t.Error("a name with a space was taken")
	}
}

func testNewer(t *testing.T, db *sqldb.DB) {
	dir := db.Dialect().String()
	newer := fstest.MapFS{}
	for i := range 2 {
		newer[fmt.Sprintf("%s/%04d_n.sql", dir, i+1)] = &fstest.MapFile{Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE newer%d (n INTEGER);\n", i)}
	}
	if err := db.Migrate(t.Context(), "newer", newer); err != nil {
		t.Fatal(err)
	}
	delete(newer, dir+"/0002_n.sql")
	if err := db.Migrate(t.Context(), "newer", newer); !errors.Is(err, sqldb.ErrNewer) {
		t.Errorf("Migrate returned %v, want %v", err, sqldb.ErrNewer)
	}
}

func TestSQLiteDeletes(t *testing.T) {
	dir := t.TempDir()
	db := sqltest.Open(t, filepath.Join(dir, "test.db"))
	migrate(t, db)
	secret := bytes.Repeat([]byte("a secret that has to go"), 1000)
	if err := set(t.Context(), db, "secret", 1, secret); err != nil {
		t.Fatal(err)
	}
	if n := countIn(t, dir, secret[:23]); n == 0 {
		t.Fatal("the files do not have what was written")
	}
	err := db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM counter WHERE name = 'secret'")
		return err
	})
	if err == nil {
		err = db.Scrub(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := countIn(t, dir, secret[:23]); n > 0 {
		t.Errorf("%d pieces of what was deleted are in the files", n)
	}
}

// TestSQLiteScrubWaits has a reader that sees what was deleted.
func TestSQLiteScrubWaits(t *testing.T) {
	db := sqltest.Open(t, filepath.Join(t.TempDir(), "test.db"))
	migrate(t, db)
	if err := set(t.Context(), db, "a", 1, nil); err != nil {
		t.Fatal(err)
	}
	reads, done := make(chan struct{}), make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		err := db.View(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			var n int
			err := tx.QueryRowContext(ctx, "SELECT count(*) FROM counter").Scan(&n)
			close(reads)
			<-done
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-reads
	if err := set(t.Context(), db, "b", 1, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if err := db.Scrub(ctx); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("Scrub beside a reader returned %v, want %v", err, sqldb.ErrUnavailable)
	}
	cancel()
	close(done)
	reader.Wait()
	if err := db.Scrub(t.Context()); err != nil {
		t.Errorf("Scrub after the reader: %v", err)
	}
}

// countIn counts how often the files of a directory have some bytes.
func countIn(t *testing.T, dir string, want []byte) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		n += bytes.Count(text, want)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSQLiteFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder? 100% & more")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "test.db")
	migrate(t, sqltest.Open(t, name))
	for _, file := range []string{name, name + "-wal", name + "-shm"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", file, info.Mode().Perm())
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), []byte("this is no database, but a file of something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqldb.OpenSQLite(filepath.Join(dir, "other"), nil); err == nil {
		t.Error("a file that is no database was opened")
	}
}

func TestPostgresAway(t *testing.T) {
	server := sqltest.StartPostgres(t)
	source := server.Database(t)
	db := sqltest.Open(t, source)
	migrate(t, db)
	if err := set(t.Context(), db, "a", 1, nil); err != nil {
		t.Fatal(err)
	}
	t.Run("a transaction that gets no answer ends", func(t *testing.T) { testHangs(t, source, db) })
	server.Stop(t)
	for range 2 { // with a connection that broke, and without one
		if _, _, err := get(t.Context(), db, "a"); !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("View returned %v, want %v", err, sqldb.ErrUnavailable)
		}
		if err := set(t.Context(), db, "a", 2, nil); !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("Update returned %v, want %v", err, sqldb.ErrUnavailable)
		}
	}
	if err := db.Migrate(t.Context(), "test", migrations()); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("Migrate returned %v, want %v", err, sqldb.ErrUnavailable)
	}
	server.Start(t)
	if value, _, err := get(t.Context(), db, "a"); err != nil || value != 1 {
		t.Errorf("back again it has %d, %v, want 1", value, err)
	}
}

// testHangs has a row locked by one transaction that another one waits for.
func testHangs(t *testing.T, source string, db *sqldb.DB) {
	hasty, err := sqldb.OpenPostgres(source, &sqldb.Options{Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer hasty.Close()
	err = db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE counter SET value = 1 WHERE name = 'a'"); err != nil {
			return err
		}
		if err := set(t.Context(), hasty, "a", 2, nil); !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("the transaction that waits: %v, want %v", err, sqldb.ErrUnavailable)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := set(ctx, hasty, "a", 2, nil); !errors.Is(err, context.Canceled) || errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("a transaction that was given up: %v, want %v", err, context.Canceled)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPostgresURL(t *testing.T) {
	for _, source := range []string{"", "side.db", "mysql://localhost/maru", "postgres://%zz", "postgres://localhost:port/maru?password=hidden"} {
		db, err := sqldb.OpenPostgres(source, nil)
		if err == nil {
			_ = db.Close()
			t.Errorf("%q was opened", source)
		} else if bytes.Contains([]byte(err.Error()), []byte("hidden")) {
			t.Errorf("%q: the error tells the password: %v", source, err)
		}
	}
}

// TestPlace has what may be remembered of a URL: neither the password nor the user.
func TestPlace(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	for source, want := range map[string]string{
		"postgres://maru:secret@db.example.com/wallet":                                       "postgres://db.example.com:5432/wallet",
		"postgresql://maru:secret@db.example.com:6432/wallet?sslmode=require":                "postgres://db.example.com:6432/wallet",
		"postgres://db.example.com/wallet?user=maru&password=secret":                         "postgres://db.example.com:5432/wallet",
		"postgres://maru:secret@a,b:7777/wallet?target_session_attrs=read-write":             "postgres://a:5432,b:7777/wallet",
		"postgres://maru:secret@[::1]/wallet":                                                "postgres://[::1]:5432/wallet",
		"postgres://maru@/wallet?host=/run/postgresql&password=secret&application_name=else": "postgres:///wallet?host=%2Frun%2Fpostgresql&port=5432",
	} {
		if got, err := sqldb.Place(source); got != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", source, got, err, want)
		}
	}
	for _, source := range []string{"mysql://host/wallet", "postgres://maru:secret@host:port/wallet"} {
		if got, err := sqldb.Place(source); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %s, %v", source, got, err)
		}
	}
}
