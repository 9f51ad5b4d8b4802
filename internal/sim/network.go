package sim

import (
	"bytes"
	"time"

	"maru.example/rsm/rsmraft"
)

// Network joins nodes. Messages of a lane arrive in their order, but for faults.
type Network struct {
	world   *World
	inboxes map[rsmraft.NodeID]inbox
	cut     map[[2]rsmraft.NodeID]bool
	last    map[line]time.Duration // when the last message of a line arrives

	// With a Rate, until when a node sends and receives.
	sends, receives map[rsmraft.NodeID]time.Duration

	// Faults, as probabilities of each message.
	Drop, Duplicate, Reorder float64
	// Least and Most bound how long a message takes; default 100 µs to 2 ms.
	Least, Most time.Duration
	// Late is the probability that a message takes longer, up to Latest; those after
	// it wait for it, or overtake it.
	Late   float64
	Latest time.Duration
	// Lose says whether a message is lost; nil: none.
	Lose func(from, to rsmraft.NodeID, message []byte) bool
	// Rate is how many bytes a second a node can send, and as many it can receive,
	// one message after the other; 0: any number at once.
	Rate int
	// Sent is told each message; nil: nobody is.
	Sent     func(from, to rsmraft.NodeID, message []byte)
	Messages uint64 // sent
	Bulk     uint64 // bytes sent on rsmraft.LaneBulk
}

type inbox struct {
	process *Process
	receive func(from rsmraft.NodeID, message []byte)
}

// line is a lane from one node to another.
type line struct {
	from, to rsmraft.NodeID
	lane     rsmraft.Lane
}

// NewNetwork returns a network of nobody.
func NewNetwork(w *World) *Network {
	return &Network{
		world: w, inboxes: map[rsmraft.NodeID]inbox{}, cut: map[[2]rsmraft.NodeID]bool{}, last: map[line]time.Duration{},
		sends: map[rsmraft.NodeID]time.Duration{}, receives: map[rsmraft.NodeID]time.Duration{},
		Least: 100 * time.Microsecond, Most: 2 * time.Millisecond,
	}
}

// Join lets a process take the messages for a node from now on.
func (n *Network) Join(id rsmraft.NodeID, p *Process, receive func(from rsmraft.NodeID, message []byte)) {
	n.inboxes[id] = inbox{p, receive}
}

// Cut breaks or mends the way from one node to another, in that direction.
func (n *Network) Cut(from, to rsmraft.NodeID, broken bool) {
	n.cut[[2]rsmraft.NodeID{from, to}] = broken
}

// Mend mends all ways.
func (n *Network) Mend() { clear(n.cut) }

// Port returns the network as a process of a node sees it.
func (n *Network) Port(from rsmraft.NodeID, p *Process) rsmraft.Network {
	return &port{n, from, p}
}

type port struct {
	network *Network
	from    rsmraft.NodeID
	process *Process
}

// Send implements rsmraft.Network.
func (p *port) Send(to rsmraft.NodeID, lane rsmraft.Lane, parts [][]byte) bool {
	n := p.network
	if p.process.dead {
		return false
	}
	n.Messages++
	message := bytes.Join(parts, nil)
	if lane == rsmraft.LaneBulk {
		n.Bulk += uint64(len(message))
	}
	if lane == rsmraft.LaneRaft { // pieces of snapshots are in an order that each process chooses
		n.world.Note([]byte{byte(p.from), byte(to)}, message)
	}
	if n.Sent != nil {
		n.Sent(p.from, to, message)
	}
	twice := n.Duplicate > 0 && n.world.Chance(n.Duplicate)
	n.deliver(line{p.from, to, lane}, message, twice)
	if twice {
		n.deliver(line{p.from, to, lane}, bytes.Clone(message), twice)
	}
	return true
}

// deliver brings a message, which may be lost or late. One that comes twice is lost
// with the process to which it was sent: connections, which hold what is on its way,
// do not outlive that.
func (n *Network) deliver(l line, message []byte, twice bool) {
	if n.Drop > 0 && n.world.Chance(n.Drop) || n.Lose != nil && n.Lose(l.from, l.to, message) {
		return
	}
	at, overtaken := n.pass(l, len(message))+n.world.Between(n.Least, n.Most), n.Reorder
	if n.Late > 0 && n.world.Chance(n.Late) {
		at += n.world.Between(0, n.Latest)
		overtaken = max(overtaken, 0.5) // as on a connection that was given up and made anew
	}
	if overtaken == 0 || !n.world.Chance(overtaken) {
		at = max(at, n.last[l])
		n.last[l] = at
	}
	process := n.inboxes[l.to].process
	n.world.plan(at, func() {
		in, ok := n.inboxes[l.to]
		if !ok || twice && in.process != process || n.cut[[2]rsmraft.NodeID{l.from, l.to}] {
			return
		}
		in.process.receive(func() { in.receive(l.from, message) })
	})
}

// pass returns when a message that is sent now has passed the sender and the
// receiver, but for the way between them.
func (n *Network) pass(l line, size int) time.Duration {
	begin := n.world.Now()
	if n.Rate == 0 {
		return begin
	}
	begin = max(begin, n.sends[l.from])
	n.sends[l.from] = begin + n.takes(size)
	n.receives[l.to] = max(begin, n.receives[l.to]) + n.takes(size)
	return n.receives[l.to]
}

// takes returns how long a node with a Rate sends or receives so many bytes.
func (n *Network) takes(size int) time.Duration {
	return time.Duration(size) * time.Second / time.Duration(n.Rate)
}

// Take lets a node receive bytes of somebody who is no node, and returns how long
// that takes.
func (n *Network) Take(to rsmraft.NodeID, size int) time.Duration {
	if n.Rate == 0 {
		return 0
	}
	now := n.world.Now()
	n.receives[to] = max(now, n.receives[to]) + n.takes(size)
	return n.receives[to] - now
}
