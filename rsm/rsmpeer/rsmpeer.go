// Package rsmpeer carries messages between the nodes of a cluster: over TCP with
// mutual TLS, and in plain text on loopback alone.
//
// Every node dials every other one, once for each [Lane], and sends on what it
// dialed; what it accepted it reads. Both sides say first who they are: which
// cluster, which node, which disk. Whoever does not fit is refused with a code
// and a text that says what to do; docs/format/peer.md has every byte.
//
// It is a network as consensus wants it: Send never waits, and a message may be
// lost (with its connection) but not be damaged, doubled or overtaken on its lane
// by a later one of the same connection.
//
// Certificates: a node is let in if its certificate was issued by the cluster's
// own authority, which therefore must issue certificates to nothing else. Names
// and usages in it are not looked at: nodes change their addresses, and whoever
// holds one of the certificates is a member and is trusted as such. Which node
// it is, it says itself; cluster, disk and process show mix-ups, not malice.
package rsmpeer

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"time"
)

// MaxMessageBytes is the most that one message may hold.
const MaxMessageBytes = 32 << 20

// Errors of a network.
var (
	// ErrPlaintext says that a node without certificates was to listen or to
	// send beyond this machine.
	ErrPlaintext = errors.New("rsmpeer: peers talk in plain text on loopback only: give a certificate, its key and the cluster's authority")
	// ErrClosed says that the network was closed.
	ErrClosed = errors.New("rsmpeer: closed")
)

// ClusterID tells clusters apart. It is random, and never zero.
type ClusterID [16]byte

// String returns the id in hexadecimal digits.
func (id ClusterID) String() string { return hex.EncodeToString(id[:]) }

// NodeID is the number of a node in its cluster, never 0 and never given twice.
type NodeID uint64

// String returns the number in decimal digits.
func (id NodeID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Incarnation tells the disks apart that a node may come back with: random, and
// kept on the disk. Zero means that it is not known.
type Incarnation [16]byte

// String returns the incarnation in hexadecimal digits.
func (i Incarnation) String() string { return hex.EncodeToString(i[:]) }

// Lane is one of the ways to a peer. Each has its own connection and queue, so
// that what is large on one never stands before what is urgent on the other.
type Lane uint8

// Lanes.
const (
	Raft Lane = iota // consensus: mostly small, prompt
	Bulk             // snapshots: large, patient
	lanes
)

// String returns the name of the lane.
func (l Lane) String() string {
	if l < lanes {
		return [...]string{"raft", "bulk"}[l]
	}
	return "lane " + strconv.Itoa(int(l))
}

// Identity is who a node is. Nothing in it may be zero.
type Identity struct {
	Cluster     ClusterID
	Node        NodeID
	Incarnation Incarnation
}

// Peer is another node of the cluster.
type Peer struct {
	ID   NodeID
	Addr string // host:port
	// Incarnation of its disk: a node with another one is refused. Zero: any
	// is taken, but never two at once.
	Incarnation Incarnation
}

// Receive takes a message that arrived and owns its bytes. It is called by one
// goroutine for each peer and lane, in the order of sending. It must return
// soon: meanwhile its lane stands still, and the sender gives the connection up
// after its timeout.
type Receive func(from NodeID, lane Lane, message []byte)

// Options are the settings of a network; nil means all defaults. The durations
// should be the same in all nodes.
type Options struct {
	// Certificates of this node and of the authority. Default: plain text, on
	// loopback only.
	Certificates *Certificates
	// QueueBytes bounds what waits for one lane of one peer; default 64 MiB. A
	// message counts as its data and 64 bytes more. One alone may be larger.
	QueueBytes int64
	// QueueMessages bounds the same in messages; default 8,192.
	QueueMessages int
	// PingEvery is how often a connection is tried; default 1 s.
	PingEvery time.Duration
	// Timeout ends a dial, a handshake, a write of 2 MiB (or what is left of a
	// message) and the wait for the answer to a ping; default 4 s. An accepted
	// connection ends when nothing came for that long and 2 PingEvery.
	Timeout time.Duration
	// MaxBackoff bounds the wait between two attempts to connect, which doubles
	// from 50 ms on and is shortened by up to a half at random; default 2 s.
	MaxBackoff time.Duration
	// JoinTime is how long it may take until every node knows a new one: for so
	// long it is no warning that one is not known; default 10 s.
	JoinTime time.Duration
	// Refused is told each time that a peer refuses this node, and must not wait;
	// the default does nothing.
	Refused func(by NodeID, code Refusal, reason string)
	// Lost is told each time that the connection by which this node sends consensus
	// messages to a peer has ended, or could not be made: what was sent lately may
	// not have come there. It must not wait; the default does nothing.
	Lost   func(to NodeID)
	Logger *slog.Logger // default: discards
}

func (o *Options) orDefaults() Options {
	var full Options
	if o != nil {
		full = *o
	}
	if full.QueueBytes == 0 {
		full.QueueBytes = 64 << 20
	}
	if full.QueueMessages == 0 {
		full.QueueMessages = 8192
	}
	if full.PingEvery == 0 {
		full.PingEvery = time.Second
	}
	if full.Timeout == 0 {
		full.Timeout = 4 * time.Second
	}
	if full.MaxBackoff == 0 {
		full.MaxBackoff = 2 * time.Second
	}
	if full.JoinTime == 0 {
		full.JoinTime = 10 * time.Second
	}
	if full.Refused == nil {
		full.Refused = func(NodeID, Refusal, string) {}
	}
	if full.Lost == nil {
		full.Lost = func(NodeID) {}
	}
	if full.Logger == nil {
		full.Logger = slog.New(slog.DiscardHandler)
	}
	return full
}

// Metrics describes a network since it was opened.
type Metrics struct {
	Peers   []PeerMetrics // in the order of their ids
	Refused uint64        // connections that were accepted and then refused
	// CertificateExpires is when this node's certificate ends; zero without TLS.
	CertificateExpires time.Time
}

// PeerMetrics describes the traffic with a peer since it was first set.
type PeerMetrics struct {
	Peer
	Refusals uint64 // answers that refused this node
	// Refusal is the code of the last attempt, if it was refused; Trouble says
	// why there is no connection, or is empty.
	Refusal Refusal
	Trouble string
	Raft    LaneMetrics
	Bulk    LaneMetrics
}

// LaneMetrics describes one lane of a peer. Bytes are those of the messages.
type LaneMetrics struct {
	Connected        bool // for sending
	Receiving        bool // the peer is connected for its sending
	QueueBytes       int64
	QueueMessages    int
	SentBytes        uint64
	SentMessages     uint64
	ReceivedBytes    uint64
	ReceivedMessages uint64
	Dropped          uint64        // messages that Send did not take, or that were lost with their connection
	Connects         uint64        // how often a connection for sending was made
	RoundTrip        time.Duration // of the last ping, with what stood before it
}
