package sqldb_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"maru.example/internal/sqldb"
	"maru.example/internal/sqldb/sqltest"
)

// TestHints meets a PostgreSQL server with TLS in the wrong ways, each of which says what to do.
func TestHints(t *testing.T) {
	s := sqltest.StartPostgresTLS(t)
	database := s.Database(t)
	good := s.OverTLS(t, database, "maru", "")
	other := filepath.Join(t.TempDir(), "other.pem")
	sqltest.WriteCertificates(t, other, other+".chain", other+".key")
	s.Exec(t, "CREATE ROLE weak LOGIN")
	for _, tt := range []struct {
		name, url, want string
		here            bool // the database is not away
	}{
		{"as it should be", good, "", true},
		{"another authority", s.OverTLS(t, database, "maru", other), "another authority than the one in sslrootcert", false},
		{"another name", strings.Replace(good, "localhost", "127.0.0.1", 1), "a name in the server's certificate", false},
		{"no file of the authority", s.OverTLS(t, database, "maru", other+".none"), "a file that the URL names is not there", false},
		{"no such database", strings.Replace(good, "/test1", "/test2", 1), "there is no such database", false},
		{"no such user", s.OverTLS(t, database, "nobody", ""), "there is no such user", false},
		{"no rights", s.OverTLS(t, database, "weak", ""), "GRANT USAGE, CREATE ON SCHEMA public", true},
	} {
		t.Run(tt.name, func(t *testing.T) { checkHint(t, tt.url, tt.want, tt.here) })
	}
	db := sqltest.Open(t, good)
	if m := db.Metrics(); m.Done != 0 || m.Open != 0 {
		t.Errorf("before the first transaction: %+v", m)
	}
	use := func() error {
		return db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS t (n BIGINT)")
			return err
		})
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	if err := use(); sqldb.Hint(err) == "" && !strings.Contains(err.Error(), "57P01") { // or the connection was being closed
		t.Errorf("without the server: %v, and no hint", err)
	}
	s.Start(t)
	for use() != nil { // a connection of before may be met once more
		if t.Context().Err() != nil {
			t.Fatal("it does not come back")
		}
	}
	if m := db.Metrics(); m.Done < 2 || m.Unavailable == 0 || m.Open == 0 || m.Took <= 0 {
		t.Errorf("afterwards: %+v", m)
	}
}

func checkHint(t *testing.T, url, want string, here bool) {
	db, err := sqldb.OpenPostgres(url, nil)
	if err == nil {
		defer func() { _ = db.Close() }()
		err = db.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS t (n BIGINT)")
			return err
		})
		if away := strings.Contains(errorText(err), sqldb.ErrUnavailable.Error()); away == here {
			t.Errorf("it is away: %v; %v", away, err)
		}
	}
	if hint := sqldb.Hint(err); (err == nil) != (want == "") || !strings.Contains(hint, want) {
		t.Errorf("%v\nhint: %s\nwant: %s", err, hint, want)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
