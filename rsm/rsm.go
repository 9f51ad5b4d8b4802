// Package rsm runs a deterministic state machine on a replicated log: commands
// are proposed, written to the log, committed, and applied in order; snapshots
// let a restart begin near the end of the log.
//
// This package has the ports, and what does not depend on the consensus: the
// [Queue] of proposals before it, and the [Replica] that applies what it decided.
// Package rsmraft joins them by Raft.
package rsm

import (
	"errors"
	"fmt"
	"io"
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
	// ErrNoLeader says that nobody is known who could commit: nothing was
	// proposed. A majority of the replicas is needed for a leader.
	ErrNoLeader = errors.New("rsm: no leader")
	// ErrNoMajority is an ErrNoLeader that has lasted for longer than elections take:
	// waiting will hardly help.
	ErrNoMajority = fmt.Errorf("%w for long: a majority of the replicas is away", ErrNoLeader)
	// ErrUnknown says that the outcome is unknown: leadership changed, or the
	// leader did not answer. The proposal may have been committed, or may be yet.
	ErrUnknown = errors.New("rsm: outcome unknown")
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
	Index Index  // of the log entry that holds it; entries hold many batches
	Time  int64  // the leader's, in nanoseconds since 1970 UTC; never decreases
	Data  []byte // valid during Apply
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
	// Done is called once, on a loop of the replica, in log order: it must not
	// wait. result and at are valid during the call. With an error that wraps
	// ErrFailed or ErrUnknown the outcome is unknown; with any other nothing was
	// committed.
	// The node does not touch the Proposal after the call: it may be used anew.
	Done func(result []byte, at Position, err error)
}

// Position is where and when a proposal was committed.
type Position struct {
	Index Index
	Time  int64
}
