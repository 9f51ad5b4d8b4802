package httpd_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/internal/httpd"
)

// dial connects to addr until the test ends.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestConnectionsAreLimited opens one connection more than there may be, and
// another when one has ended.
func TestConnectionsAreLimited(t *testing.T) {
	const most = 3
	var log strings.Builder
	l, err := httpd.Listen(t.Context(), "127.0.0.1:0", httpd.Security{}, &httpd.ListenOptions{
		MaxConnections: most, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	ended := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	var open []net.Conn
	connect := func() {
		dial(t, l.Addr().String())
		open = append(open, <-accepted)
	}
	for range most {
		connect()
	}
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("one more: got %v, want %v", err, syscall.ECONNRESET)
		}
	}
	if got, want := l.Metrics(), (httpd.ListenerMetrics{Open: most, Refused: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	_ = open[0].Close()
	_ = open[0].Close() // which counts once
	connect()
	for _, c := range open {
		_ = c.Close()
	}
	if got, want := l.Metrics(), (httpd.ListenerMetrics{Refused: 2}); got != want {
		t.Errorf("in the end: got %+v, want %+v", got, want)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if got := strings.Count(log.String(), "--max-connections"); got != 1 {
		t.Errorf("got %d warnings, want 1:\n%s", got, log.String())
	}
}

// pipes is a listener in memory, for bubbles of testing/synctest.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	closed := make(chan struct{})
	return &pipes{make(chan net.Conn), closed, sync.OnceFunc(func() { close(closed) })}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.close()
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// connect opens a connection and sends some bytes. The function that it returns
// waits for the end of the connection, and says what came and how long it took.
func (p *pipes) connect(t *testing.T, send string) (c net.Conn, end func() (string, time.Duration)) {
	t.Helper()
	c, far := net.Pipe()
	p.conns <- far
	start := time.Now()
	var got []byte
	var took time.Duration
	done := make(chan struct{})
	go func() {
		got, _ = io.ReadAll(c)
		took = time.Since(start)
		close(done)
	}()
	if _, err := io.WriteString(c, send); err != nil {
		t.Error(err)
	}
	return c, func() (string, time.Duration) {
		<-done
		_ = c.Close()
		return string(got), took
	}
}

// echo answers with a request's body.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		httpd.NewProblem(http.StatusRequestTimeout, "body_timeout", err.Error()).Write(w)
		return
	}
	_, _ = w.Write(b)
})

const halfARequest = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab"

// TestTimeOfABody sees when a request is answered whose body does not arrive.
func TestTimeOfABody(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.Handler
		status  string
		want    time.Duration
	}{
		"wanted":     {echo, "HTTP/1.1 408", httpd.DefaultRequestTimeout},
		"not wanted": {hello, "HTTP/1.1 200", 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, s := newPipes(), httpd.NewServer(test.handler, nil)
				go func() { _ = s.Serve(p) }()
				_, end := p.connect(t, halfARequest)
				if got, took := end(); took != test.want || !strings.HasPrefix(got, test.status) {
					t.Errorf("got %q after %v, want %q after %v", got, took, test.status, test.want)
				}
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestShutdownWaitsForNobodyInVain sees how long a connection holds up a server
// that stops.
func TestShutdownWaitsForNobodyInVain(t *testing.T) {
	for name, test := range map[string]struct {
		send, later string
		answer      string
		want        time.Duration // from the stop on
	}{
		"nothing":       {"", "", "", 0},
		"half a header": {"POST / HTTP/1.1\r\nHost: loc", "", "", 0},
		"between two":   {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "", "HTTP/1.1 200", 0},
		"half a body":   {halfARequest, "", "HTTP/1.1 408", 2 * time.Second},
		"a late body":   {halfARequest, "cde", "HTTP/1.1 200", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, s := newPipes(), httpd.NewServer(echo, nil)
				go func() { _ = s.Serve(p) }()
				c, end := p.connect(t, test.send)
				synctest.Wait()
				stopped := make(chan error)
				go func() { stopped <- s.Shutdown(context.WithoutCancel(t.Context())) }()
				if test.later != "" {
					time.Sleep(time.Second)
					if _, err := io.WriteString(c, test.later); err != nil {
						t.Error(err)
					}
				}
				if got, took := end(); took != test.want || !strings.HasPrefix(got, test.answer) || test.answer == "" && got != "" {
					t.Errorf("got %q after %v, want %q after %v", got, took, test.answer, test.want)
				}
				if err := <-stopped; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestPathsThatAreNotClean sees that no request is answered with a redirect.
func TestPathsThatAreNotClean(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/things/{id}", hello)
	mux.Handle("/", httpd.NotFound(mux))
	_, addr := start(t, mux, nil)
	for _, test := range []struct {
		path   string
		status int
		code   string
	}{
		{"/things/1", 200, ""},
		{"/things/a%2F%2Fb", 200, ""},
		{"/things/..%2F1", 200, ""},
		{"/things/1/", 404, "not_found"},
		{"//things/1", 404, "not_found"},
		{"/things//1", 404, "not_found"},
		{"/things/./1", 404, "not_found"},
		{"/things/../things/1", 404, "not_found"},
		{"/things/..", 404, "not_found"},
		{"//healthz", 404, "not_found"},
		{"/", 404, "not_found"},
		{"//", 404, "not_found"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(method+" "+test.path, func(t *testing.T) {
				do(t, request(t, method, "http://"+addr+test.path, "")).want(t, test.status, test.code)
			})
		}
	}
}
