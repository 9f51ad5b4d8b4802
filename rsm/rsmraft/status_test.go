package rsmraft_test

import (
	"fmt"
	"testing"
	"time"

	"maru.example/rsm/rsmraft"
)

// TestLatencyOfProposals proposes on the leader and on a follower, with an idle
// disk and with a slow one.
func TestLatencyOfProposals(t *testing.T) {
	w, leader, others := three(t, 1)
	follower := others[0]
	leader.proposeMany(1, "a", 10)
	for i := range 3 { // a majority is slow then
		w.node(i).Process.Delay = hangs("writes", 100*time.Millisecond)
	}
	follower.proposeMany(1, "b", 5)
	for _, tt := range []struct {
		name  string
		node  *node
		count uint64
		slow  uint64 // of them
	}{
		{"the leader's and those that were sent on to it", leader, 15, 5},
		{"a follower's own", follower, 5, 5},
		{"nobody's", others[1], 0, 0},
	} {
		h := tt.node.host.Group(1).Metrics().Latency
		slow := uint64(0)
		for i, bound := range rsmraft.LatencyBounds() {
			if bound > 100*time.Millisecond {
				slow += h.Counts[i]
			}
		}
		if h.Count() != tt.count || slow != tt.slow || h.Sum < time.Duration(slow)*100*time.Millisecond {
			t.Errorf("%s: %d proposals took %v, %d of them long; want %d and %d", tt.name, h.Count(), h.Sum, slow, tt.count, tt.slow)
		}
	}
	if m := follower.host.Group(1).Metrics(); m.RecentLatency != m.Latency {
		t.Errorf("recent are %v of %v", m.RecentLatency, m.Latency)
	}
}

// TestLatencyUnderLoad lets a disk take long for each write, so that proposals wait
// in the queue: that counts.
func TestLatencyUnderLoad(t *testing.T) {
	w := newWorld(t, 1, 1)
	n := w.node(0)
	if _, err := n.host.Begin(1); err != nil {
		t.Fatal(err)
	}
	w.run("it leads", func() bool { return w.leader(1) == n })
	n.Process.Delay = hangs("group 1", 50*time.Millisecond)
	var all []*outcome
	for i := range 3 {
		all = append(all, n.propose(1, fmt.Sprint("p", i)))
	}
	began := w.Now()
	for _, o := range all {
		w.must(o)
	}
	h := n.host.Group(1).Metrics().Latency
	if took := w.Now() - began; h.Count() != 3 || h.Sum > 3*took || h.Sum < 3*50*time.Millisecond {
		t.Errorf("%d proposals took %v together, and %v by the clock", h.Count(), h.Sum, took)
	}
}

// TestLags stops the machine of a replica, and then another node: the status tells
// how far each is behind.
func TestLags(t *testing.T) {
	w, leader, others := three(t, 2)
	late := others[0]
	leader.proposeMany(1, "before", 5)
	w.same(1, leader, others[0], others[1])
	late.Process.Delay = hangs("apply 1", time.Minute)
	leader.proposeMany(1, "more", 5)
	w.pass(time.Second)
	if s := late.host.Group(1).Status(); s.Commit-s.Applied != 5 {
		t.Errorf("it has applied %d of %d", s.Applied, s.Commit)
	}
	if s := leader.host.Group(1).Status(); s.Commit != s.Applied {
		t.Errorf("the leader has applied %d of %d", s.Applied, s.Commit)
	}
	others[1].isolate(true)
	late.Process.Delay = nil
	w.pass(time.Minute)
	leader.proposeMany(1, "and more", 7)
	w.pass(time.Second)
	s := leader.host.Group(1).Status()
	for _, p := range s.Peers {
		want := s.Commit
		if p.Node == others[1].ID {
			want -= 7
		}
		if p.Match != want {
			t.Errorf("node %d has %d of %d, want %d", p.Node, p.Match, s.Commit, want)
		}
	}
}

// TestActiveMembers looks at what a leader says of members that are there, again and
// again, and of one that is gone.
func TestActiveMembers(t *testing.T) {
	w, leader, others := three(t, 3)
	w.pass(time.Second)
	active := func(id rsmraft.NodeID) bool {
		for _, p := range leader.host.Group(1).Status().Peers {
			if p.Node == id {
				return p.Active
			}
		}
		return false
	}
	for range 500 {
		w.pass(10 * time.Millisecond)
		for i := range 3 {
			if !active(w.node(i).ID) {
				t.Fatalf("at %v node %d is said to be silent", w.Now(), w.node(i).ID)
			}
		}
	}
	others[0].crash()
	w.run("it is silent", func() bool { return !active(others[0].ID) })
	w.pass(5 * time.Second)
	if active(others[0].ID) || !active(others[1].ID) || !active(leader.ID) {
		t.Errorf("members: %+v", leader.host.Group(1).Status().Peers)
	}
}

// TestSnapshotProgress looks at the status of both ends of a transfer.
func TestSnapshotProgress(t *testing.T) {
	w, leader, late := behind(t, 7, 120)
	w.net.Least, w.net.Most = 50*time.Millisecond, 60*time.Millisecond
	size := uint64(0)
	last := map[*node]int64{}
	late.isolate(false)
	for there := late.hasSnapshot(leader); !there(); {
		w.pass(time.Millisecond)
		sent, got := leader.host.Group(1).Status().Sending, late.host.Group(1).Status().Receiving
		if len(sent) == 0 || got == nil {
			continue
		}
		if sent[0].Peer != late.ID || got.Peer != leader.ID || got.Index != sent[0].Index {
			t.Fatalf("sends %+v, receives %+v", sent, got)
		}
		if sent[0].Bytes < last[leader] || got.Bytes < last[late] || sent[0].Bytes > sent[0].Of || got.Bytes > got.Of {
			t.Fatalf("sends %+v after %d, receives %+v after %d", sent, last[leader], got, last[late])
		}
		last[leader], last[late], size = sent[0].Bytes, got.Bytes, uint64(got.Of)
	}
	if bytes := uint64(leader.host.Group(1).Metrics().SnapshotBytes); size < bytes || last[leader] == 0 || last[late] == 0 {
		t.Errorf("of a snapshot of %d bytes, %d were to be sent; the last to be seen were %v", bytes, size, last)
	}
	w.pass(time.Second)
	if s := leader.host.Group(1).Status(); s.Sending != nil {
		t.Errorf("it still sends %+v", s.Sending)
	}
	if s := late.host.Group(1).Status(); s.Receiving != nil {
		t.Errorf("it still receives %+v", s.Receiving)
	}
}
