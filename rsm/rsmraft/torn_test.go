package rsmraft_test

import (
	"fmt"
	"testing"
	"time"

	"maru.example/internal/racing"
	"maru.example/rsm/rsmraft"
)

// TestTornWrites kills a node of three at each change of its disk, one after the
// other, with the last write torn: it starts again, and all that was acknowledged
// is there.
func TestTornWrites(t *testing.T) {
	for edit := 1; edit <= racing.Rounds(150); edit++ {
		t.Run(fmt.Sprint("edit ", edit), func(t *testing.T) {
			w := newWorld(t, uint64(edit), 0)
			w.options.SnapshotBytes = 2 << 10
			w.options.SegmentBytes = 4 << 10
			w.options.CutLog = true
			for i := range 3 {
				w.add(rsmraft.NodeID(i + 1))
			}
			w.grow(1)
			torn := w.node(edit % 3)
			torn.Tear(edit)
			load := w.load(1)
			w.run("it dies", torn.Process.Dead)
			w.pass(w.Between(0, time.Second))
			torn.start()
			w.pass(2 * time.Second)
			load.stopped = true
			w.run("somebody leads", func() bool { return w.leader(1) != nil })
			w.must(w.leader(1).propose(1, "last"))
			w.same(1, w.node(0), w.node(1), w.node(2))
			missing(t, load.acknowledged, torn.lists[1].Data())
		})
	}
}

// TestTornReplacement lets a follower die while it replaces entries that an earlier
// leader had not committed, with more or less of the write on the disk: it does not
// take its old entries for committed ones.
func TestTornReplacement(t *testing.T) {
	for seed := range uint64(racing.Rounds(240)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, old, _ := three(t, seed)
			w.watch(1)
			w.must(old.propose(1, "first"))
			w.same(1, w.node(0), w.node(1), w.node(2))
			old.isolate(true)
			for i := range 5 {
				old.propose(1, fmt.Sprint("lost ", i))
				w.pass(20 * time.Millisecond)
			}
			w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != old })
			w.leader(1).proposeMany(1, "kept", 10)
			old.Tear(1 + int(seed%3))
			w.net.Mend()
			load := w.load(1)
			w.run("it dies", old.Process.Dead)
			load.stopped = true
			old.start()
			w.must(w.leader(1).propose(1, "last"))
			w.same(1, w.node(0), w.node(1), w.node(2))
		})
	}
}

// TestCheckpointDuringAWrite lets a follower die while it replaces an entry that an
// earlier leader had not committed, and has just written a checkpoint: that does not
// say of the old entry that it is committed.
func TestCheckpointDuringAWrite(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, old, _ := three(t, seed)
			w.watch(1)
			old.proposeMany(1, "first", 5)
			w.same(1, w.node(0), w.node(1), w.node(2))
			old.isolate(true)
			old.propose(1, "lost")
			w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != old })
			w.leader(1).proposeMany(1, "kept", 10)
			old.Process.Delay = hangs("writes", 800*time.Millisecond)
			w.net.Mend()
			w.run("it knows the leader", func() bool { return old.host.Group(1).Status().Leader == w.leader(1).ID })
			w.pass(50 * time.Millisecond)
			saved := false
			old.host.Group(1).StartSnapshot(func(err error) { saved = err == nil })
			w.pass(50 * time.Millisecond)
			if !saved {
				t.Fatal("there is no snapshot, and no checkpoint")
			}
			old.start()
			w.must(w.leader(1).propose(1, "last"))
			w.same(1, w.node(0), w.node(1), w.node(2))
		})
	}
}
