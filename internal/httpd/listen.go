package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxConnections is how many connections of a listener are open at once.
const DefaultMaxConnections = 4096

// warnEvery is how often at most a listener says that it refuses connections.
const warnEvery = time.Minute

// ListenOptions are the settings of a listener; nil means all defaults.
type ListenOptions struct {
	// MaxConnections is how many connections may be open at once. One more is
	// reset at once. In the backlog it would wait where nobody sees it, for as
	// long as the others stay; so its client knows, can go elsewhere, and is
	// counted. Default [DefaultMaxConnections].
	MaxConnections int
	Logger         *slog.Logger // told that connections are refused; default: discards
}

// Listener is a TCP listener with a limit on its open connections.
type Listener struct {
	*net.TCPListener
	config *tls.Config // nil: plain text
	most   int64
	logger *slog.Logger

	open    atomic.Int64
	refused atomic.Uint64
	warned  time.Time // Accept's
}

// ListenerMetrics are the counts of a listener.
type ListenerMetrics struct {
	Open    int64  // connections that are open
	Refused uint64 // connections reset as too many were open
}

// Metrics returns the counts.
func (l *Listener) Metrics() ListenerMetrics {
	return ListenerMetrics{Open: l.open.Load(), Refused: l.refused.Load()}
}

// Listen listens on host:port if s allows it. Serve speaks TLS on the listener
// if s has it.
func Listen(ctx context.Context, addr string, s Security, o *ListenOptions) (*Listener, error) {
	if err := s.Check(addr); err != nil {
		return nil, err
	}
	if o == nil {
		o = &ListenOptions{}
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// A hosts file can give localhost another address.
	if err := s.Check(tcp.Addr().String()); err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return &Listener{
		TCPListener: tcp.(*net.TCPListener),
		config:      s.TLS,
		most:        int64(or(o.MaxConnections, DefaultMaxConnections)),
		logger:      or(o.Logger, slog.New(slog.DiscardHandler)),
	}, nil
}

// Accept returns the next connection that there is room for.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &conn{TCPConn: c, gone: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		l.refuse(c)
	}
}

// refuse resets a connection, so that nothing of it remains here.
func (l *Listener) refuse(c *net.TCPConn) {
	refused := l.refused.Add(1)
	if now := time.Now(); now.Sub(l.warned) >= warnEvery {
		l.warned = now
		l.logger.Warn("connections are refused: as many are open as there may be; see --max-connections, and who holds them",
			"address", l.Addr().String(), "open", l.most, "refused", refused)
	}
	_ = c.SetLinger(0)
	_ = c.Close()
}

// conn is a connection that counts until it is closed.
type conn struct {
	*net.TCPConn
	gone func()
}

// Close closes the connection.
func (c *conn) Close() error {
	defer c.gone()
	return c.TCPConn.Close()
}
