package walletsql_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/sqldb"
	"maru.example/internal/sqldb/sqltest"
	"maru.example/wallet"
	"maru.example/wallet/walletsql"
	"maru.example/wallet/wallettest"
)

// Example makes the tables of a wallet in a file.
func Example() {
	if err := example(); err != nil {
		fmt.Println(err)
	}
	// Output: marked with a master key: false
}

func example() error {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := sqldb.OpenSQLite(filepath.Join(dir, "side.db"), nil)
	if err != nil {
		return err
	}
	defer db.Close()
	store, err := walletsql.Open(context.Background(), db)
	if err != nil {
		return err
	}
	marked, err := wallet.PersonalMarked(context.Background(), store)
	fmt.Println("marked with a master key:", marked)
	return err
}

func open(t *testing.T, source string) *walletsql.Store {
	t.Helper()
	s, err := walletsql.Open(t.Context(), sqltest.Open(t, source))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSQLite and TestPostgres run the suites of all stores.
func TestSQLite(t *testing.T) {
	suites(t, func(t *testing.T) *walletsql.Store { return open(t, filepath.Join(t.TempDir(), "side.db")) })
}

func TestPostgres(t *testing.T) {
	server := sqltest.StartPostgres(t)
	suites(t, func(t *testing.T) *walletsql.Store { return open(t, server.Database(t)) })
	t.Run("away", func(t *testing.T) { testAway(t, server) })
}

func suites(t *testing.T, open func(t *testing.T) *walletsql.Store) {
	t.Run("personal", func(t *testing.T) {
		wallettest.TestPersonalStore(t, func(t *testing.T) wallet.PersonalStore { return open(t) })
	})
}

// testAway stops the database under a store.
func testAway(t *testing.T, server *sqltest.Server) {
	source := server.Database(t)
	s := open(t, source)
	server.Stop(t)
	if _, err := wallet.PersonalMarked(t.Context(), s); !errors.Is(err, wallet.ErrStoreUnavailable) {
		t.Errorf("a read returned %v, want %v", err, wallet.ErrStoreUnavailable)
	}
	if _, err := walletsql.Open(t.Context(), sqltest.Open(t, source)); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Errorf("Open returned %v, want %v", err, sqldb.ErrUnavailable)
	}
	server.Start(t)
	if _, err := wallet.PersonalMarked(t.Context(), s); err != nil {
		t.Errorf("a read when it is back: %v", err)
	}
}

// TestMigrations compares the two databases' migrations: they have the same names.
func TestMigrations(t *testing.T) {
	names := func(dialect sqldb.Dialect) (names []string) {
		files, err := fs.ReadDir(os.DirFS("migrations"), dialect.String())
		if err != nil || len(files) == 0 {
			t.Fatalf("%v: %d files, %v", dialect, len(files), err)
		}
		for _, f := range files {
			names = append(names, f.Name())
		}
		return names
	}
	if diff := cmp.Diff(names(sqldb.SQLite), names(sqldb.Postgres)); diff != "" {
		t.Errorf("migrations (-sqlite +postgres):\n%s", diff)
	}
}
