package rsmraft_test

import (
	"errors"
	"strings"
	"testing"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
	"maru.example/wal"
)

// TestEmptiedDisk lets a node come back under its old number with an empty disk,
// while the leader knows how much it had. Its host fails; the others go on.
func TestEmptiedDisk(t *testing.T) {
	w := newWorld(t, 1, 3)
	w.grow(1)
	w.fill(20)
	n := w.nodes[2]
	if w.leader(1) == n {
		n = w.nodes[3]
	}
	w.run("it has all", func() bool { return len(n.lists[1].Batches) == 20 })
	n.crash()
	n.Disk = vfs.NewMem()
	n.start()
	w.run("its host fails", func() bool { return n.host.Err() != nil })
	if err := n.host.Err(); !errors.Is(err, rsm.ErrFailed) || !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), "contradicts the log") {
		t.Errorf("got %v", err)
	}
	w.fill(20)
}

// TestGroupWithoutMachine checks that what is on the disk is not passed over: it is
// in the log, in the checkpoint, or has snapshots.
func TestGroupWithoutMachine(t *testing.T) {
	for name, snapshots := range map[string]int{"log": 0, "snapshot": 1, "checkpoint": 2} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			g, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, smallOptions(fs))
			if err != nil {
				t.Fatal(err)
			}
			propose(t, g, "a")
			for range snapshots {
				if err := g.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
				propose(t, g, "b")
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			h, err := rsmraft.Open(dir, 1, smallOptions(fs))
			if err == nil {
				_ = h.Close() // it should not be open
			}
			if err == nil || !strings.Contains(err.Error(), "is on the disk") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestShortLog opens a group that nobody else has with a log that ends before what it is known to have decided.
func TestShortLog(t *testing.T) {
	fs := vfs.NewMem()
	l := &rsmtest.List{}
	begin := func(decided rsm.Index) (*rsmraft.Host, error) {
		o := smallOptions(fs)
		o.Machine = func(rsmraft.GroupID) rsm.Machine { return l }
		o.Decided = func(id rsmraft.GroupID) rsm.Index { return decided * rsm.Index(id) }
		return rsmraft.Open(dir, 1, o)
	}
	last := rsm.Index(0)
	for range 2 {
		h, err := begin(last)
		if err != nil {
			t.Fatal(err)
		}
		g, err := h.Begin(1)
		if err == nil {
			err = g.WaitLeader()
		}
		if err != nil {
			t.Fatal(err)
		}
		propose(t, g, "a")
		last = g.Applied()
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		l = &rsmtest.List{}
	}
	if h, err := begin(last + 1); !errors.Is(err, rsmraft.ErrShort) {
		t.Errorf("got %v, %v", h, err)
	}
}
