package httpd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/httpd"
)

// start serves h on a free port of loopback until the test ends.
func start(t *testing.T, h http.Handler, o *httpd.Options) (s *httpd.Server, addr string) {
	t.Helper()
	return startOn(t, h, o, httpd.Security{})
}

func startOn(t *testing.T, h http.Handler, o *httpd.Options, security httpd.Security) (s *httpd.Server, addr string) {
	t.Helper()
	l, err := httpd.Listen(t.Context(), "127.0.0.1:0", security, nil)
	if err != nil {
		t.Fatal(err)
	}
	s = httpd.NewServer(h, o)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		// A test that stops the server itself makes this one a no-op.
		if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// answer is what the tests look at of a response.
type answer struct {
	Status  int
	Code    string // of a problem
	Detail  string // of a problem
	Body    string // of anything else
	Headers http.Header
}

func do(t *testing.T, r *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, resp)
}

// read reads a response and checks the form of a problem.
func read(t *testing.T, resp *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	a := answer{Status: resp.StatusCode, Headers: resp.Header}
	if resp.Header.Get("Content-Type") != httpd.ProblemType {
		a.Body = string(body)
		return a
	}
	var p httpd.Problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if p.Status != resp.StatusCode || p.Title != http.StatusText(p.Status) || p.Code == "" || p.Detail == "" {
		t.Errorf("incomplete problem %s with status %d", body, resp.StatusCode)
	}
	a.Code, a.Detail = p.Code, p.Detail
	return a
}

func get(t *testing.T, url string) answer {
	t.Helper()
	return do(t, request(t, http.MethodGet, url, ""))
}

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (a answer) want(t *testing.T, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code != code {
		t.Errorf("got %d %q %s, want %d %q", a.Status, a.Code, a.Body, status, code)
	}
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })

func TestPagesOfTheOperator(t *testing.T) {
	var reason error
	s, addr := start(t, hello, &httpd.Options{Metrics: hello, Ready: func() error { return reason }, Warnings: func() []string { return []string{"it lost something"} }})
	get(t, "http://"+addr+"/healthz").want(t, 200, "")
	get(t, "http://"+addr+"/readyz").want(t, 200, "")
	if got := get(t, "http://"+addr+"/readyz").Body; got != "ok\nwarning: it lost something\n" {
		t.Errorf("ready: got %q", got)
	}
	if got := get(t, "http://"+addr+"/metrics").Body; got != "hello" {
		t.Errorf("metrics: got %q", got)
	}
	for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
		got := do(t, request(t, http.MethodPost, "http://"+addr+page, ""))
		got.want(t, 405, "method_not_allowed")
		if allow := got.Headers.Get("Allow"); allow != "GET, HEAD" {
			t.Errorf("%s: got Allow %q", page, allow)
		}
	}
	reason = errors.New("disk nearly full")
	get(t, "http://"+addr+"/readyz").want(t, 503, "not_ready")
	get(t, "http://"+addr+"/healthz").want(t, 200, "")
	reason = nil

	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		reason error
		want   string
	}{
		{"stopping", nil, "the server is stopping"},
		{"stopping for a reason", errors.New("log failed"), "log failed"},
	} {
		reason = tt.reason
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", http.NoBody))
		got := read(t, w.Result())
		got.want(t, 503, "not_ready")
		if got.Detail != tt.want {
			t.Errorf("%s: got the detail %q, want %q", tt.name, got.Detail, tt.want)
		}
	}
}

// Without a page of metrics its path is the handler's.
func TestNoMetrics(t *testing.T) {
	_, addr := start(t, hello, nil)
	if got := get(t, "http://"+addr+"/metrics").Body; got != "hello" {
		t.Errorf("got %q", got)
	}
}

func TestPanics(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	var observed []int
	_, addr := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/late":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half an answ")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		panic("broken")
	}), &httpd.Options{
		Logger: slog.New(slog.NewTextHandler(&locked{mu: &mu, b: &log}, nil)),
		Observe: func(_ string, status int, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			observed = append(observed, status)
		},
	})
	get(t, "http://"+addr+"/early").want(t, 500, "internal")
	for _, path := range []string{"/late", "/abort"} {
		// On a connection used before, the client would ask again.
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := fresh.Do(request(t, http.MethodGet, "http://"+addr+path, ""))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the answer looks whole", path)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Count(log.String(), "panic=broken"); got != 2 {
		t.Errorf("got %d panics logged, want 2", got)
	}
	if diff := cmp.Diff([]int{500, 500, 500}, observed); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestTooManyRequests(t *testing.T) {
	arrived, release := make(chan bool), make(chan bool)
	_, addr := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- true
		<-release
	}), &httpd.Options{MaxRequests: 2})
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() { get(t, "http://"+addr+"/").want(t, 200, "") })
		<-arrived
	}
	got := get(t, "http://"+addr+"/")
	got.want(t, 429, "busy")
	if after := got.Headers.Get("Retry-After"); after != "1" {
		t.Errorf("got Retry-After %q", after)
	}
	get(t, "http://"+addr+"/healthz").want(t, 200, "")
	close(release)
	waiting.Wait()
	go func() { <-arrived }()
	get(t, "http://"+addr+"/").want(t, 200, "")
}

func TestEveryRequestHasADeadline(t *testing.T) {
	_, addr := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		httpd.NewProblem(http.StatusGatewayTimeout, "deadline_exceeded", r.Context().Err().Error()).Write(w)
	}), &httpd.Options{RequestTimeout: time.Millisecond})
	get(t, "http://"+addr+"/").want(t, 504, "deadline_exceeded")
}

func TestLargeBodiesAndHeaders(t *testing.T) {
	_, addr := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			httpd.NewProblem(http.StatusRequestEntityTooLarge, "body_too_large", err.Error()).Write(w)
		}
	}), &httpd.Options{MaxBodyBytes: 10, MaxHeaderBytes: 1 << 10})
	do(t, request(t, http.MethodPost, "http://"+addr+"/", "0123456789")).want(t, 200, "")
	do(t, request(t, http.MethodPost, "http://"+addr+"/", "0123456789a")).want(t, 413, "body_too_large")
	long := request(t, http.MethodGet, "http://"+addr+"/", "")
	long.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	if got := do(t, long); got.Status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", got.Status)
	}
}

// A client that sends one byte now and then is cut off.
func TestSlowClients(t *testing.T) {
	_, addr := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			httpd.NewProblem(http.StatusRequestTimeout, "body_timeout", err.Error()).Write(w)
		}
	}), &httpd.Options{ReadHeaderTimeout: 20 * time.Millisecond, RequestTimeout: 40 * time.Millisecond})
	for name, test := range map[string]struct{ send, want string }{
		"nothing":          {"", ""},
		"half a header":    {"POST / HTTP/1.1\r\nHost: loc", ""},
		"header, no body":  {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 408"},
		"half a body":      {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab", "HTTP/1.1 408"},
		"chunk never ends": {"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na", "HTTP/1.1 408"},
	} {
		t.Run(name, func(t *testing.T) {
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, test.send); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn) // ends when the server closes the connection
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(got), test.want) || test.want == "" && len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 408") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestShutdown(t *testing.T) {
	arrived, release := make(chan bool, 1), make(chan bool)
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- true
		<-release
		io.WriteString(w, "done")
	})
	t.Run("answers what is under way", func(t *testing.T) {
		s, addr := start(t, slow, nil)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if got := get(t, "http://"+addr+"/").Body; got != "done" {
				t.Errorf("got %q", got)
			}
		})
		<-arrived
		ended := make(chan error, 1)
		go func() { ended <- s.Shutdown(context.WithoutCancel(t.Context())) }()
		release <- true
		waiting.Wait()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		var d net.Dialer
		if conn, err := d.DialContext(t.Context(), "tcp", addr); err == nil {
			conn.Close()
			t.Error("takes connections after the end")
		}
	})
	t.Run("ends when its time is over", func(t *testing.T) {
		s, addr := start(t, slow, nil)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if resp, err := http.DefaultClient.Do(request(t, http.MethodGet, "http://"+addr+"/", "")); err == nil {
				resp.Body.Close()
				t.Error("got an answer")
			}
		})
		<-arrived
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Shutdown(over); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		waiting.Wait()
		release <- true
	})
}

// Without keys, web pages that run in a browser on the same machine are clients
// that nobody asked for.
func TestLocalTurnsAwayWebPages(t *testing.T) {
	for _, test := range []struct {
		name, method, host, origin, site string
		status                           int
		code                             string
	}{
		{"a program", "POST", "127.0.0.1:7070", "", "", 200, ""},
		{"a program by name", "POST", "localhost", "", "", 200, ""},
		{"a program over IPv6", "POST", "[::1]:7070", "", "", 200, ""},
		{"IPv6 without port", "POST", "[::1]", "", "", 200, ""},
		{"the own page", "POST", "localhost:7070", "http://localhost:7070", "same-origin", 200, ""},
		{"another site's form", "POST", "localhost:7070", "https://evil.example", "cross-site", 403, "cross_origin"},
		{"an old browser", "POST", "localhost:7070", "https://evil.example", "", 403, "cross_origin"},
		{"another port's page", "POST", "localhost:7070", "http://localhost:8080", "same-site", 403, "cross_origin"},
		{"a link on another site", "GET", "localhost:7070", "", "cross-site", 200, ""},
		{"rebound name", "POST", "evil.example:7070", "http://evil.example:7070", "same-origin", 421, "wrong_host"},
		{"rebound name, reading", "GET", "evil.example", "", "same-origin", 421, "wrong_host"},
		{"another address", "GET", "192.0.2.1:7070", "", "", 421, "wrong_host"},
		{"name like localhost", "GET", "localhost.evil.example", "", "", 421, "wrong_host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httpd.NewServer(hello, &httpd.Options{Local: true})
			r := httptest.NewRequest(test.method, "/", http.NoBody)
			r.Host = test.host
			for name, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			read(t, w.Result()).want(t, test.status, test.code)
		})
	}
	s := httpd.NewServer(hello, nil)
	r := httptest.NewRequest(http.MethodPost, "http://wallet.example/", http.NoBody)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	read(t, w.Result()).want(t, 200, "")
}

func TestNotFound(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("GET /things/{id}", hello)
	mux.Handle("PUT /things/{id}", hello)
	mux.Handle("/", httpd.NotFound(mux))
	for _, test := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/things/1", 200, "", ""},
		{"HEAD", "/things/1", 200, "", ""},
		{"POST", "/things/1", 405, "method_not_allowed", "GET, HEAD, PUT"},
		{"BREW", "/things/1", 405, "method_not_allowed", "GET, HEAD, PUT"},
		{"GET", "/things", 404, "not_found", ""},
		{"GET", "/", 404, "not_found", ""},
		{"POST", "/things/1/2", 404, "not_found", ""},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(test.method, test.path, http.NoBody))
			got := read(t, w.Result())
			got.want(t, test.status, test.code)
			if allow := got.Headers.Get("Allow"); allow != test.allow {
				t.Errorf("got Allow %q, want %q", allow, test.allow)
			}
		})
	}
}

func TestLogsRequestsAtDebugLevelOnly(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "level=DEBUG msg=request method=GET path=/x status=200 bytes=5 took=0s remote=192.0.2.1:1234\n",
		slog.LevelInfo:  "",
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			s := httpd.NewServer(hello, &httpd.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
				Level: level,
				ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				},
			}))})
			s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", http.NoBody))
			if diff := cmp.Diff(want, log.String()); diff != "" {
				t.Errorf("%v (-want +got):\n%s", level, diff)
			}
		})
	}
}

func TestObserve(t *testing.T) {
	type seen struct {
		Pattern string
		Status  int
		Took    time.Duration
	}
	synctest.Test(t, func(t *testing.T) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /things/{id}", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			w.WriteHeader(http.StatusTeapot)
		})
		var got []seen
		s := httpd.NewServer(mux, &httpd.Options{Observe: func(p string, status int, d time.Duration) { got = append(got, seen{p, status, d}) }})
		for _, path := range []string{"/things/1", "/none", "/healthz"} {
			s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, http.NoBody))
		}
		want := []seen{{"GET /things/{id}", 418, time.Second}, {"", 404, 0}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func BenchmarkServer(b *testing.B) {
	s := httpd.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil).Handler()
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, r)
	}
}

func Example() {
	ctx := context.Background()
	_, err := httpd.Listen(ctx, "0.0.0.0:7070", httpd.Security{}, nil)
	fmt.Println(err)

	l, err := httpd.Listen(ctx, "127.0.0.1:0", httpd.Security{}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	s := httpd.NewServer(http.NotFoundHandler(), &httpd.Options{Local: true})
	ended := make(chan error)
	go func() { ended <- s.Serve(l) }()
	fmt.Println(s.Shutdown(ctx))
	fmt.Println(<-ended)
	// Output:
	// listen on 0.0.0.0:7070: without API keys only this machine may be served: create a key with `maru key create`, or listen on 127.0.0.1
	// <nil>
	// <nil>
}
