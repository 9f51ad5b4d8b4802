package sqldb

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// connectTimeout bounds a connection's beginning, unless the URL has connect_timeout.
	connectTimeout = 3 * time.Second
	// idleTime is after how long a connection is closed that nobody needed.
	idleTime = 5 * time.Minute
)

// IsPostgres says whether a source is the URL of a PostgreSQL database.
func IsPostgres(source string) bool {
	return strings.HasPrefix(source, "postgres://") || strings.HasPrefix(source, "postgresql://")
}

// OpenPostgres opens the PostgreSQL database at a URL, such as postgres://user@host/database. It
// does not connect yet: a database that is away now is found out by what needs it.
func OpenPostgres(source string, o *Options) (*DB, error) {
	if !IsPostgres(source) {
		return nil, errors.New("not a URL like postgres://user@host/database")
	}
	config, err := pgx.ParseConfig(source)
	if err != nil {
		return nil, err // without the password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "maru"
	}
	db := &DB{dialect: Postgres, options: o.withDefaults()}
	db.write = stdlib.OpenDB(*config)
	db.write.SetMaxOpenConns(db.options.MaxReaders)
	db.write.SetMaxIdleConns(db.options.MaxReaders)
	db.write.SetConnMaxIdleTime(idleTime)
	db.read = db.write
	return db, nil
}

// Place returns where the PostgreSQL database at a URL is, completed from the environment: hosts, ports and name, and nothing that
// is secret or says who asks. Two places can be one database.
func Place(source string) (string, error) {
	if !IsPostgres(source) {
		return "", errors.New("not a URL like postgres://user@host/database")
	}
	config, err := pgx.ParseConfig(source)
	if err != nil {
		return "", err // without the password
	}
	u := url.URL{Scheme: "postgres", Path: "/" + config.Database}
	query := url.Values{}
	var hosts []string
	add := func(host string, port uint16) {
		if strings.HasPrefix(host, "/") { // the directory of a socket
			query.Set("host", host)
			query.Set("port", strconv.Itoa(int(port)))
		} else if at := net.JoinHostPort(host, strconv.Itoa(int(port))); !slices.Contains(hosts, at) {
			hosts = append(hosts, at)
		}
	}
	add(config.Host, config.Port)
	for _, f := range config.Fallbacks { // also the same without TLS
		add(f.Host, f.Port)
	}
	u.Host, u.RawQuery = strings.Join(hosts, ","), query.Encode()
	return u.String(), nil
}

// conflict says whether a transaction failed since others got in its way, so that it
// can be tried again.
func conflict(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "40001" || e.Code == "40P01" // serialization_failure, deadlock_detected
	}
	code := sqliteCode(err)
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

// away says whether an error is the database's being out of reach or unable to do anything, and
// not a statement's.
func away(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Connection exception, invalid authorization, insufficient resources, operator intervention, system error;
		// read_only_sql_transaction is a standby's answer.
		class := e.Code[:min(2, len(e.Code))]
		return strings.Contains("08 28 53 57 58", class) || e.Code == "25006" || e.Code == "3D000"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM:
		return true
	}
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, driver.ErrBadConn, sql.ErrConnDone, net.ErrClosed} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}
