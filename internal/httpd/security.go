package httpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"maru.example/internal/reload"
)

// Errors of Listen. They say what to do.
var (
	ErrNotLoopback = errors.New("without API keys only this machine may be served: create a key with `maru key create`, or listen on 127.0.0.1")
	ErrPlaintext   = errors.New("API keys must not cross a network in plain text: give a certificate with --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy")
)

// Security says how the clients of a listener are known and shielded.
type Security struct {
	Keys bool        // requests carry API keys
	TLS  *tls.Config // nil: plain text; see [LoadTLS]
	// InsecurePlaintext allows keys in plain text beyond loopback, for a network
	// that encrypts by itself.
	InsecurePlaintext bool
}

// Check returns nil if these clients may be served at host:port: without keys
// only on loopback ([ErrNotLoopback]), with keys elsewhere only by TLS
// ([ErrPlaintext]).
func (s Security) Check(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	switch {
	case isLoopback(host):
		return nil
	case !s.Keys:
		return fmt.Errorf("listen on %s: %w", addr, ErrNotLoopback)
	case s.TLS == nil && !s.InsecurePlaintext:
		return fmt.Errorf("listen on %s: %w", addr, ErrPlaintext)
	}
	return nil
}

// isLoopback says whether a host means this machine only. Other names than
// localhost are not looked up: what they mean can change.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// LoadTLS returns a configuration that shows the certificate chain of a PEM file
// and its key. The files are read again when they changed. While a changed pair
// is not readable the last one stays in use and the logger is told.
func LoadTLS(certFile, keyFile string, logger *slog.Logger) (*tls.Config, error) {
	pair, err := reload.New(
		func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(certFile, keyFile)
			return &c, err
		},
		func(err error) { logger.Error("certificate is not readable; the last one stays in use", "error", err) },
		certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil },
	}, nil
}
