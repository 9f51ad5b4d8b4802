package rsmpeer

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Network is a node's side of the connections with its peers. Its methods may be
// called from any goroutine.
type Network struct {
	self     Identity
	session  uint64
	receive  Receive
	opts     Options
	security security
	listener net.Listener
	began    time.Time
	stop     context.CancelFunc
	tasks    sync.WaitGroup
	peers    atomic.Pointer[map[NodeID]*peer] // written under mu, never changed
	refused  atomic.Uint64

	mu       sync.Mutex
	closed   bool
	incoming map[source]*incoming
	told     map[complaint]told
	removed  map[NodeID]bool
}

// Listen opens a network at host:port. It knows no peers, and so receives
// nothing, before the first SetPeers.
func Listen(ctx context.Context, addr string, self Identity, receive Receive, options *Options) (*Network, error) {
	if self.Node == 0 || self.Cluster == (ClusterID{}) || self.Incarnation == (Incarnation{}) {
		return nil, fmt.Errorf("rsmpeer: the identity %+v is not complete", self)
	}
	opts := options.orDefaults()
	secure, err := newSecurity(opts.Certificates, opts.Logger)
	if err != nil {
		return nil, err
	}
	if err := secure.check(addr); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	lc := net.ListenConfig{KeepAlive: -1} // pings do that
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// A hosts file can give localhost another address.
	if err := secure.check(listener.Addr().String()); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), listener.Close())
	}
	n := &Network{
		self: self, session: newSession(), receive: receive, opts: opts, security: secure,
		listener: listener, began: time.Now(),
		incoming: make(map[source]*incoming), told: make(map[complaint]told),
	}
	n.peers.Store(&map[NodeID]*peer{})
	ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	n.tasks.Go(func() { n.accept(ctx) })
	return n, nil
}

func newSession() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it ends the process rather than fail
	return binary.LittleEndian.Uint64(b[:])
}

// LocalAddr returns the address where peers are accepted.
func (n *Network) LocalAddr() net.Addr { return n.listener.Addr() }

// Send queues a message, which is the parts, one after the other, and never
// waits. From then on neither parts nor the bytes may be changed. False means
// that it will not be sent: the peer is unknown, or away (the last attempt to
// connect failed), or its queue for the lane is full, or the message is larger
// than [MaxMessageBytes]. True promises nothing: what is on its way is lost with
// the connection.
func (n *Network) Send(to NodeID, lane Lane, parts [][]byte) bool {
	p := (*n.peers.Load())[to]
	return p != nil && lane < lanes && p.links[lane].send(parts)
}

// SetPeers replaces the peers. Connections with those that are gone, or have
// another incarnation, end; those with a new address are dialed there. This node
// may be among the peers and is passed over. After an error nothing changed.
func (n *Network) SetPeers(peers []Peer) error {
	for i, p := range peers {
		if err := n.security.check(p.Addr); err != nil {
			return fmt.Errorf("rsmpeer: peer %v: %w", p.ID, err)
		}
		if p.ID == 0 || slices.ContainsFunc(peers[:i], func(q Peer) bool { return q.ID == p.ID }) {
			return fmt.Errorf("rsmpeer: two peers, or none, have the id %v", p.ID)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	before, after := *n.peers.Load(), make(map[NodeID]*peer)
	for _, p := range peers {
		switch old := before[p.ID]; {
		case p.ID == n.self.Node:
		case old != nil && old.Peer == p:
			after[p.ID] = old
		default:
			after[p.ID] = n.newPeer(p, old)
		}
	}
	n.peers.Store(&after)
	for id, p := range before {
		if after[id] != p {
			p.stop()
		}
	}
	for from, in := range n.incoming {
		if p := after[from.node]; p == nil || p.Incarnation != in.incarnation && p.Incarnation != (Incarnation{}) {
			_ = in.conn.Close()
		}
	}
	return nil
}

// SetRemoved replaces the list of nodes that left the cluster for good, which are no
// peers: one of them that dials is told so.
func (n *Network) SetRemoved(nodes []NodeID) {
	removed := make(map[NodeID]bool, len(nodes))
	for _, id := range nodes {
		removed[id] = true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removed = removed
}

// newPeer starts to send to a peer. Its counts go on from those of old.
func (n *Network) newPeer(p Peer, old *peer) *peer {
	made := &peer{Peer: p, network: n}
	ctx, stop := context.WithCancel(context.Background())
	made.stop = stop
	for lane := range lanes {
		c := new(counts)
		if old != nil {
			c = old.links[lane].counts
		}
		l := &link{
			network: n, peer: made, lane: lane, counts: c, heard: make(chan struct{}, 1),
			queue: newQueue(n.opts.QueueBytes, n.opts.QueueMessages),
		}
		made.links[lane] = l
		n.tasks.Go(func() { l.run(ctx) })
	}
	return made
}

// Close ends all connections and waits for the network's goroutines. Receive
// must not call it.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return ErrClosed
	}
	n.closed = true
	n.stop()
	for _, p := range *n.peers.Load() {
		p.stop()
	}
	n.peers.Store(&map[NodeID]*peer{})
	n.mu.Unlock()
	err := n.listener.Close()
	n.tasks.Wait()
	return err
}

// Metrics returns what happened so far.
func (n *Network) Metrics() Metrics {
	m := Metrics{Refused: n.refused.Load(), CertificateExpires: n.security.expires()}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range *n.peers.Load() {
		pm := p.metrics()
		pm.Raft.Receiving = n.incoming[source{p.ID, Raft}] != nil
		pm.Bulk.Receiving = n.incoming[source{p.ID, Bulk}] != nil
		m.Peers = append(m.Peers, pm)
	}
	slices.SortFunc(m.Peers, func(a, b PeerMetrics) int { return cmp.Compare(a.ID, b.ID) })
	return m
}

// forget is what told forgets about a node that was let in, from its host.
func (n *Network) forget(host string, node NodeID) {
	maps.DeleteFunc(n.told, func(c complaint, _ told) bool {
		return c.host == host && (c.node == node || c.node == 0)
	})
}
