package rsmraft

import (
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/wal"
)

// execute hands committed entries to the replica. A change of members takes effect only when
// the disk says that it is committed: a node that comes back without knowing would look for
// a majority of members who may be gone since.
func (g *Group) execute(m *pb.Message) {
	entries := m.GetEntries()
	unwritten := slices.ContainsFunc(entries, func(e *pb.Entry) bool {
		return e.GetType() != pb.EntryNormal && e.GetIndex() > g.log.written.commit
	})
	if len(g.deferred) > 0 || unwritten {
		g.deferred = append(g.deferred, m)
		if len(g.deferred) == 1 {
			g.writeCommit(entries[len(entries)-1].GetIndex())
		}
		return
	}
	g.executeNow(m)
}

// writeCommit writes that entries are committed, and then goes on with what waits for it.
func (g *Group) writeCommit(index uint64) {
	g.log.hard.commit = max(g.log.hard.commit, index)
	w := &appendWork{group: g}
	w.addHardState(g.log.hard)
	w.then = func(wal.Index) {
		g.appends--
		if g.failed != nil {
			return
		}
		g.log.written = *w.hard
		waiting := g.deferred
		g.deferred = nil
		for _, m := range waiting {
			g.execute(m)
		}
		g.storeHeld()
		g.work()
	}
	g.appends++
	g.host.append(w)
}

// applyEntry applies an entry and answers those who proposed it. It is called on
// the apply loop.
func (g *Group) applyEntry(e *decidedEntry) {
	if g.broken == nil {
		err := g.replica.Apply(&e.Committed)
		if err == nil {
			if n := len(e.Proposals); n > 0 {
				g.latency.observe(g.host.runtime.Elapsed()-e.since, n)
			}
			return
		}
		g.host.fail(err)
		g.broken = g.host.Err()
	}
	g.refuseNow(e.Proposals, g.broken)
}

// settle is called when an entry of the leader's own term is applied: then
// everything before it is too.
func (g *Group) settle() {
	g.settled = true
	g.wakeWaiters()
	if g.leading != nil {
		g.apply.Post(func() { g.leading(true) })
	}
	g.publish()
}

// committed returns what the replica gets for an entry.
func (g *Group) committed(e *pb.Entry) decidedEntry {
	c := decidedEntry{Committed: rsm.Committed{Index: rsm.Index(e.GetIndex()), Term: e.GetTerm(), Place: uint64(g.log.place(e.GetIndex()))}}
	switch e.GetType() {
	case pb.EntryNormal:
		c.Data = e.GetData()
	case pb.EntryConfChange, pb.EntryConfChangeV2:
		c.Conf = g.applyConf(e)
	}
	for len(g.pending) > 0 && g.pending[0].index <= e.GetIndex() {
		p := g.pending[0]
		g.pending[0] = pendingEntry{}
		g.pending = g.pending[1:]
		if p.index == e.GetIndex() && p.term == e.GetTerm() {
			c.Proposals, c.since = p.proposals, p.since
			break
		}
		g.refuse(p.proposals, fmt.Errorf("%w: group %d: another leader's entry has its place", rsm.ErrUnknown, g.id))
	}
	return c
}

// executed is called when entries were applied.
func (g *Group) executed(index rsm.Index, term uint64, responses []*pb.Message) {
	if g.failed != nil {
		return
	}
	g.log.setApplied(uint64(index))
	g.recovery.applied(g, uint64(index))
	if g.leads && !g.settled && term == g.term {
		g.settle()
	}
	g.deliver(responses)
	g.settleChanges()
	g.work()
	g.reads.start()
}
