package rsm

import (
	"maru.example/wal"
)

// applier applies what is durable, answers, runs reads, and takes a snapshot
// in small steps. Its methods are called by the apply goroutine alone.
type applier struct {
	n        *Node
	flushes  <-chan *flush // nil after the last
	result   []byte        // reused
	snapshot *snapshotter
}

func newApplier(n *Node, files *snapshotDir, state recovered) *applier {
	a := &applier{n: n, flushes: n.flushes}
	a.snapshot = newSnapshotter(n, files, state)
	return a
}

// run is the apply goroutine. It ends when the node is closed and everything
// that was written is applied.
func (a *applier) run() {
	n := a.n
	defer close(n.applyDone)
	closing := n.closing
	for closing != nil || a.flushes != nil {
		select { // what waits goes before the snapshot
		case f, ok := <-a.flushes:
			a.take(f, ok)
			continue
		case <-n.reads.wake:
			n.reads.run()
			continue
		default:
		}
		if a.snapshot.advance(a.last()) {
			continue
		}
		select {
		case f, ok := <-a.flushes:
			a.take(f, ok)
		case <-n.reads.wake:
			n.reads.run()
		case <-a.snapshot.wanted:
		case buf := <-a.snapshot.buffers():
			a.snapshot.buffer = buf
		case err := <-a.snapshot.finished():
			a.snapshot.end(err)
		case <-closing:
			closing = nil
		}
	}
	a.snapshot.stop()
	n.reads.close()
}

func (a *applier) take(f *flush, ok bool) {
	switch {
	case !ok:
		a.flushes = nil
	case f.err != nil:
		a.refuse(f)
	default:
		a.apply(f)
	}
}

// refuse answers the proposals of a flush that was not written. The flush is
// not used again: a hanging append may still refer to it.
func (a *applier) refuse(f *flush) {
	for _, p := range f.proposals {
		a.n.queue.release(newItem(p).bytes)
		p.Done(nil, Position{}, f.err)
	}
}

// apply executes a flush.
func (a *applier) apply(f *flush) {
	start := 0
	for i := range f.entries {
		e := &f.entries[i]
		a.applyEntry(f.proposals[start:e.end], Position{Index: e.index, Time: f.time})
		a.snapshot.grow(e.bytes)
		a.snapshot.begin(a.last())
		start = e.end
	}
	a.n.recycle(f)
}

// applyEntry executes the proposals of an entry. The metrics and the queue's
// room are brought up to date before the last of them is answered.
func (a *applier) applyEntry(proposals []*Proposal, at Position) {
	n := a.n
	room := int64(0)
	for i, p := range proposals {
		a.result = n.machine.Apply(a.result[:0], Batch{Index: at.Index, Time: at.Time, Data: p.Data})
		room += newItem(p).bytes
		if i == len(proposals)-1 {
			a.snapshot.time = at.Time
			n.counters.proposals.Add(uint64(len(proposals)))
			n.counters.entries.Add(1)
			n.counters.applied.Store(uint64(at.Index))
			n.queue.release(room)
		}
		p.Done(a.result, at, nil)
		if n.reads.waiting.Load() > 0 {
			n.reads.run()
		}
		a.snapshot.advanceUnderLoad()
	}
	if cap(a.result) > MaxProposalBytes {
		a.result = nil
	}
}

// last returns the index of the last entry that was applied.
func (a *applier) last() wal.Index { return wal.Index(a.n.counters.applied.Load()) }
