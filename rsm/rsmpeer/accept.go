package rsmpeer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

const (
	// maxHandshakes is how many connections may be in their handshake at once;
	// more are closed.
	maxHandshakes = 64
	// maxComplaints is how many different refusals are logged; after that they
	// are only counted, until nodes that were refused are let in.
	maxComplaints = 256
)

// source is where an accepted connection comes from: there is one for each.
type source struct {
	node NodeID
	lane Lane
}

// incoming is a connection on which a peer sends.
type incoming struct {
	source
	session     uint64
	incarnation Incarnation
	conn        net.Conn
	counts      *counts
	done        chan struct{} // closed when nothing is received from it any more
}

// complaint is a refusal that was logged: it is not logged again before the node
// was let in, unless as a warning.
type complaint struct {
	host string
	node NodeID // zero: it did not come to say who it is
	code Refusal
}

// told says since when a complaint is known, and how it was logged.
type told struct {
	since time.Time
	level slog.Level
}

// level returns how a refusal is logged that is known for so long. That a node is not
// known is what happens when it joins: not all nodes hear of it at once.
func (o *Options) level(code Refusal, since time.Time, otherwise slog.Level) slog.Level {
	if code == UnknownNode && time.Since(since) < o.JoinTime {
		return slog.LevelInfo
	}
	return otherwise
}

// accept takes connections until ctx ends.
func (n *Network) accept(ctx context.Context) {
	slots := make(chan struct{}, maxHandshakes)
	for {
		conn, err := n.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			n.opts.Logger.ErrorContext(ctx, "cannot accept peers; trying on", "error", err)
			sleep(ctx, time.Second)
			continue
		}
		select {
		case slots <- struct{}{}:
			n.tasks.Go(func() { n.handle(ctx, conn, func() { <-slots }) })
		default:
			_ = conn.Close()
		}
	}
}

// handle serves a connection. It calls greeted once, when the handshake is over.
func (n *Network) handle(ctx context.Context, raw net.Conn, greeted func()) {
	defer func() { _ = raw.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	in, err := n.greet(ctx, raw)
	greeted()
	if err == nil {
		n.heardOf(in)
		err = n.read(in)
		n.leave(in)
		if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) { // neither by this node
			n.opts.Logger.WarnContext(ctx, "connection of a peer ended", "peer", in.node, "lane", in.lane.String(), "error", closedBy(err))
		}
		return
	}
	if ctx.Err() == nil && err != io.EOF { //nolint:errorlint // bare: it connected and said nothing, as who only looks
		n.complain(ctx, raw, err)
	}
}

// heardOf lets this node connect to a peer that has connected to it, if it has not:
// a node that was started again is there before the next attempt is due.
func (n *Network) heardOf(in *incoming) {
	p := (*n.peers.Load())[in.node]
	if p == nil {
		return
	}
	if l := p.links[in.lane]; !l.connected.Load() {
		select {
		case l.heard <- struct{}{}:
		default:
		}
	}
}

// greet does what comes before the first frame. Without an error the connection
// is in the table of those that receive.
func (n *Network) greet(ctx context.Context, raw net.Conn) (*incoming, error) {
	ctx, cancel := context.WithTimeout(ctx, n.opts.Timeout)
	defer cancel()
	conn, err := n.security.accept(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(n.opts.Timeout)); err != nil {
		return nil, err
	}
	h, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	in := &incoming{
		source: source{h.from, h.lane}, session: h.session, incarnation: h.incarnation,
		conn: conn, done: make(chan struct{}),
	}
	before, v := n.admit(in, h)
	for before != nil {
		_ = before.conn.Close()
		select {
		case <-before.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("what came before from node %v is still worked on: %w", h.from, ctx.Err())
		}
		before, v = n.admit(in, h)
	}
	_, err = conn.Write(encodeAnswer(answer{version, n.self, v}))
	switch {
	case v.code != Accepted:
		return nil, &helloRefusedError{refusedError{v}, h.from}
	case err == nil:
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		n.leave(in)
		return nil, err
	}
	return in, nil
}

// A helloRefusedError is the refusal of a node that said who it is.
type helloRefusedError struct {
	refusedError
	from NodeID
}

// admit decides about a hello and, if it fits, puts the connection into the
// table. A process may repeat itself: before is then the connection that has to
// end, so that nothing of it is received after what comes now. Another process
// with the same id has to wait until the first one is gone.
func (n *Network) admit(in *incoming, h hello) (before *incoming, v verdict) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := (*n.peers.Load())[h.from]
	var known *Peer
	if p != nil {
		known = &p.Peer
	}
	if v := judge(n.self, h, known, n.removed[h.from]); v.code != Accepted {
		return nil, v
	}
	for lane := range lanes {
		if other := n.incoming[source{h.from, lane}]; other != nil && other.session != h.session {
			return nil, duplicate(h.from, other.conn.RemoteAddr().String())
		}
	}
	if before := n.incoming[in.source]; before != nil {
		return before, verdict{}
	}
	in.counts = p.links[h.lane].counts
	n.incoming[in.source] = in
	n.forget(hostOf(in.conn), h.from)
	return nil, verdict{}
}

// leave takes a connection out of the table.
func (n *Network) leave(in *incoming) {
	n.mu.Lock()
	if n.incoming[in.source] == in {
		delete(n.incoming, in.source)
	}
	n.mu.Unlock()
	close(in.done)
}

// complain counts and logs a refusal, once for each kind.
func (n *Network) complain(ctx context.Context, conn net.Conn, err error) {
	n.refused.Add(1)
	c := complaint{host: hostOf(conn)}
	if refused, ok := errors.AsType[*helloRefusedError](err); ok {
		c.node, c.code = refused.from, refused.code
	}
	n.mu.Lock()
	before, known := n.told[c]
	now := told{since: before.since}
	if !known {
		now.since = time.Now()
	}
	now.level = n.opts.level(c.code, now.since, slog.LevelWarn)
	log := known && now.level > before.level || !known && len(n.told) < maxComplaints
	if log {
		n.told[c] = now
	}
	n.mu.Unlock()
	switch {
	case !log:
	case now.level < slog.LevelWarn:
		n.opts.Logger.InfoContext(ctx, "a node that is not known here wants to connect, and tries on", "remote", conn.RemoteAddr().String(), "node", c.node)
	default:
		n.opts.Logger.WarnContext(ctx, "refused a connection; the same is not logged again", "remote", conn.RemoteAddr().String(), "node", c.node, "error", err)
	}
}

// read hands over what arrives, until the connection ends.
func (n *Network) read(in *incoming) error {
	r := newFrameReader(&patientReader{in.conn, 2*n.opts.PingEvery + n.opts.Timeout}, smallBytes)
	pongs := newFrameWriter(in.conn, n.opts.Timeout, frameHeaderBytes+pingBytes)
	for {
		kind, content, err := r.next()
		if err != nil {
			return err
		}
		switch kind {
		case kindMessage:
			in.counts.receivedMessages.Add(1)
			in.counts.receivedBytes.Add(uint64(len(content)))
			n.receive(in.node, in.lane, content)
		case kindPing:
			pongs.add(kindPong, pingBytes, content)
			if err := pongs.flush(); err != nil {
				return fmt.Errorf("answer a ping: %w", err)
			}
		}
	}
}

// A patientReader reads from a connection as long as something comes in time.
type patientReader struct {
	conn    net.Conn
	timeout time.Duration
}

func (r *patientReader) Read(b []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(r.timeout)); err != nil {
		return 0, err
	}
	return r.conn.Read(b)
}

func hostOf(conn net.Conn) string {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String()) // "" does as well
	return host
}
