package sqldb

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Hint says what an operator can do about an error of a database, "" where that is not known.
func Hint(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "3D000":
			return "there is no such database: make it with CREATE DATABASE, or correct the name in the URL"
		case e.Code == "28P01":
			return "correct the password in the URL, in PGPASSWORD or in ~/.pgpass"
		case strings.HasPrefix(e.Code, "28"):
			return "there is no such user, or pg_hba.conf does not let it in from here"
		case e.Code == "42501":
			return "the user needs the right to make tables: GRANT USAGE, CREATE ON SCHEMA public TO it, or let it own the database"
		case e.Code == "25006":
			return "that is a standby, which takes no writes: name the primary in the URL, or several hosts and target_session_attrs=read-write"
		case e.Code == "53300":
			return "the server has no connection left: raise its max_connections, or let others go"
		}
		return ""
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "with sslmode=verify-full the host in the URL has to be a name in the server's certificate"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the server's certificate is of another authority than the one in sslrootcert: give the file of that which issued it"
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return "the server's certificate does not count (any more): renew it"
	}
	switch _, network := errors.AsType[net.Error](err); {
	case errors.Is(err, ErrNewer):
		return "run the newer version of this program that has changed the tables"
	case errors.Is(err, fs.ErrNotExist):
		return "a file that the URL names is not there: sslrootcert, sslcert or sslkey"
	case err != nil && strings.Contains(err.Error(), "refused TLS"):
		return "the server has TLS switched off: set ssl = on in its postgresql.conf"
	case network:
		return "the server does not answer: is it running, are host and port in the URL right, and listen_addresses of its postgresql.conf?"
	}
	return ""
}
