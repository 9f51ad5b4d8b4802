// Package sqltest gives tests the databases of internal/sqldb: SQLite in a temporary file, and a
// PostgreSQL server that a test starts in a temporary directory, listening on a socket there, and that
// ends with it.
package sqltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"maru.example/internal/sqldb"
)

// Each runs a test on a new database of each kind. Where PostgreSQL is not installed
// that part is skipped.
func Each(t *testing.T, run func(t *testing.T, db *sqldb.DB)) {
	t.Run("sqlite", func(t *testing.T) {
		run(t, Open(t, filepath.Join(t.TempDir(), "test.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		run(t, Open(t, StartPostgres(t).Database(t)))
	})
}

// Open opens a database, at a URL of PostgreSQL or in a file of SQLite, until the test ends.
func Open(t testing.TB, source string) *sqldb.DB {
	t.Helper()
	open := sqldb.OpenSQLite
	if sqldb.IsPostgres(source) {
		open = sqldb.OpenPostgres
	}
	db, err := open(source, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close %s: %v", source, err)
		}
	})
	return db
}

// Server is a PostgreSQL server of a test's own.
type Server struct {
	dir       string // with the data and the socket
	bin       string
	owner     *syscall.Credential // nil: the test's own
	databases atomic.Int64
	address   string // for TLS, "" without
}

// StartPostgres starts a server, which ends with the test. The test is skipped if PostgreSQL is
// not installed, or cannot run here.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	return start(t, false)
}

// StartPostgresTLS starts a server that listens on 127.0.0.1 too, with a certificate for localhost: see [Server.OverTLS].
func StartPostgresTLS(t testing.TB) *Server {
	t.Helper()
	return start(t, true)
}

func start(t testing.TB, encrypted bool) *Server {
	t.Helper()
	bin, err := findPostgres()
	if err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "maru-pg-") //nolint:usetesting // t.TempDir is closed to the user that the server runs as, and its path too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{dir: dir, bin: bin}
	if os.Geteuid() == 0 {
		s.disown(t)
	}
	s.run(t, "initdb", "--pgdata", s.data(), "--username", "maru", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if encrypted {
		s.encrypt(t)
	}
	s.Start(t)
	t.Cleanup(func() { _ = s.command("pg_ctl", "--pgdata", s.data(), "--mode", "immediate", "stop").Run() })
	return s
}

// disown gives the server's directory to another user: PostgreSQL refuses to be root.
func (s *Server) disown(t testing.TB) {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2, os.Chown(s.dir, int(uid), int(gid))); err != nil {
			t.Fatal(err)
		}
		s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return
	}
	t.Skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

// Start starts the server again after Stop.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	listens := "-c listen_addresses="
	if host, port, err := net.SplitHostPort(s.address); err == nil {
		listens = "-c listen_addresses=" + host + " -c port=" + port + " -c ssl=on -c ssl_cert_file=" + s.file(chainName) + " -c ssl_key_file=" + s.file(keyName)
	}
	settings := listens + " -c fsync=off -c shared_buffers=16MB -c max_connections=60 -c unix_socket_directories=" + s.dir
	s.run(t, "pg_ctl", "--pgdata", s.data(), "--log", filepath.Join(s.dir, "log"), "--options", settings, "--wait", "start")
}

// Stop stops the server, as an operator would who is in a hurry: who is connected loses the connection.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.run(t, "pg_ctl", "--pgdata", s.data(), "--mode", "fast", "--wait", "stop")
}

// Database makes a new database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.Exec(t, "CREATE DATABASE "+name)
	return s.url(name)
}

// Exec carries out a statement as the server's owner.
func (s *Server) Exec(t testing.TB, statement string) {
	t.Helper()
	db, err := sqldb.OpenPostgres(s.url("postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Exec(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) url(database string) string {
	q := url.Values{"host": {s.dir}}
	if _, port, err := net.SplitHostPort(s.address); err == nil {
		q.Set("port", port) // the socket is named so
	}
	u := url.URL{Scheme: "postgres", User: url.User("maru"), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// run runs a command of PostgreSQL, and fails the test if it fails.
func (s *Server) run(t testing.TB, name string, args ...string) {
	t.Helper()
	c := s.command(name, args...)
	// The server inherits what pg_ctl prints to, so that a pipe would stay open.
	out, err := os.CreateTemp(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	c.Stdout, c.Stderr = out, out
	if err := c.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		t.Fatalf("%s: %v\n%s\n%s", name, err, said, log)
	}
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "LC_ALL=C", "PGTZ=UTC")
	if s.owner != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	}
	return c
}

// findPostgres returns the directory of PostgreSQL's programs: initdb is in PATH, or where
// Debian puts it.
func findPostgres() (string, error) {
	if name, err := exec.LookPath("initdb"); err == nil {
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return "", err
		}
		return filepath.Dir(name), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed (Debian: apt-get install postgresql)")
	}
	return filepath.Dir(found[len(found)-1]), nil
}
