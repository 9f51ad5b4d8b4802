// Package rsm runs a deterministic state machine on a replicated log: commands
// are proposed, written to the log, committed, and applied in order; snapshots
// let a restart begin near the end of the log.
//
// This package runs a log on one node. The ports, [Machine] on one side and
// [Node]'s methods on the other, are those of the replicated one.
package rsm

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"maru.example/vfs"
	"maru.example/wal"
)

// Errors of a node.
var (
	// ErrBusy says that the queue of proposals is full: nothing was proposed,
	// try again later.
	ErrBusy = errors.New("rsm: queue full")
	// ErrDiskFull says that the disk has less room than the reserve: nothing
	// was proposed. Reads go on.
	ErrDiskFull = errors.New("rsm: disk nearly full")
	// ErrTooLarge says that a proposal is larger than MaxProposalBytes.
	ErrTooLarge = errors.New("rsm: proposal too large")
	// ErrFailed says that the log failed: the node takes nothing more, and the
	// outcome of what was under way is unknown until the node is opened anew.
	// The error that wraps it holds the cause.
	ErrFailed = errors.New("rsm: log failed")
	// ErrClosed says that the node was closed before the proposal was written.
	ErrClosed = errors.New("rsm: closed")
)

// MaxProposalBytes is the most that one proposal may hold.
const MaxProposalBytes = 4 << 20

// A Machine is a deterministic state machine. It reads no clock, no randomness
// and no map order: the same batches give the same results and state anywhere,
// for ever. A node calls it from one goroutine at a time.
type Machine interface {
	// Apply executes a batch and appends its result to dst. A batch that cannot
	// be decoded is answered, not an error: it is in the log for ever.
	Apply(dst []byte, b Batch) []byte
	// Snapshot fixes the state as it is now. Apply goes on between calls of the
	// snapshot's Next and does not change what the snapshot gives. At most one
	// is open at a time. It returns quickly however large the state.
	Snapshot() Snapshot
	// Restore replaces the state by a snapshot's bytes, read to io.EOF. After an
	// error the state is undefined until another Restore succeeds. Restoring
	// from an empty reader gives the initial state.
	Restore(r io.Reader) error
}

// A Batch is one proposal, committed: from one command to thousands, in the
// encoding of the system.
type Batch struct {
	Index wal.Index // of the log entry that holds it; entries hold many batches
	Time  int64     // the leader's, in nanoseconds since 1970 UTC; never decreases
	Data  []byte    // valid during Apply
}

// A Snapshot gives the bytes of a state piece by piece.
type Snapshot interface {
	// Next appends the next bytes to dst, about budget of them, and says
	// whether there is more.
	Next(dst []byte, budget int) (out []byte, more bool)
	// Close ends the snapshot, complete or not; Apply no longer pays for it.
	Close()
}

// A Proposal is data to be committed and the function that gets the result.
type Proposal struct {
	// Data must stay unchanged until Done is called; with an error that wraps
	// ErrFailed, for ever: an append that hangs may still read it.
	Data []byte
	// Done is called once, from the node's goroutine, in log order: it must not
	// wait. result and at are valid during the call. With an error that wraps
	// ErrFailed the outcome is unknown; with any other nothing was committed.
	// The node does not touch the Proposal after the call: it may be used anew.
	Done func(result []byte, at Position, err error)
}

// Position is where and when a proposal was committed.
type Position struct {
	Index wal.Index
	Time  int64
}

// Options are the settings of a node; nil means all defaults.
type Options struct {
	FS  vfs.FS           // default vfs.OS
	Now func() time.Time // default time.Now, given by cmd/maru
	// SegmentBytes is the size of a log segment; default the log's.
	SegmentBytes int64
	// MaxEntryBytes closes a log entry that has reached it; default 1 MiB, at
	// most 8 MiB.
	MaxEntryBytes int
	// MaxQueueBytes bounds the proposals that wait or are under way; default
	// 64 MiB. Each counts as its data and 64 bytes more. Propose, which does not
	// wait for room, may use an eighth more.
	MaxQueueBytes int64
	// SyncTimeout is how long one append to the log may take before the node
	// gives it up and fails; default 10 s; negative: for ever.
	SyncTimeout time.Duration
	// SnapshotBytes is how much log makes a new snapshot worth while; default
	// 1 GiB. The log must also have grown by the size of the last snapshot, so
	// that all snapshots together cost no more than the log. Negative: never.
	SnapshotBytes int64
	// CutLog removes the log before the older of the two snapshots that are
	// kept. The default keeps it all.
	CutLog bool
	// ReserveBytes is the free space below which the node takes no proposals,
	// and which no snapshot touches; default 1 GiB, at least MinReserveBytes;
	// negative: none, and a full disk fails the log.
	ReserveBytes int64
	Logger       *slog.Logger // default: discards
}

// MinReserveBytes is the least Options.ReserveBytes with a queue of so many
// bytes. It holds what may still be written after the last look at the disk that
// found the reserve free: what is written between two looks, and the whole queue.
func MinReserveBytes(maxQueueBytes int64) int64 {
	return maxQueueBytes + maxQueueBytes/proposeShare + 2*diskLookBytes
}

// Metrics describes a node since it was opened.
type Metrics struct {
	Proposals        uint64 // committed
	Entries          uint64 // log entries written
	Applied          wal.Index
	QueueBytes       int64  // waiting or under way now
	Refused          uint64 // ErrBusy answers
	Snapshots        uint64 // written
	SnapshotFailures uint64
	SnapshotIndex    wal.Index     // of the newest good one
	SnapshotBytes    int64         // of the newest good one, as the machine gave them
	SnapshotPause    time.Duration // longest hold of the apply goroutine for a snapshot
	Recovered        Recovery
	FreeBytes        int64 // on the disk, when last looked at
	Log              wal.Metrics
}

// Recovery says what Open found and did.
type Recovery struct {
	SnapshotIndex wal.Index
	Damaged       []string // snapshots that were passed over, by file name
	Entries       uint64   // replayed
	Batches       uint64   // replayed
	Duration      time.Duration
}
