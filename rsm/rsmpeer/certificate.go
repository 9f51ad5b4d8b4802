package rsmpeer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"maru.example/internal/reload"
)

// protocolName is what peers agree on in the TLS handshake (ALPN), so that no
// other server of the same authority is taken for one.
const protocolName = "maru-peer"

// Certificates are the names of PEM files. They are read again when they
// changed; while what changed is not usable, what was read before stays in use.
// Connections that exist go on.
type Certificates struct {
	// Authority issued the certificates of all nodes, and of nothing else. The
	// file may hold several, such as the old one and the next.
	Authority string
	Chain     string // this node's certificate, and those between it and the authority
	Key       string
}

// credentials are what the files held.
type credentials struct {
	roots *x509.CertPool
	chain tls.Certificate
}

// security is how connections are shielded. The zero value is plain text on
// loopback.
type security struct {
	files *reload.Value[*credentials]
}

func newSecurity(c *Certificates, logger *slog.Logger) (security, error) {
	if c == nil {
		return security{}, nil
	}
	files, err := reload.New(c.load,
		func(err error) {
			logger.Error("the peers' certificates are not usable; the last ones stay in use", "error", err)
		},
		c.Authority, c.Chain, c.Key)
	if err != nil {
		return security{}, fmt.Errorf("peer certificates: %w", err)
	}
	return security{files}, nil
}

// Check returns an error if the files are not usable now, as [Listen] does.
func (c *Certificates) Check() error {
	if _, err := c.load(); err != nil {
		return fmt.Errorf("peer certificates: %w", err)
	}
	return nil
}

func (c *Certificates) load() (*credentials, error) {
	pem, err := os.ReadFile(c.Authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", c.Authority)
	}
	chain, err := tls.LoadX509KeyPair(c.Chain, c.Key)
	if err != nil {
		return nil, fmt.Errorf("%s with key %s: %w", c.Chain, c.Key, err)
	}
	l := &credentials{roots, chain}
	certs := []*x509.Certificate{chain.Leaf}
	for _, der := range chain.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Chain, err)
		}
		certs = append(certs, cert)
	}
	if err := l.verify(certs); err != nil {
		return nil, fmt.Errorf("%s is not issued by %s: %w", c.Chain, c.Authority, err)
	}
	return l, nil
}

// verify says whether a chain, its leaf first, comes from the authority.
func (c *credentials) verify(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         c.roots,
		Intermediates: between,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// config returns the configuration of a connection, the same on both sides.
func (s security) config() *tls.Config {
	c := s.files.Get()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocolName},
		Certificates:           []tls.Certificate{c.chain},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // a name is not looked for; VerifyConnection does the rest
		VerifyConnection:       func(cs tls.ConnectionState) error { return c.verify(cs.PeerCertificates) },
		SessionTicketsDisabled: true,
		// Peers have much to say at once.
		DynamicRecordSizingDisabled: true,
	}
}

// expires returns when this node's certificate ends, or zero.
func (s security) expires() time.Time {
	if s.files == nil {
		return time.Time{}
	}
	return s.files.Get().chain.Leaf.NotAfter
}

// dial connects to host:port.
func (s security) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1} // pings do that
	if s.files == nil {
		d.Control = func(_, addr string, _ syscall.RawConn) error { return s.check(addr) }
	}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil || s.files == nil {
		return raw, err
	}
	return shield(ctx, tls.Client(raw, s.config()), raw)
}

// accept shields a connection that was accepted.
func (s security) accept(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if s.files == nil {
		return raw, nil
	}
	return shield(ctx, tls.Server(raw, s.config()), raw)
}

// check returns ErrPlaintext if host:port must not be talked to.
func (s security) check(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if s.files == nil && !isLoopback(host) {
		return fmt.Errorf("%s: %w", addr, ErrPlaintext)
	}
	return nil
}

// isLoopback says whether a host means this machine only. Of names, only
// localhost may: what it means is looked at when it is dialed.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// A shieldedConn is a TLS connection that closes at once, without a farewell
// that could wait for a peer which reads no more. Frames end by themselves.
type shieldedConn struct {
	*tls.Conn
	raw net.Conn
}

func (c *shieldedConn) Close() error { return c.raw.Close() }

func shield(ctx context.Context, c *tls.Conn, raw net.Conn) (net.Conn, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return &shieldedConn{c, raw}, nil
}
