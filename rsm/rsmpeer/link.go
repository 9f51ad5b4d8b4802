package rsmpeer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// minBackoff is the longest wait before the first repetition of an attempt.
const minBackoff = 50 * time.Millisecond

// A link is the sending side of one lane of one peer: a queue, and a goroutine
// that dials and writes.
type link struct {
	network *Network
	peer    *peer
	lane    Lane
	queue   *queue
	counts  *counts

	heard     chan struct{} // has a token when the peer has connected to this node
	connected atomic.Bool
	pinged    atomic.Int64 // when the ping was sent that has no answer yet, since the network began; or 0
}

// counts is what happened on a lane of a peer, whatever its address was.
type counts struct {
	sentBytes, sentMessages         atomic.Uint64
	receivedBytes, receivedMessages atomic.Uint64
	dropped, connects, refusals     atomic.Uint64
	roundTrip                       atomic.Int64
}

// send queues a message.
func (l *link) send(parts [][]byte) bool {
	if l.queue.push(parts) {
		return true
	}
	l.counts.dropped.Add(1)
	return false
}

// run keeps a connection to the peer until ctx ends. While there is none and the
// last attempt failed, the queue takes nothing: consensus learns at once that
// the peer is away, and gets no messages of long ago delivered.
func (l *link) run(ctx context.Context) {
	defer l.drop(false)
	opts := &l.network.opts
	wait := minBackoff
	for {
		conn, err := l.connect(ctx)
		if err == nil {
			since := time.Now()
			err = l.serve(ctx, conn)
			if time.Since(since) > opts.MaxBackoff {
				wait = minBackoff
			}
			l.drop(true)
		} else {
			l.drop(false)
		}
		if ctx.Err() != nil {
			return
		}
		l.peer.report(ctx, err)
		if l.lane == 0 {
			opts.Lost(l.peer.ID)
		}
		if !l.sleep(ctx, wait-rand.N(wait/2+1)) { //nolint:forbidigo // so that nodes do not dial in step; nothing depends on the value
			return
		}
		wait = min(2*wait, opts.MaxBackoff)
	}
}

func (l *link) drop(open bool) { l.counts.dropped.Add(uint64(l.queue.reset(open))) }

// sleep waits, but not if the peer is heard of. It returns false if ctx ended before.
func (l *link) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-l.heard:
	case <-timer.C:
	}
	return true
}

// sleep returns false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// connect dials the peer and lets both sides say who they are.
func (l *link) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.network.opts.Timeout)
	defer cancel()
	conn, err := l.network.security.dial(ctx, l.peer.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = l.introduce(conn)
	if !stop() {
		err = fmt.Errorf("no answer to hello: %w", ctx.Err())
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (l *link) introduce(conn net.Conn) error {
	self := l.network.self
	_, err := conn.Write(encodeHello(hello{
		version: version, cluster: self.Cluster, from: self.Node, to: l.peer.ID,
		incarnation: self.Incarnation, session: l.network.session, lane: l.lane,
	}))
	if err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	a, err := readAnswer(conn)
	if err != nil {
		return fmt.Errorf("read the answer to hello: %w", err)
	}
	if v := l.check(a); v.code != Accepted {
		l.counts.refusals.Add(1)
		return &refusedError{v}
	}
	return nil
}

// check decides about the one who answered as he did about this node.
func (l *link) check(a answer) verdict {
	self, peer := l.network.self, &l.peer.Peer
	switch {
	case a.verdict.code != Accepted:
		return a.verdict
	case a.self.Cluster != self.Cluster:
		return verdict{OtherCluster, fmt.Sprintf("%s is a node of cluster %v, this is one of %v: correct the address", peer.Addr, a.self.Cluster, self.Cluster)}
	case a.self.Node != peer.ID:
		return verdict{OtherNode, fmt.Sprintf("%s is node %v, not %v: correct the address", peer.Addr, a.self.Node, peer.ID)}
	case peer.Incarnation != Incarnation{} && peer.Incarnation != a.self.Incarnation:
		return otherIncarnation(peer.ID, a.self.Incarnation, peer.Incarnation)
	}
	return verdict{}
}

// serve sends over a connection until it breaks or ctx ends, and closes it.
func (l *link) serve(ctx context.Context, conn net.Conn) error {
	l.counts.connects.Add(1)
	l.pinged.Store(0)
	l.connected.Store(true)
	defer l.connected.Store(false)
	select {
	case <-l.heard: // while this connection was made
	default:
	}
	l.queue.open()
	l.peer.reportConnected(ctx, l.lane)

	var cause error // why reading ended
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		cause = l.readPongs(conn)
		_ = conn.Close() // so that writing ends too
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	err := l.write(ctx, conn, gone)
	_ = conn.Close()
	<-gone
	if errors.Is(err, net.ErrClosed) {
		err = cause
	}
	return err
}

// write writes what is queued, and pings.
func (l *link) write(ctx context.Context, conn net.Conn, gone <-chan struct{}) error {
	w := newFrameWriter(conn, l.network.opts.Timeout, smallBytes)
	ping := time.NewTicker(l.network.opts.PingEvery)
	defer ping.Stop()
	l.queue.signal() // for what was queued before
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return net.ErrClosed
		case <-ping.C:
			if err := l.ping(w, conn); err != nil {
				return err
			}
		case <-l.queue.wake:
			if err := l.writeMessages(w, conn, ping.C); err != nil {
				return err
			}
		}
	}
}

// writeMessages writes what is queued, until nothing is.
func (l *link) writeMessages(w *frameWriter, conn net.Conn, ping <-chan time.Time) error {
	for {
		taken := l.queue.take()
		if len(taken) == 0 {
			return nil
		}
		for len(taken) > 0 {
			n, size := w.addMessages(taken)
			if err := w.flush(); err != nil {
				return err
			}
			clear(taken[:n])
			taken = taken[n:]
			l.queue.written(n, size)
			l.counts.sentMessages.Add(uint64(n))
			l.counts.sentBytes.Add(uint64(size))
			select {
			case <-ping:
				if err := l.ping(w, conn); err != nil {
					return err
				}
			default:
			}
		}
	}
}

// ping asks the peer for a sign of life, which readPongs then waits for. Its
// content is when it was sent: nobody else reads that.
func (l *link) ping(w *frameWriter, conn net.Conn) error {
	now := time.Since(l.network.began)
	if !l.pinged.CompareAndSwap(0, int64(now)) {
		return nil
	}
	if err := conn.SetReadDeadline(time.Now().Add(l.network.opts.Timeout)); err != nil {
		return err
	}
	w.add(kindPing, pingBytes, binary.LittleEndian.AppendUint64(nil, uint64(now)))
	return w.flush()
}

// readPongs reads the answers to pings until the connection ends, at the latest
// when an answer is due.
func (l *link) readPongs(conn net.Conn) error {
	r := newFrameReader(conn, 512)
	for {
		kind, content, err := r.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no answer to a ping: %w", err)
		}
		if err != nil {
			return closedBy(err)
		}
		sent := l.pinged.Load()
		if kind != kindPong || sent == 0 || binary.LittleEndian.Uint64(content) != uint64(sent) {
			continue
		}
		l.counts.roundTrip.Store(int64(time.Since(l.network.began)) - sent)
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		l.pinged.Store(0)
	}
}

var errPeerClosed = errors.New("the peer closed the connection")

// closedBy says io.EOF as an operator understands it.
func closedBy(err error) error {
	if errors.Is(err, io.EOF) {
		return errPeerClosed
	}
	return err
}
