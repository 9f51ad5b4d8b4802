package rsmraft_test

import (
	"fmt"
	"testing"

	"maru.example/rsm/rsmraft"
)

func TestOneNode(t *testing.T) {
	w := newWorld(t, 1, 1)
	n := w.nodes[1]
	if _, err := n.host.Begin(1); err != nil {
		t.Fatal(err)
	}
	w.run("it leads", func() bool { return w.leader(1) == n })
	for i := range 10 {
		o := n.propose(1, fmt.Sprint(i))
		w.run("proposal", func() bool { return o.done })
		if o.err != nil || o.result != uint64(i+1) {
			t.Fatalf("proposal %d: %+v", i, o)
		}
	}
	n.crash()
	n.start()
	w.run("it leads again", func() bool { return w.leader(1) == n })
	if got := len(n.lists[1].Batches); got != 10 {
		t.Errorf("%d commands after the crash, want 10", got)
	}
}

func TestThreeNodes(t *testing.T) {
	w := newWorld(t, 2, 3)
	w.grow(1)
	var all []*outcome
	for i := range 300 {
		o := w.nodes[rsmraft.NodeID(i%3+1)].propose(1, fmt.Sprint(i))
		all = append(all, o)
	}
	for i, o := range all {
		w.run("proposal", func() bool { return o.done })
		if o.err != nil {
			t.Fatalf("proposal %d: %v", i, o.err)
		}
	}
	leader := w.leader(1)
	leader.crash()
	w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != leader })
	o := w.leader(1).propose(1, "after")
	w.run("proposal", func() bool { return o.done })
	if o.err != nil || o.result != 301 {
		t.Fatalf("after the crash: %+v", o)
	}
	leader.start()
	w.run("the old leader catches up", func() bool { return len(leader.lists[1].Batches) == 301 })
}

// TestJoinAfterSnapshot adds members one at a time to a group whose newest snapshot
// is from before each of them: it cannot be theirs to begin with.
func TestJoinAfterSnapshot(t *testing.T) {
	w := newWorld(t, 3, 3)
	if _, err := w.nodes[1].host.Begin(1); err != nil {
		t.Fatal(err)
	}
	w.run("it leads", func() bool { return w.leader(1) != nil })
	all := []rsmraft.NodeID{1, 2, 3}
	for i := 1; i < 3; i++ {
		w.fill(200)
		w.change(1, all[:i], all[i:i+1])
		n := w.nodes[all[i]]
		w.run("the learner catches up", func() bool { return n.lists[1] != nil && len(n.lists[1].Batches) == 200*i })
		w.change(1, all[:i+1], nil)
	}
}
