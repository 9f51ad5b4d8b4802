package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"maru.example/wallet"
)

// TestBenchHTTPCaller checks the hand-made requests and answers against net/http.
func TestBenchHTTPCaller(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		status  int
		body    string
		want    wallet.Code
		wantErr string
	}{
		{name: "applied", status: 200, body: `{"status":"success","transaction_id":"x"}`, want: wallet.Applied},
		{name: "refused", status: 422, body: `{"title":"no","code":"insufficient_funds"}`, want: wallet.InsufficientFunds},
		{name: "full", status: 429, body: `{"code":"busy"}`, wantErr: errBenchBusy.Error()},
		{name: "another problem", status: 503, body: `{"code":"disk_full"}`, wantErr: "status 503"},
		{name: "no JSON", status: 500, body: "oops", wantErr: "oops"},
		{name: "success with another status", status: 202, body: `{"status":"success"}`, wantErr: "status 202"},
		{name: "too long", status: 200, body: strings.Repeat("x", maxBenchAnswer+1), wantErr: "content length"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var bodies []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/wallet/balance_transfer" ||
					r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("request %v: %v", r, err)
				}
				bodies = append(bodies, string(body))
				w.Header().Set("Content-Length", fmt.Sprint(len(test.body)))
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			}))
			defer server.Close()
			u, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", hostPort(u))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			p := testPlan(100, 0, 7)
			c := newHTTPCaller(p, conn, u.Host, &credentials{key: "secret"})
			for n := range uint64(3) { // on one connection
				c.prepare(n, 1)
				results, err := c.call(t.Context())
				if test.wantErr != "" {
					if err == nil || !strings.Contains(err.Error(), test.wantErr) {
						t.Fatalf("got %v, want an error with %q", err, test.wantErr)
					}
					return
				}
				if err != nil || results[0] != wallet.Result(test.want) {
					t.Fatalf("got %v, %v, want %v", results, err, test.want)
				}
				s := p.sides(n)
				want := fmt.Sprintf(`{"from_account":%q,"to_account":%q,"amount":%q,"currency":"USD","transaction_id":%q}`,
					p.account(s.from), p.account(s.to), s.amount.Format(p.currency), p.id(n))
				if bodies[n] != want {
					t.Errorf("body %s, want %s", bodies[n], want)
				}
			}
		})
	}
}

// TestBenchHTTPCallerBadAnswers gives the caller what is not HTTP, or ends early.
func TestBenchHTTPCallerBadAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, answer string }{
		{"nothing", ""},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n"},
		{"no status", "HTTP/1.1 abc OK\r\n\r\n"},
		{"no length", "HTTP/1.1 200 OK\r\n\r\n{}"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n{}"},
		{"length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"},
		{"end in the header", "HTTP/1.1 200 OK\r\nContent-Le"},
		{"end in the body", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"status\":\"success\""},
		{"a line without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<16)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := net.Pipe()
			defer ours.Close()
			go func() {
				defer theirs.Close()
				if _, err := theirs.Read(make([]byte, 4096)); err != nil {
					t.Error(err)
				}
				io.WriteString(theirs, test.answer)
			}()
			c := newHTTPCaller(testPlan(2, 0, 1), ours, "host", &credentials{})
			c.prepare(0, 1)
			if got, err := c.call(t.Context()); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestBenchHTTPCallerDeadline(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	c := newHTTPCaller(testPlan(2, 0, 1), ours, "host", &credentials{})
	c.prepare(0, 1)
	var timeout net.Error
	if _, err := c.call(ctx); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestBenchHostPort(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://a:81":   "a:81",
		"http://a":      "a:80",
		"https://a.b":   "a.b:443",
		"https://[::1]": "[::1]:443",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostPort(u); got != want {
			t.Errorf("hostPort(%s): got %s, want %s", in, got, want)
		}
	}
}
