package httpd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/internal/httpd"
	"maru.example/internal/reload"
)

func TestSecurityCheck(t *testing.T) {
	open, keys := httpd.Security{}, httpd.Security{Keys: true}
	keysAndTLS := httpd.Security{Keys: true, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}
	tlsOnly := httpd.Security{TLS: keysAndTLS.TLS}
	plain := httpd.Security{Keys: true, InsecurePlaintext: true}
	for _, test := range []struct {
		addr     string
		security httpd.Security
		want     error
	}{
		{"127.0.0.1:0", open, nil},
		{"127.8.9.10:0", open, nil},
		{"localhost:0", open, nil},
		{"[::1]:0", open, nil},
		{"[::ffff:127.0.0.1]:0", open, nil},
		{"127.0.0.1:0", keys, nil},
		{":0", open, httpd.ErrNotLoopback},
		{"0.0.0.0:0", open, httpd.ErrNotLoopback},
		{"[::]:0", open, httpd.ErrNotLoopback},
		{"192.0.2.1:0", open, httpd.ErrNotLoopback},
		{"localhost.example:0", open, httpd.ErrNotLoopback},
		{"0.0.0.0:0", tlsOnly, httpd.ErrNotLoopback},
		{"0.0.0.0:0", httpd.Security{InsecurePlaintext: true}, httpd.ErrNotLoopback},
		{"0.0.0.0:0", keys, httpd.ErrPlaintext},
		{"wallet.example:0", keys, httpd.ErrPlaintext},
		{"0.0.0.0:0", keysAndTLS, nil},
		{"0.0.0.0:0", plain, nil},
	} {
		t.Run(test.addr, func(t *testing.T) {
			if err := test.security.Check(test.addr); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if test.want == nil {
				return
			}
			if l, err := httpd.Listen(t.Context(), test.addr, test.security, nil); !errors.Is(err, test.want) {
				t.Errorf("listen: got %v, %v", l, err)
			}
		})
	}
	if err := open.Check("127.0.0.1"); err == nil {
		t.Error("an address without port is taken")
	}
}

func TestListenReportsAPortInUse(t *testing.T) {
	l, err := httpd.Listen(t.Context(), "127.0.0.1:0", httpd.Security{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var op *net.OpError
	if _, err := httpd.Listen(t.Context(), l.Addr().String(), httpd.Security{}, nil); !errors.As(err, &op) {
		t.Errorf("got %v", err)
	}
}

// certificate writes a certificate for 127.0.0.1 with a serial number, and its key.
func certificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-24 * 365 * 100 * time.Hour), // in a synctest bubble it is the year 2000
		NotAfter:     time.Now().Add(24 * 365 * 100 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate(t, certFile, keyFile, 1)
	config, err := httpd.LoadTLS(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, addr := startOn(t, hello, nil, httpd.Security{TLS: config})

	roots := x509.NewCertPool()
	pemBytes, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(pemBytes)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	resp, err := client.Do(request(t, http.MethodGet, "https://"+addr+"/", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, resp); got.Body != "hello" || resp.ProtoMajor != 2 {
		t.Errorf("got %q over %s, want hello over HTTP/2", got.Body, resp.Proto)
	}
	if got := get(t, "http://"+addr+"/"); got.Status != http.StatusBadRequest {
		t.Errorf("plain text to a TLS port: got %d", got.Status)
	}
}

func TestCertificatesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		certificate(t, certFile, keyFile, 1)
		config, err := httpd.LoadTLS(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		serial := func() int64 {
			c, err := config.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return c.Leaf.SerialNumber.Int64()
		}
		certificate(t, certFile, keyFile, 2)
		time.Sleep(reload.CheckEvery)
		if got := serial(); got != 2 {
			t.Errorf("got certificate %d, want the new one", got)
		}
		certificate(t, filepath.Join(dir, "other.pem"), keyFile, 3)
		time.Sleep(reload.CheckEvery)
		if got := serial(); got != 2 {
			t.Errorf("key of another certificate: got certificate %d, want the last good one", got)
		}
	})
}

func TestLoadTLSRefuses(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.pem"), filepath.Join(dir, "b.pem")
	certificate(t, a, b, 1)
	for name, files := range map[string][2]string{
		"no file":   {filepath.Join(dir, "none"), b},
		"exchanged": {b, a},
	} {
		if _, err := httpd.LoadTLS(files[0], files[1], slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
