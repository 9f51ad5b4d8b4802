package rsmraft_test

import (
	"time"

	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

// watcher looks all the time for what must never be (the Raft thesis, 3.2): two
// leaders of one term, or two nodes that applied different commands at the same
// place.
type watcher struct {
	w       *world
	group   rsmraft.GroupID
	leaders map[uint64]rsmraft.NodeID // by term
	log     []rsmtest.Record          // of whoever came first
	seen    map[rsmraft.NodeID]seen
}

// seen is how far a node's list was looked at.
type seen struct {
	list *rsmtest.List
	n    int
}

// watch watches a group from now on.
func (w *world) watch(id rsmraft.GroupID) {
	v := &watcher{w: w, group: id, leaders: map[uint64]rsmraft.NodeID{}, seen: map[rsmraft.NodeID]seen{}}
	var look func()
	look = func() {
		for i := range len(w.nodes) {
			if n := w.node(i); n.host.Group(id) != nil {
				v.leader(n)
				v.commands(n)
			}
		}
		w.At(w.Between(0, 2*time.Millisecond), look)
	}
	look()
}

// leader compares whom a node takes for the leader of its term.
func (v *watcher) leader(n *node) {
	s := n.host.Group(v.group).Status()
	if s.Leader == 0 {
		return
	}
	if l, ok := v.leaders[s.Term]; ok && l != s.Leader {
		v.w.t.Fatalf("%v: node %d leads term %d, says node %d; so does node %d", v.w.Now(), s.Leader, s.Term, n.ID, l)
	}
	v.leaders[s.Term] = s.Leader
}

// commands compares what a node has applied since it was looked at.
func (v *watcher) commands(n *node) {
	s, l := v.seen[n.ID], n.lists[v.group]
	if s.list != l || s.n > len(l.Batches) {
		s = seen{list: l}
	}
	for ; s.n < len(l.Batches); s.n++ {
		switch r := l.Batches[s.n]; {
		case s.n == len(v.log):
			v.log = append(v.log, r)
		case v.log[s.n] != r:
			v.w.t.Fatalf("%v: node %d has %+v as command %d, another node %+v", v.w.Now(), n.ID, r, s.n+1, v.log[s.n])
		}
	}
	v.seen[n.ID] = s
}
