package walletsql_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	t.Run("marks of before", func(t *testing.T) { testMarksOfBefore(t, sqltest.Open(t, filepath.Join(t.TempDir(), "side.db"))) })
}

func TestPostgres(t *testing.T) {
	server := sqltest.StartPostgres(t)
	suites(t, func(t *testing.T) *walletsql.Store { return open(t, server.Database(t)) })
	t.Run("marks of before", func(t *testing.T) { testMarksOfBefore(t, sqltest.Open(t, server.Database(t))) })
	t.Run("away", func(t *testing.T) { testAway(t, server) })
}

func suites(t *testing.T, open func(t *testing.T) *walletsql.Store) {
	t.Run("personal", func(t *testing.T) {
		wallettest.TestPersonalStore(t, func(t *testing.T) wallet.PersonalStore { return open(t) })
	})
	t.Run("webhooks", func(t *testing.T) {
		wallettest.TestWebhookStore(t, func(t *testing.T) wallet.WebhookStore { return open(t) })
	})
	t.Run("marks", func(t *testing.T) { wallettest.TestWebhookMarks(t, open(t)) })
	t.Run("part", func(t *testing.T) { testPart(t, open(t)) })
	t.Run("owner", func(t *testing.T) { testOwner(t, open(t)) })
}

// people is a wallet that has all accounts.
type people struct{}

func (people) Account(_ context.Context, _ wallet.Tenant, id wallet.AccountID) (wallet.Account, wallet.Code, error) {
	return wallet.Account{ID: id}, wallet.Applied, nil
}

func (people) Decision(context.Context, wallet.Tenant, wallet.TransactionID) (wallet.Code, error) {
	return wallet.Applied, nil
}

// TestErased looks into the files of SQLite for what an erasure has destroyed: a key, and what was
// sealed under it.
func TestErased(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "side.db"))
	p, err := wallet.NewPersonal(t.Context(), s, people{}, wallet.MasterKey{1}, wallet.PersonalOptions{Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	ctx, alice := t.Context(), wallet.PersonalOwner{Tenant: "default", Account: "alice"}
	long := map[string]string{}
	for i := range 15 { // more than a page
		long[fmt.Sprint(i)] = strings.Repeat("x", 1000)
	}
	var secrets [][]byte
	for _, o := range []wallet.PersonalOwner{{Tenant: "default", Account: "before"}, alice, {Tenant: "default", Account: "zeta"}} {
		for _, d := range []wallet.PersonalData{{Text: "a name"}, {Text: "another", Metadata: long}} {
			if _, _, err := p.PutPersonal(ctx, o, wallet.ProfileItem, d, wallet.AnyVersion); err != nil {
				t.Fatal(err)
			}
			if o != alice {
				continue
			}
			err := s.ViewPersonal(ctx, func(ctx context.Context, tx wallet.PersonalTx) error {
				key, err1 := tx.Key(ctx, o)
				item, err2 := tx.Item(ctx, o, wallet.ProfileItem)
				secrets = append(secrets, key.Sealed, item.Sealed[:30], item.Sealed[len(item.Sealed)-30:])
				return errors.Join(err1, err2)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := found(t, dir, secrets); n == 0 {
		t.Fatal("the files do not have what was written")
	}
	if _, _, err := p.ErasePersonal(ctx, alice, ""); err != nil {
		t.Fatal(err)
	}
	if n := found(t, dir, secrets); n > 0 {
		t.Errorf("%d pieces of what was erased are in the files", n)
	}
	if _, _, err := p.Personal(ctx, wallet.PersonalOwner{Tenant: "default", Account: "zeta"}, wallet.ProfileItem); err != nil {
		t.Errorf("another's profile: %v", err)
	}
}

// found counts the texts that any file of a directory has.
func found(t *testing.T, dir string, texts [][]byte) (n int) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			n += bytes.Count(content, text)
		}
	}
	return n
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
