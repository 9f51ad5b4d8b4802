// Package rsmraft replicates deterministic machines ([rsm.Machine]) by Raft.
//
// A [Host] is a node: it runs the local replicas of many [Group]s over one log,
// which is written and synced once for all groups that have something to write.
// The Raft log is the command log: a command is written once on each node.
// Consensus itself (elections, log matching, membership changes, read index) is
// go.etcd.io/raft/v3; storage, transport of messages, snapshots and scheduling are
// this package's. DESIGN.md has the reasons, docs/format/raft.md the formats.
//
// Everything runs on loops ([rsm.Loop]), so that a whole cluster can be simulated
// in one process from a seed. A node that is alone is a group of one voter: the
// same code.
package rsmraft

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"maru.example/rsm"
	"maru.example/vfs"
)

// NodeID names a node of a cluster. It is given once: a node that lost its disk
// comes back under another. Zero is none.
type NodeID uint64

// GroupID names a group of replicas.
type GroupID uint32

// Lane is a way to a peer. Messages on one keep their order and do not wait for
// those on the other.
type Lane uint8

// The lanes.
const (
	LaneRaft Lane = iota // what elections and commits wait for, and proposals on their way to a leader
	LaneBulk             // pieces of snapshots
)

// Network carries messages to other nodes. What arrives is given to
// [Host.Receive]. Messages may be lost.
type Network interface {
	// Send queues the message that the parts make up, and does not wait. The
	// parts stay unchanged for ever. It returns false if the message was dropped
	// at once, as the peer is not known or its queue is full.
	Send(to NodeID, lane Lane, parts [][]byte) bool
}

// Limits.
const (
	MaxNodes        = 1024     // in a cluster
	MaxMessageBytes = 17 << 20 // between nodes: one entry of the largest kind, or many small ones
	// maxFlushBytes is about the most that is proposed at once. A sync of so much
	// takes 10 to 30 ms on a common disk, as long as applying it.
	maxFlushBytes = 4 << 20
	// flushesUnderWay is how many such may be proposed and not yet applied.
	flushesUnderWay = 3
)

// Errors.
var (
	// ErrVersion says that something was written by a newer version of the program.
	ErrVersion = errors.New("rsmraft: newer version")
	// ErrNotLeader says that only the leader can do it; the error that wraps it
	// may say who that is.
	ErrNotLeader = errors.New("rsmraft: not the leader")
	// ErrBusyChanging says that a change of the group's members is under way.
	ErrBusyChanging = errors.New("rsmraft: members are being changed")
	// ErrInUse says that a replica cannot be removed: it leads, it is at work, or
	// it has newer entries than a replica of a former member can have.
	ErrInUse = errors.New("rsmraft: replica in use")
	// ErrShort says that a group whose only voter is this node has lost the end of its log.
	ErrShort = errors.New("rsmraft: the log ends too early")
	// ErrRemoved says that the replica was removed from this node.
	ErrRemoved = errors.New("rsmraft: replica removed")
)

// Options are the settings of a host; nil means all defaults.
type Options struct {
	FS      vfs.FS      // default vfs.OS
	Runtime rsm.Runtime // default NewRuntime()
	Network Network     // default: none, for a node that is alone
	// Machine returns the machine of a group, nil if this node is to have none:
	// the messages of the group are then ignored. Open wants one for each group
	// that is on the disk.
	Machine func(GroupID) rsm.Machine
	// Decided returns up to which entry a group is known to have decided, 0 if that is not known. Open asks it of
	// groups whose only voter is this node: if the log does not come as far, entries that were answered are lost, and it
	// fails with ErrShort, before anything is written. The default knows of nothing.
	Decided func(GroupID) rsm.Index
	// Opened is called with each replica before it begins. It must not wait.
	Opened func(*Group)

	// Serve answers the requests of other nodes that their Host.Call makes;
	// default: refuses them with rsm.ErrNoLeader.
	Serve Serve

	// Tick is the unit of the times below; default 100 ms.
	Tick time.Duration
	// HeartbeatTicks is how often a leader is heard of; default 1.
	HeartbeatTicks int
	// ElectionTicks is how long a leader may not be heard of before others are
	// asked for their votes: that long up to twice that long; default 6.
	ElectionTicks int
	// StallTimeout is how long one write to the log may take before the node
	// stops sending, so that its leaderships go elsewhere; default 1 s.
	StallTimeout time.Duration
	// SyncTimeout is how long one write to the log may take before the host gives
	// it up and fails; default 10 s; negative: for ever.
	SyncTimeout time.Duration

	// SegmentBytes is the size of a log segment; default the log's.
	SegmentBytes int64
	// MaxEntryBytes closes a log entry that has reached it; default 1 MiB, at
	// most 8 MiB.
	MaxEntryBytes int
	// MaxQueueBytes bounds a group's proposals that wait or are under way;
	// default 64 MiB. Each counts as its data and 64 bytes more. Propose, which
	// does not wait for room, may use an eighth more.
	MaxQueueBytes int64
	// CacheBytes bounds the entries of a group that are kept in memory for
	// followers, beside those that are not applied yet; default 16 MiB. Half as much
	// is kept of decided entries for feeds.
	CacheBytes int64
	// SnapshotBytes, see rsm.ReplicaOptions.
	SnapshotBytes int64
	// CutLog removes the log before the older of the two snapshots that each
	// group keeps. The default keeps it all.
	CutLog bool
	// Keepers names those who follow the feed of each group whose decisions are
	// recorded: with CutLog, nothing is removed before each of them lets it go with
	// Group.Keep. The default is nobody.
	Keepers []string
	// ReserveBytes is the free space below which the host takes no proposals, and
	// below half of which it takes no entries of other nodes; no snapshot touches it; default 1 GiB, at least MinReserveBytes;
	// negative: none, and a full disk fails the log.
	ReserveBytes int64
	Logger       *slog.Logger // default: discards
}

// MinReserveBytes is the least Options.ReserveBytes with a queue of so many
// bytes. It holds what may still be written after the last look at the disk that
// found the reserve free: what is written between two looks, and the whole queue.
// With several groups it is that of all their queues together.
func MinReserveBytes(maxQueueBytes int64) int64 {
	return maxQueueBytes + maxQueueBytes/rsm.ProposeShare + 2*diskLookBytes
}

// maxEntryOption bounds Options.MaxEntryBytes: an entry that has nearly reached
// it and gets one more proposal of the largest kind still fits a record.
const maxEntryOption = 8 << 20

// withDefaults returns the options with every field set.
func (o *Options) withDefaults() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	if d.FS == nil {
		d.FS = vfs.OS()
	}
	if d.Runtime == nil {
		d.Runtime = NewRuntime()
	}
	if d.Network == nil {
		d.Network = nobody{}
	}
	if d.Machine == nil {
		d.Machine = func(GroupID) rsm.Machine { return nil }
	}
	if d.Serve == nil {
		d.Serve = func(_ NodeID, _ GroupID, _ []byte, reply func([]byte, error)) { reply(nil, rsm.ErrNoLeader) }
	}
	if d.Decided == nil {
		d.Decided = func(GroupID) rsm.Index { return 0 }
	}
	if d.Opened == nil {
		d.Opened = func(*Group) {}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&d.Tick, 100*time.Millisecond)
	setDefault(&d.HeartbeatTicks, 1)
	setDefault(&d.ElectionTicks, 6)
	setDefault(&d.StallTimeout, time.Second)
	setDefault(&d.SyncTimeout, 10*time.Second)
	setDefault(&d.MaxEntryBytes, 1<<20)
	setDefault(&d.MaxQueueBytes, 64<<20)
	setDefault(&d.CacheBytes, 16<<20)
	setDefault(&d.SnapshotBytes, 1<<30)
	setDefault(&d.ReserveBytes, 1<<30)
	if d.MaxEntryBytes < 0 || d.MaxEntryBytes > maxEntryOption {
		return Options{}, fmt.Errorf("rsmraft: MaxEntryBytes is %d, want 1 to %d", d.MaxEntryBytes, maxEntryOption)
	}
	if d.MaxQueueBytes < 0 {
		return Options{}, fmt.Errorf("rsmraft: MaxQueueBytes is %d, want at least 1", d.MaxQueueBytes)
	}
	if least := MinReserveBytes(d.MaxQueueBytes); d.ReserveBytes >= 0 && d.ReserveBytes < least {
		return Options{}, fmt.Errorf("rsmraft: ReserveBytes is %d, want at least %d, or less than 0 for none", d.ReserveBytes, least)
	}
	return d, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// nobody is the network of a node that is alone.
type nobody struct{}

func (nobody) Send(NodeID, Lane, [][]byte) bool { return false }
