package rsmraft_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
)

// removable returns a world in which node 3 has a replica with snapshots of a
// group that it is no member of any more, since the index that is returned.
func removable(t *testing.T, seed uint64) (w *world, at rsmraft.Point) {
	w = newWorld(t, seed, 3)
	w.options.CutLog = seed%2 == 0
	w.grow(1)
	w.fill(400)
	w.change(1, []rsmraft.NodeID{1, 2}, nil)
	s := w.leader(1).host.Group(1).Status()
	at = rsmraft.Point{Term: s.Term, Index: s.Commit}
	w.nodes[3].refuses = map[rsmraft.GroupID]bool{1: true}
	w.Run(3*time.Second, func() bool { return false }) // it asks for votes meanwhile
	return w, at
}

// fill proposes commands where the group leads.
func (w *world) fill(commands int) {
	w.t.Helper()
	for i := range commands {
		o := w.leader(1).propose(1, fmt.Sprintf("%0100d", i))
		w.run("proposal", func() bool { return o.done })
		if o.err != nil {
			w.t.Fatal(o.err)
		}
	}
}

// remove removes the replica and returns what that says.
func (n *node) remove(at rsmraft.Point) error {
	n.w.t.Helper()
	var done *error
	n.host.Remove(1, at, func(err error) { done = &err })
	n.w.run("removed", func() bool { return done != nil })
	return *done
}

// files returns the names of what a node has on disk of group 1.
func (n *node) files() []string {
	n.w.t.Helper()
	names, err := n.Disk.List("data/groups/00000001")
	if err != nil {
		n.w.t.Fatal(err)
	}
	return names
}

// comesBack makes node 3 a voter again. The leader that made it a member gives up: it
// took it for what it was before.
func (w *world) comesBack() {
	w.t.Helper()
	n := w.nodes[3]
	n.refuses = nil
	w.change(1, []rsmraft.NodeID{1, 2}, []rsmraft.NodeID{3})
	w.catchesUp(n)
	w.change(1, []rsmraft.NodeID{1, 2, 3}, nil)
	w.fill(100)
	want := len(w.leader(1).lists[1].Batches)
	w.run("node 3 catches up", func() bool { return n.host.Group(1) != nil && len(n.lists[1].Batches) == want })
}

// catchesUp runs until a node has what the leader has.
func (w *world) catchesUp(n *node) {
	w.t.Helper()
	w.run("it catches up", func() bool {
		l := w.leader(1)
		return l != nil && n.host.Group(1) != nil && len(n.lists[1].Batches) == len(l.lists[1].Batches)
	})
}

func TestRemove(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, at := removable(t, seed)
			n := w.nodes[3]
			if len(n.files()) == 0 {
				t.Fatal("the replica has no snapshots: the test shows little")
			}
			old := n.host.Group(1)
			if err := n.remove(at); err != nil {
				t.Fatal(err)
			}
			if o := n.host.Group(1); o != nil {
				t.Error("the group is there")
			}
			if files := n.files(); len(files) > 0 {
				t.Errorf("files stay: %v", files)
			}
			if err := old.Err(); !errors.Is(err, rsmraft.ErrRemoved) || !errors.Is(err, rsm.ErrNoLeader) {
				t.Errorf("the old replica's error is %v", err)
			}
			if err := n.remove(at); err != nil {
				t.Errorf("again: %v", err)
			}
			for range 2 { // the second time there may be a checkpoint after the removal
				n.crash()
				n.start()
				w.Run(time.Second, func() bool { return false })
				if n.host.Group(1) != nil {
					t.Fatal("the group is there after a restart")
				}
			}
			w.comesBack()
			n.crash()
			n.start()
			want := len(w.leader(1).lists[1].Batches)
			w.run("node 3 is up again", func() bool { return n.host.Group(1) != nil && len(n.lists[1].Batches) == want })
		})
	}
}

// TestRemoveFails lets a disk not remove the files: the host fails, and when it is
// opened anew it goes on with it.
func TestRemoveFails(t *testing.T) {
	w, at := removable(t, 1)
	n := w.nodes[3]
	n.FS.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpRemove {
			return vfs.Fault{Err: vfs.ErrInjected}
		}
		return vfs.Fault{}
	})
	n.host.Remove(1, at, func(err error) { t.Errorf("it is done: %v", err) })
	w.run("the host fails", func() bool { return errors.Is(n.host.Err(), rsm.ErrFailed) })
	n.start()
	if files := n.files(); len(files) > 0 || n.host.Group(1) != nil {
		t.Errorf("files stay: %v", files)
	}
	w.comesBack()
}

// TestAcknowledgedBefore lets a leader hear late what a replica acknowledged that was
// removed since: it does not count for the one that the node has now.
func TestAcknowledgedBefore(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			w := newWorld(t, 5, 3)
			w.options.CutLog = true
			w.grow(1)
			w.grow(2)
			n, first := w.nodes[3], w.nodes[1]
			var late [][]byte
			w.net.Lose = func(from, to rsmraft.NodeID, message []byte) bool {
				if from == 3 && to == 1 {
					late = append(late, bytes.Clone(message))
				}
				return false
			}
			w.fill(200)
			w.net.Lose = nil
			w.change(1, []rsmraft.NodeID{1, 2}, nil)
			w.pass(time.Second)
			term := first.host.Group(1).Status().Term
			n.refuses = map[rsmraft.GroupID]bool{1: true}
			if err := n.remove(rsmraft.Point{Term: term, Index: first.host.Group(1).Status().Commit}); err != nil {
				t.Fatal(err)
			}
			if restart { // from a checkpoint, as the log before it is gone
				w.leader(2).proposeMany(2, strings.Repeat("x", 100), 1000)
				n.crash()
				n.start()
			}
			n.refuses = nil
			w.net.Lose = func(from, to rsmraft.NodeID, _ []byte) bool { return from == 3 || to == 3 }
			w.change(1, []rsmraft.NodeID{1, 2}, []rsmraft.NodeID{3})
			for _, message := range late {
				first.host.Receive(3, message)
			}
			w.pass(10 * time.Millisecond)
			if s := first.host.Group(1).Status(); s.Term != term || !s.Leads {
				t.Fatal("the leader is another by now: the test shows nothing")
			}
			w.net.Lose = nil
			w.run("another term", func() bool { l := w.leader(1); return l != nil && l.host.Group(1).Status().Term > term })
			w.fill(10)
			w.same(1, first, w.nodes[2], n)
		})
	}
}

func TestRemoveRefuses(t *testing.T) {
	w, at := removable(t, 1)
	for _, tt := range []struct {
		name string
		node rsmraft.NodeID
		at   rsmraft.Point
	}{
		{"the leader", 1, rsmraft.Point{Term: at.Term, Index: 1 << 40}},
		{"one with newer entries", 3, rsmraft.Point{Term: at.Term, Index: 100}},
		{"one that goes on", 2, rsmraft.Point{Term: at.Term, Index: at.Index - 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := w.nodes[tt.node].remove(tt.at); !errors.Is(err, rsmraft.ErrInUse) {
				t.Errorf("got %v, want %v", err, rsmraft.ErrInUse)
			}
			if w.nodes[tt.node].host.Group(1) == nil {
				t.Error("the replica is gone")
			}
		})
	}
	w.fill(10)
}

// TestRemoveCrash ends the process at any moment of a removal: then it is done, or
// was not begun.
func TestRemoveCrash(t *testing.T) {
	removed, left := 0, 0
	for seed := range uint64(12) {
		w, at := removable(t, seed)
		n := w.nodes[3]
		n.host.Remove(1, at, func(error) {})
		w.Run(w.Between(0, 3*time.Millisecond), func() bool { return false })
		n.crash()
		n.start()
		w.Run(time.Second, func() bool { return false })
		if n.host.Group(1) == nil {
			removed++
			if files := n.files(); len(files) > 0 {
				t.Errorf("seed %d: files of a removed group stay: %v", seed, files)
			}
		} else {
			left++
			if err := n.remove(at); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		w.comesBack()
	}
	if removed == 0 || left == 0 {
		t.Errorf("%d removed and %d left after the crashes, want some of each", removed, left)
	}
}

// TestRemoveWhereItBegan removes the replica with which the group began, before it
// had a snapshot.
func TestRemoveWhereItBegan(t *testing.T) {
	w := newWorld(t, 1, 3)
	w.grow(1)
	n := w.nodes[1]
	w.Run(time.Second, func() bool { return false }) // a node that has just come does not take the leadership
	w.leader(1).host.Group(1).HandOver(2)
	w.run("node 2 leads", func() bool { return w.leader(1) == w.nodes[2] })
	w.change(1, []rsmraft.NodeID{2, 3}, nil)
	s := w.leader(1).host.Group(1).Status()
	n.refuses = map[rsmraft.GroupID]bool{1: true}
	w.Run(3*time.Second, func() bool { return false })
	if err := n.remove(rsmraft.Point{Term: s.Term, Index: s.Commit}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n.crash()
		n.start()
		w.Run(time.Second, func() bool { return false })
		if n.host.Group(1) != nil {
			t.Fatal("the group is there after a restart")
		}
	}
	n.refuses = nil
	w.change(1, []rsmraft.NodeID{2, 3}, []rsmraft.NodeID{1})
	w.run("the next term", func() bool { l := w.leader(1); return l != nil && l.host.Group(1).Status().Term > s.Term })
	w.fill(10)
	want := len(w.leader(1).lists[1].Batches)
	w.run("node 1 catches up", func() bool { return n.host.Group(1) != nil && len(n.lists[1].Batches) == want })
}
