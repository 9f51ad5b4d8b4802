package wallethook

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"maru.example/wallet"
	"maru.example/wallet/wallettest"
)

// TestServers delivers to real servers that misbehave once, in different ways, and then do not.
func TestServers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  http.HandlerFunc
		status int
		text   string // of the first error
	}{
		{"500", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "out of order\x00", http.StatusInternalServerError)
		}, 500, "500 Internal Server Error: out of order"},
		{"429", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 429, "429 Too Many Requests"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, 302, "302 Found"},
		{"it closes the connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "EOF"},
		{"it answers nonsense", func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(c, "hello\r\n\r\n")
			c.Close()
		}, 0, "malformed HTTP"},
		{"it does not answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "no answer within"},
		{"it does not end its answer", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, 500, "no answer within|500 Internal Server Error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			received := make(chan *http.Request, 10)
			bodies := make(chan []byte, 10)
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if requests.Add(1) == 1 {
					tt.first(w, r)
					return
				}
				received <- r
				bodies <- body
			}))
			t.Cleanup(server.Close)
			e, p := serve(t, &Options{Timeout: 200 * time.Millisecond})
			s := create(t, e, &wallet.NewWebhook{URL: server.URL, Kinds: []wallet.EventKind{wallet.Debit}})
			p.transfer(p.accounts[0], p.accounts[1], 5)
			p.commit()
			r, body := <-received, <-bodies
			verifier, err := standardwebhooks.NewWebhook(FormatSecret(s.Secrets[0].Key))
			if err != nil {
				t.Fatal(err)
			}
			if err := verifier.Verify(body, r.Header); err != nil {
				t.Errorf("signature: %v", err)
			}
			if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("User-Agent") != userAgent {
				t.Errorf("%s %s by %s", r.Method, r.URL, r.Header.Get("User-Agent"))
			}
			e.Close()
			attempts, err := e.WebhookAttempts(t.Context(), wallet.DefaultTenant, s.ID, 10)
			if err != nil || len(attempts) == 0 {
				t.Fatalf("attempts %+v, %v", attempts, err)
			}
			a, found := attempts[len(attempts)-1], false
			for text := range strings.SplitSeq(tt.text, "|") {
				found = found || strings.Contains(a.Error, text)
			}
			if a.Status != tt.status || !found {
				t.Errorf("the first attempt has status %d and error %q, want %d and %q", a.Status, a.Error, tt.status, tt.text)
			}
		})
	}
}

// serve returns an engine that makes real requests, and its partition.
func serve(t *testing.T, o *Options) (*Engine, *part) {
	t.Helper()
	o.Backoff, o.PollEvery, o.SaveEvery = time.Millisecond, 5*time.Millisecond, time.Millisecond
	w := newWorld(1, 2)
	e := New(&wallettest.WebhookMemory{}, w, w.partitions(), o)
	t.Cleanup(e.Close)
	return e, w[0]
}

func TestTLS(t *testing.T) {
	received := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Header.Get("Webhook-Id") }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	e, _ := serve(t, &Options{})
	s := create(t, e, &wallet.NewWebhook{URL: server.URL, Kinds: []wallet.EventKind{wallet.Debit}})
	a, err := e.TestWebhook(t.Context(), wallet.DefaultTenant, s.ID)
	if err != nil || !strings.Contains(a.Error, "certificate") || a.Status != 0 {
		t.Errorf("a certificate of nobody: %+v, %v", a, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := newTransport(false).(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	e, _ = serve(t, &Options{Transport: transport})
	s = create(t, e, &wallet.NewWebhook{URL: server.URL, Kinds: []wallet.EventKind{wallet.Debit}})
	if a, err = e.TestWebhook(t.Context(), wallet.DefaultTenant, s.ID); err != nil || a.Error != "" {
		t.Errorf("a certificate that is trusted: %+v, %v", a, err)
	}
	if id := <-received; id != a.Message {
		t.Errorf("received %s, sent %s", id, a.Message)
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		address       string
		anywhere, out bool // allowed; and with PublicOnly
	}{
		{"127.0.0.1:80", true, false},
		{"[::1]:80", true, false},
		{"10.1.2.3:443", true, false},
		{"[fd00::1]:443", true, false},
		{"[::ffff:192.168.0.1]:443", true, false},
		{"100.64.0.1:443", true, false},
		{"169.254.169.254:80", false, false},
		{"[fe80::1%eth0]:80", false, false},
		{"224.0.0.1:80", false, false},
		{"0.0.0.0:80", false, false},
		{"[::]:80", false, false},
		{"8.8.8.8:443", true, true},
		{"[64:ff9b::7f00:1]:80", true, false},
		{"[64:ff9b::a9fe:a9fe]:80", false, false},
		{"[64:ff9b::808:808]:80", true, true},
		{"[64:ff9b:1::808:808]:80", true, false},
		{"[2002:a01:203::1]:80", true, false},
		{"[2002:a9fe:a9fe::]:80", false, false},
		{"[2002:808:808::1]:80", true, true},
		{"[2001:0:808:808::f5fe:fdfc]:80", true, false},
		{"[2001:0:808:808::f7f7:f7f7]:80", true, true},
		{"[::10.0.0.1]:80", true, false},
		{"[2001:4860:4860::8888]:443", true, true},
	} {
		for _, public := range []bool{false, true} {
			want := tt.anywhere
			if public {
				want = tt.out
			}
			err := checkAddress(tt.address, public)
			if (err == nil) != want || err != nil && !errors.Is(err, errAddress) {
				t.Errorf("checkAddress(%s, %v) = %v", tt.address, public, err)
			}
		}
	}
}

func TestPublicOnly(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e, _ := serve(t, &Options{PublicOnly: true})
	n := &wallet.NewWebhook{URL: "http://" + l.Addr().String(), Kinds: []wallet.EventKind{wallet.Debit}}
	if _, err := e.CreateWebhook(t.Context(), wallet.DefaultTenant, n); !errors.Is(err, wallet.ErrWebhook) {
		t.Errorf("made with such an address: %v", err)
	}
	e.o.PublicOnly = false // as it was when the webhook was made; the transport is as before
	s := create(t, e, n)
	a, err := e.TestWebhook(t.Context(), wallet.DefaultTenant, s.ID)
	if err != nil || !strings.Contains(a.Error, "127.0.0.1 is not public") {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestKeepAlive uses one connection for many messages.
func TestKeepAlive(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ids := make(chan string)
	go func() {
		c, err := l.Accept() // one only
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
			ids <- r.Header.Get("Webhook-Id")
		}
	}()
	e, p := serve(t, &Options{})
	n := &wallet.NewWebhook{URL: "http://" + l.Addr().String(), Kinds: []wallet.EventKind{wallet.Debit, wallet.Credit}}
	create(t, e, n)
	for range 50 {
		p.transfer(p.accounts[0], p.accounts[1], 1)
		p.commit()
	}
	for _, want := range expected(p, n, 0) {
		if got := <-ids; got != want {
			t.Fatalf("received %s, want %s", got, want)
		}
	}
}
