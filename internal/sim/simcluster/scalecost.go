package simcluster

import (
	"encoding/binary"
	"strings"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

// What a processor does for a transfer on each replica, in nanoseconds. The
// machine's share holds its loop; wallet/DESIGN.md has the measurements
// (BenchmarkApply, BenchmarkCross).
const (
	costTransfer = 350 // within a partition
	costBegin    = 269 // to another partition
	costTry      = 303 // the first message
	costVerdict  = 207 // Confirm or Cancel
	costAnswer   = 199 // to either, with reading what is due
	// The rest (copies, checksums, system calls, gRPC, the coordinator) keeps a
	// processor busy beside the loop; for one to another partition, a third of it when
	// that begins and a sixth with each message and each answer. It is what
	// TestScale/this_machine needs to come to the CPU that was measured for a million
	// transfers on three nodes: 1.4 s within partitions, 4.6 s with half of them
	// between partitions.
	restTransfer = 100
	restCross    = 1300
)

// What else takes time.
const (
	// costMessage is for sending and receiving a message between nodes: what
	// BenchmarkIdle needs for each of its heartbeats, all else included. Many at
	// a time cost less, as they share system calls: it is the most that it may be.
	costMessage = 30 * time.Microsecond
	// costClient is for making a transfer, where the clients have the same processors.
	costClient = 200 * time.Nanosecond
	// costJSON is for each byte of a query or its answer, which are JSON, to be
	// encoded on one node and decoded on another.
	costJSON = 27 * time.Nanosecond
	// A sync, and what is written a second: wallet/DESIGN.md, wal/DESIGN.md.
	diskSync = 200 * time.Microsecond
	diskRate = 940e6
	// The network is assumed: 10 Gbit/s, and 50 to 100 µs from one node to another.
	netRate  = 1_250_000_000
	netLeast = 50 * time.Microsecond
	netMost  = 100 * time.Microsecond
	// wake is how long a loop that has nothing to do takes to begin.
	wake = 10 * time.Microsecond
)

// traffic is a kind of messages between nodes.
type traffic int

const (
	toFollowers traffic = iota // entries of logs
	consensus                  // their answers, heartbeats, elections
	asked                      // batches for partitions that others lead
	answers                    // to those
	queried                    // queries of accounts in partitions that the node has not
	found                      // their answers
	kinds
)

// String returns what the messages are.
func (t traffic) String() string {
	return [kinds]string{"entries to followers", "consensus", "batches to leaders", "their answers", "queries", "findings"}[t]
}

// trafficOf returns the kind of a message. docs/format/raft.md and wallet.md say
// where it is written.
func trafficOf(message []byte) traffic {
	const (
		raft, forward, answer, call, reply = 1, 2, 3, 8, 9
		appends, query                     = 3, 3
	)
	switch message[1] {
	case raft:
		if message[8] == appends && binary.LittleEndian.Uint32(message[12:]) > 0 {
			return toFollowers
		}
	case forward:
		return asked
	case answer:
		return answers
	case call:
		if message[17] == query {
			return queried
		}
		return asked
	case reply:
		if len(message) > 32 && message[32] == '{' {
			return found
		}
		return answers
	}
	return consensus
}

// tally counts what the nodes do.
type tally struct {
	nodes   []share // by id, from 1
	traffic [kinds]Traffic
	entries uint64 // applied, on all replicas
	batches uint64
	spent   [endWork]time.Duration
	last    map[*wallet.Machine]rsm.Index // entry of which a batch was applied
}

// work is what processors do.
type work int

const (
	deciding  work = iota // on the loops of machines
	beside                // the rest of what a transfer takes
	messaging             // costMessage
	querying              // costJSON
	endWork
)

// String returns what is done.
func (k work) String() string {
	return [endWork]string{"the machines", "the rest of transfers", "messages, at the most", "JSON"}[k]
}

// Traffic is what was sent of a kind of messages.
type Traffic struct{ Messages, Bytes uint64 }

// share is what one node did.
type share struct {
	Written, Syncs uint64 // bytes written, of the log and with what fills up blocks
	Sent, Received uint64 // bytes, of messages of nodes
	Decided        uint64 // commands that its machines applied
	Busy           time.Duration
}

// costed is a machine that takes time.
type costed struct {
	*wallet.Machine
	l *load
	n *node
}

func (l *load) machine(n *node, m *wallet.Machine) rsm.Machine { return &costed{m, l, n} }

// Apply implements rsm.Machine.
func (c *costed) Apply(dst []byte, b rsm.Batch) []byte {
	own, rest, commands := costOf(b.Data)
	t := &c.l.tally
	t.batches++
	t.nodes[c.n.ID].Decided += uint64(commands)
	if t.last[c.Machine] != b.Index {
		t.last[c.Machine] = b.Index
		t.entries++
	}
	t.spent[deciding] += own
	c.l.w.Spend(own)
	c.l.work(c.n.ID, beside, rest)
	return c.Machine.Apply(dst, b)
}

// costOf returns how long a batch takes: on the machine's loop, and beside it.
func costOf(data []byte) (own, rest time.Duration, commands int) {
	h, body, err := wallet.ParseHeader(data)
	if err != nil {
		return 0, 0, 0
	}
	n := time.Duration(h.Count)
	switch h.Kind { //nolint:exhaustive // the others are not what a run is about
	case wallet.KindTransfers:
		return n * costTransfer, n * restTransfer, h.Count
	case wallet.KindCrossTransfers:
		return n * costBegin, n * restCross / 3, h.Count
	case wallet.KindPhases:
		return n * costAnswer, n * restCross / 6, h.Count
	case wallet.KindParticipate:
		const prefix, request, verdict = 12, 29, 9
		tries := (time.Duration(len(body)) - prefix - n*verdict) / (request - verdict)
		return tries*costTry + (n-tries)*costVerdict, n * restCross / 6, h.Count
	}
	return 0, 0, h.Count
}

// prepare gives a process that starts its processors, disk and clock.
func (l *load) prepare(n *node) {
	w := l.w
	for len(l.tally.nodes) <= int(n.ID) {
		l.tally.nodes = append(l.tally.nodes, share{})
	}
	if n.Process.Cores = l.shared; l.shared == nil {
		n.Process.Cores = w.NewCores(l.options.Cores)
	}
	n.Process.Delay = func(string) time.Duration { return w.Between(0, wake) }
	n.FS.SetRule(func(c vfs.Call) vfs.Fault {
		of := &l.tally.nodes[n.ID]
		switch c.Op { //nolint:exhaustive // those that take time
		case vfs.OpWrite:
			if strings.Contains(c.Name, "/log/") {
				of.Written += uint64(c.Size)
			}
			l.disk(n, time.Duration(float64(c.Size)/diskRate*float64(time.Second)))
		case vfs.OpSync:
			of.Syncs++
			l.disk(n, diskSync)
		}
		return vfs.Fault{}
	})
}

// disk lets what runs wait for a disk, which does one thing after the other.
func (l *load) disk(n *node, d time.Duration) {
	id := n.ID
	if l.options.Shared {
		id = 0
	}
	now := l.w.Now()
	l.disks[id] = max(now, l.disks[id]) + d
	l.w.Wait(l.disks[id] - now)
}

// sent takes note of a message.
func (l *load) sent(from, to rsmraft.NodeID, message []byte) {
	size, kind := uint64(len(message)), trafficOf(message)
	t := &l.tally
	t.traffic[kind].Messages++
	t.traffic[kind].Bytes += size
	t.nodes[from].Sent += size
	t.nodes[to].Received += size
	for _, id := range []rsmraft.NodeID{from, to} {
		l.work(id, messaging, costMessage/2)
		if kind == queried || kind == found {
			l.work(id, querying, time.Duration(size)*costJSON/2)
		}
	}
}

// work keeps a processor of a node busy.
func (l *load) work(id rsmraft.NodeID, kind work, d time.Duration) {
	l.tally.spent[kind] += d
	l.w.nodes[id-1].Process.Cores.Work(d)
}
