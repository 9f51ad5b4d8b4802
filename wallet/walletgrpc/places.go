package walletgrpc

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// places are those of the server's streams, which bound its memory, and the
// connections that have them.
type places struct {
	max, maxEach int // streams at once; of one connection

	mu      sync.Mutex
	conns   map[*conn]struct{}
	taken   int
	refused uint64
	shut    bool           // no stream comes in any more
	streams sync.WaitGroup // that have not ended
}

// conn is a connection. gRPC shows the handler of a stream the address of its
// peer only, so the address leads back here.
type conn struct {
	net.Conn
	places      *places
	sendTimeout time.Duration

	// Guarded by places.mu.
	live   int  // streams
	failed int  // streams that ended for an error of the server's, at most maxEach
	closed bool // nothing of it is held any more
}

type connAddr struct {
	net.Addr
	conn *conn
}

// RemoteAddr returns an address that knows the connection.
func (c *conn) RemoteAddr() net.Addr { return connAddr{c.Conn.RemoteAddr(), c} }

// Write writes to the client, who has a time to take it.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.sendTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close closes the connection and gives back its places.
func (c *conn) Close() error {
	p := c.places
	p.mu.Lock()
	p.change(c, func() { c.closed = true })
	delete(p.conns, c)
	p.mu.Unlock()
	return c.Conn.Close()
}

// holds returns how many places the connection has. A stream that ended with an
// error goes on to hold what arrived for it until its client has read that end,
// which gRPC does not tell: its place is kept while the connection is open.
func (c *conn) holds() int {
	if c.closed {
		return 0
	}
	return min(c.live+c.failed, c.places.maxEach)
}

// connOf returns the connection of a stream, given its context.
func connOf(ctx context.Context) *conn {
	p, _ := peer.FromContext(ctx)
	return p.Addr.(connAddr).conn // whose listener is ours
}

// listener is a listener of such connections.
type listener struct {
	net.Listener
	server *Server
}

// Accept returns the next connection.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p := &l.server.places
	c := &conn{Conn: raw, places: p, sendTimeout: l.server.o.SendTimeout}
	p.mu.Lock()
	shut := p.shut
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	if shut {
		_ = c.Close() // which gRPC finds out
	}
	return c, nil
}

// change changes a connection and counts its places. It is called with mu held.
func (p *places) change(c *conn, f func()) {
	before := c.holds()
	f()
	p.taken += c.holds() - before
}

// enter takes a place for a stream, or returns the status that refuses it.
func (p *places) enter(c *conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return errClosing
	}
	p.change(c, func() { c.live++ })
	if p.taken > p.max {
		p.change(c, func() { c.live-- })
		p.refused++
		return status.Errorf(codes.ResourceExhausted, "the server has as many streams as it takes, %d: nothing was done; end others, or see its --max-streams", p.max)
	}
	p.streams.Add(1)
	return nil
}

// leave gives back the place of a stream, unless its client has yet to read that
// it failed.
func (p *places) leave(c *conn, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change(c, func() {
		c.live--
		if failed {
			c.failed = min(c.failed+1, p.maxEach)
		}
	})
	p.streams.Done()
}

// close lets no stream in any more, and closes the connections that have none.
func (p *places) close() {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	p.disconnect(func(c *conn) bool { return c.live == 0 })
}

// disconnect closes the connections that match.
func (p *places) disconnect(matches func(*conn) bool) {
	var those []*conn
	p.mu.Lock()
	for c := range p.conns {
		if matches(c) {
			those = append(those, c)
		}
	}
	p.mu.Unlock()
	for _, c := range those {
		_ = c.Close()
	}
}

// Metrics are the counts of a server.
type Metrics struct {
	Streams int    // places taken by streams
	Refused uint64 // streams refused as all places were taken
}

// Metrics returns the counts.
func (s *Server) Metrics() Metrics {
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	return Metrics{Streams: s.places.taken, Refused: s.places.refused}
}
