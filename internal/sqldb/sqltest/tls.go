package sqltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The files of a server with TLS.
const (
	authorityName = "ca.pem"
	chainName     = "server.pem"
	keyName       = "server.key"
)

// OverTLS returns the URL of a database of a server of StartPostgresTLS, at localhost, for a user, whose
// certificate is verified in full with a file of an authority; "" stands for the right one.
func (s *Server) OverTLS(t testing.TB, database, user, authority string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	if authority == "" {
		authority = s.file(authorityName)
	}
	u.Host, u.User = net.JoinHostPort("localhost", port), url.User(user)
	u.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {authority}}.Encode()
	return u.String()
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// encrypt makes certificates, and finds a port that is free.
func (s *Server) encrypt(t testing.TB) {
	t.Helper()
	WriteCertificates(t, s.file(authorityName), s.file(chainName), s.file(keyName))
	if s.owner != nil { // the key has to be the server's own
		if err := os.Chown(s.file(keyName), int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// WriteCertificates writes an authority, and a certificate for localhost that it issued, with its key.
func WriteCertificates(t testing.TB, authority, chain, key string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	servers, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maru test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	caBytes, err := x509.CreateCertificate(rand.Reader, ca, ca, &own.PublicKey, own)
	must(err)
	leafBytes, err := x509.CreateCertificate(rand.Reader, leaf, ca, &servers.PublicKey, own)
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(servers)
	must(err)
	must(os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caBytes}), 0o644))
	must(os.WriteFile(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafBytes}), 0o644))
	must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}
