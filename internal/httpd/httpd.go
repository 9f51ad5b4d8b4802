// Package httpd is the plumbing of an HTTP server: listening safely, limits on
// everything a client can make large or slow, health, and a graceful stop.
//
// Whatever it refuses by itself it answers with a [Problem].
package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	DefaultReadHeaderTimeout = 5 * time.Second
	DefaultIdleTimeout       = 2 * time.Minute
	DefaultRequestTimeout    = 10 * time.Second
	DefaultMaxHeaderBytes    = 16 << 10
	DefaultMaxBodyBytes      = 1 << 20
	DefaultMaxRequests       = 4096
)

// writeGrace is how much longer than its deadline a request may take to be
// written to a slow client.
const writeGrace = 15 * time.Second

// bodyGrace is how long a server that stops waits for the rest of a body.
const bodyGrace = 2 * time.Second

// Options are the settings of a server; nil means all defaults.
type Options struct {
	ReadHeaderTimeout time.Duration // of the header's last byte, from its first
	IdleTimeout       time.Duration // between two requests on a connection
	// RequestTimeout is the deadline of each request's context. Its body has to
	// arrive in that time too.
	RequestTimeout time.Duration
	MaxHeaderBytes int
	MaxBodyBytes   int64
	// MaxRequests is how many requests may be under way at once. One more is
	// answered 429 at once, as waiting would only move the queue.
	MaxRequests int

	// Streams says whether a request is for a stream, which ends with the client or the server,
	// and not after RequestTimeout: the handler bounds its writes. Its context ends with
	// the cause ErrStopping when the server stops. The default is that none is.
	Streams func(*http.Request) bool

	// Ready returns why requests should go elsewhere, or nil. Its text is shown
	// at /readyz. The default is always ready.
	Ready func() error
	// Warnings returns what somebody should see to although requests are served; each is a line of
	// /readyz behind its first. The default is none.
	Warnings func() []string
	// Metrics serves /metrics; the default is no such page.
	Metrics http.Handler
	// Observe is called after each request of the handler with the pattern that
	// it matched, "" if none; the default does nothing.
	Observe func(pattern string, status int, took time.Duration)
	// Local is for a server without authentication: it turns away requests that
	// a web page open in a browser on this machine can be made to send.
	Local  bool
	Logger *slog.Logger // default: discards
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	d.ReadHeaderTimeout = or(d.ReadHeaderTimeout, DefaultReadHeaderTimeout)
	d.IdleTimeout = or(d.IdleTimeout, DefaultIdleTimeout)
	d.RequestTimeout = or(d.RequestTimeout, DefaultRequestTimeout)
	d.MaxHeaderBytes = or(d.MaxHeaderBytes, DefaultMaxHeaderBytes)
	d.MaxBodyBytes = or(d.MaxBodyBytes, DefaultMaxBodyBytes)
	d.MaxRequests = or(d.MaxRequests, DefaultMaxRequests)
	if d.Streams == nil {
		d.Streams = func(*http.Request) bool { return false }
	}
	if d.Ready == nil {
		d.Ready = func() error { return nil }
	}
	if d.Warnings == nil {
		d.Warnings = func() []string { return nil }
	}
	if d.Observe == nil {
		d.Observe = func(string, int, time.Duration) {}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

func or[T comparable](value, other T) T {
	var zero T
	if value == zero {
		return other
	}
	return value
}

// Server serves a handler, and /healthz, /readyz and /metrics beside it.
type Server struct {
	http     http.Server
	o        Options
	handler  http.Handler
	underWay atomic.Int64
	stopping atomic.Bool
	life     context.Context //nolint:containedctx // it ends when the server stops
	end      context.CancelCauseFunc

	mu     sync.Mutex
	silent map[net.Conn]struct{} // connections that have made no request yet
	bodies map[*body]struct{}    // that are arriving
}

// NewServer returns a server of h.
func NewServer(h http.Handler, o *Options) *Server {
	s := &Server{o: o.withDefaults(), handler: h, silent: make(map[net.Conn]struct{}), bodies: make(map[*body]struct{})}
	s.life, s.end = context.WithCancelCause(context.Background())
	s.http = http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: s.o.ReadHeaderTimeout,
		ReadTimeout:       s.o.RequestTimeout,
		WriteTimeout:      s.o.RequestTimeout + writeGrace,
		IdleTimeout:       s.o.IdleTimeout,
		MaxHeaderBytes:    s.o.MaxHeaderBytes,
		ConnState:         s.connState,
		ErrorLog:          slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Handler returns everything that the server serves, for tests and for servers
// that are not listened to in the ordinary way.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers requests that arrive at l, as [Listen] returns it, until
// Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	serve := s.http.Serve
	if t, ok := l.(*Listener); ok && t.config != nil {
		s.http.TLSConfig = t.config
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown turns unready, takes no more connections, and returns when the
// requests under way are answered. Connections without a request are closed at
// once, and what is missing of a body has a short time to arrive. When ctx ends
// first it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	s.end(ErrStopping)
	s.hurry()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off: %w", err), s.http.Close())
	}
	return nil
}
