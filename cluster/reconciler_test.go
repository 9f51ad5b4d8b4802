package cluster

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// fakeHost is a node whose replicas do not change, whatever is done.
type fakeHost struct {
	replicas                       []Replica
	handed, changes, removed, said int
	learners                       []NodeID // of the last change
	answer                         error
}

func (h *fakeHost) Replicas() []Replica         { return h.replicas }
func (h *fakeHost) HandOver(GroupID, NodeID)    { h.handed++ }
func (h *fakeHost) Propose([]byte, func(error)) { h.said++ }
func (h *fakeHost) StartChange(_ GroupID, _, learners []NodeID, done func(error)) {
	h.changes++
	h.learners = learners
	done(h.answer)
}

func (h *fakeHost) Remove(_ GroupID, _, _ uint64, done func(error)) {
	h.removed++
	done(h.answer)
}

// fakeLoop is a loop that is driven by hand.
type fakeLoop struct {
	now    time.Duration
	posted []func()
	after  func()
	due    time.Duration
}

func (l *fakeLoop) Post(f func()) { l.posted = append(l.posted, f) }

func (l *fakeLoop) After(d time.Duration, f func()) func() {
	l.after, l.due = f, l.now+d
	return func() { l.after = nil }
}

// run lets time pass.
func (l *fakeLoop) run(d time.Duration) {
	for end := l.now + d; ; {
		for len(l.posted) > 0 {
			f := l.posted[0]
			l.posted = l.posted[1:]
			f()
		}
		if l.after == nil || l.due > end {
			l.now = end
			return
		}
		f := l.after
		l.after, l.now = nil, l.due
		f()
	}
}

func TestReconcilerPauses(t *testing.T) {
	m := newCluster(t, 3)
	g := m.State().Groups[1]
	others := []NodeID{g.Replicas[1], g.Replicas[0], g.Replicas[2]}
	leads := Replica{Group: 1, Term: 1, Leads: true, Voters: []NodeID{1, 2, 3}}
	for _, n := range others {
		leads.Peers = append(leads.Peers, Peer{Node: n, Active: true})
	}
	h := &fakeHost{replicas: []Replica{leads}}
	l := &fakeLoop{}
	r := NewReconciler(others[0], m, h, l, nil)
	r.Start()
	l.run(4 * time.Second)
	if h.handed != 0 {
		t.Error("it hands over as soon as it leads")
	}
	l.run(2 * time.Second)
	if h.handed != 1 {
		t.Errorf("%d times handed over after 6 s, want 1", h.handed)
	}
	l.run(100 * time.Second) // again after 10, 20 and 40 s more
	if h.handed != 4 {
		t.Errorf("%d times handed over after 106 s, want 4: the pause doubles", h.handed)
	}
	l.run(time.Hour)
	if h.handed < 9 || h.handed > 16 {
		t.Errorf("%d times handed over after an hour", h.handed)
	}
	if h.changes+h.removed+h.said != 0 {
		t.Errorf("%d changes, %d removals, %d reports of what is as wanted", h.changes, h.removed, h.said)
	}
	stopped := false
	r.Stop(func() { stopped = true })
	l.run(time.Hour)
	if before := h.handed; !stopped || h.handed != before || l.after != nil {
		t.Error("it goes on")
	}
}

func TestReconcilerTriesAgain(t *testing.T) {
	m := newCluster(t, 3)
	h := &fakeHost{answer: errors.New("no"), replicas: []Replica{
		{Group: 1, Term: 1, Leads: true, Voters: []NodeID{1}, Peers: []Peer{{Node: 1, Active: true}}}, // 2 and 3 are missing
	}}
	l := &fakeLoop{}
	r := NewReconciler(1, m, h, l, nil)
	r.Start()
	l.run(10 * time.Second)
	if h.changes != 21 {
		t.Errorf("%d changes were tried in 10 s, want one every 500 ms", h.changes)
	}
	if h.said != 5 {
		t.Errorf("%d reports in 10 s, want one every 2 s", h.said)
	}
}

// TestReconcilerKeepsThePast lets two nodes leave, one of them forced, while the leader lacks something of the past.
func TestReconcilerKeepsThePast(t *testing.T) {
	m := newCluster(t, 5)
	for _, c := range []command{{Remove: &removeCommand{Node: 4}}, {Remove: &removeCommand{Node: 5, Force: true}}} {
		run(t, m, c)
	}
	leads := Replica{Group: 1, Term: 1, Leads: true, Voters: []NodeID{1, 2, 3}, Learners: []NodeID{4, 5, 9}}
	for _, n := range append(leads.Voters, 4, 5, 9) {
		leads.Peers = append(leads.Peers, Peer{Node: n, Active: true})
	}
	h := &fakeHost{replicas: []Replica{leads}}
	l, lacks := &fakeLoop{}, true
	NewReconciler(m.State().Groups[1].Replicas[0], m, h, l, &ReconcilerOptions{Lacks: func(g GroupID) bool { return g == 1 && lacks }}).Start()
	l.run(time.Second)
	if want := []NodeID{4}; !slices.Equal(h.learners, want) {
		t.Errorf("while the leader lacks something, %v stay without a vote, want %v", h.learners, want)
	}
	lacks = false
	l.run(time.Second)
	if len(h.learners) > 0 {
		t.Errorf("when it lacks nothing, %v stay", h.learners)
	}
}

func TestReconcilerRemoves(t *testing.T) {
	m := newCluster(t, 4)
	var unwanted, wanted []Replica
	for _, g := range m.State().Groups {
		if r := (Replica{Group: g.ID}); m.State().MayHost(4, g.ID) {
			wanted = append(wanted, r)
		} else {
			unwanted = append(unwanted, r)
		}
	}
	if len(unwanted) == 0 || len(wanted) < 2 {
		t.Fatal("node 4 has all groups, or none")
	}
	l, h := &fakeLoop{}, &fakeHost{replicas: append(wanted, unwanted...)}
	NewReconciler(4, m, h, l, nil).Start()
	l.run(9 * time.Second)
	if h.removed != 0 {
		t.Error("a replica is removed at once")
	}
	l.run(2 * time.Second)
	if h.removed != len(unwanted) {
		t.Errorf("%d replicas are removed, want %d", h.removed, len(unwanted))
	}
}
