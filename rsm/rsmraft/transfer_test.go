package rsmraft_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"maru.example/internal/racing"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
)

// behind returns a world of three nodes of which one was cut off until the others
// have forgotten the entries that it needs: their snapshot has so many commands
// of 64 KiB.
func behind(t testing.TB, seed uint64, commands int) (w *world, leader, late *node) {
	w = newWorld(t, seed, 0)
	w.options.SnapshotBytes = 1 << 20
	w.options.CutLog = true
	for i := range 3 {
		w.add(rsmraft.NodeID(i + 1))
	}
	w.grow(1)
	leader = w.leader(1)
	late = w.others(leader)[0]
	late.isolate(true)
	for i := range commands {
		w.must(leader.propose(1, fmt.Sprint(i, strings.Repeat("x", 64<<10))))
	}
	for i := range 3 {
		w.must(leader.propose(1, fmt.Sprint("last ", i)))
		for _, n := range w.others(late) {
			n.snapshot(1)
		}
	}
	if w.leader(1) != leader {
		t.Fatal("another leads")
	}
	return w, leader, late
}

// snapshot writes a snapshot.
func (n *node) snapshot(id rsmraft.GroupID) {
	n.w.t.Helper()
	o := &outcome{}
	n.host.Group(id).StartSnapshot(func(err error) { o.done, o.err = true, err })
	n.w.must(o)
}

// hasSnapshot says whether the node has as new a snapshot as another had when it
// was asked.
func (n *node) hasSnapshot(of *node) func() bool {
	want := of.host.Group(1).Metrics().SnapshotIndex
	return func() bool { return n.host.Group(1).Metrics().SnapshotIndex >= want }
}

// parts returns how many files of received snapshots are left.
func (n *node) parts(t testing.TB) int {
	t.Helper()
	names, err := n.Disk.List("data/groups/00000001")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".part") {
			count++
		}
	}
	return count
}

func TestSnapshotForAFollower(t *testing.T) {
	w, leader, late := behind(t, 1, 40)
	late.isolate(false)
	w.run("the snapshot is there", late.hasSnapshot(leader))
	w.must(leader.propose(1, "after"))
	w.same(1, leader, late, w.node(0), w.node(1), w.node(2))
	if size := uint64(leader.host.Group(1).Metrics().SnapshotBytes); w.net.Bulk > size+size/10 {
		t.Errorf("%d bytes were sent for a snapshot of %d", w.net.Bulk, size)
	}
	if n := late.parts(t); n > 0 {
		t.Errorf("%d parts are left", n)
	}
	late.start() // recovers from what it was sent
	w.must(leader.propose(1, "and after"))
	w.same(1, leader, late)
}

// TestSnapshotOnANetworkOfFaults loses, repeats and reorders the pieces.
func TestSnapshotOnANetworkOfFaults(t *testing.T) {
	w, leader, late := behind(t, 2, 40)
	w.net.Drop, w.net.Duplicate, w.net.Reorder = 0.1, 0.1, 0.1
	late.isolate(false)
	w.run("the snapshot is there", late.hasSnapshot(leader))
	w.same(1, leader, late)
}

// TestSnapshotGoesOn breaks a transfer in the middle: what came is not sent again.
func TestSnapshotGoesOn(t *testing.T) {
	for _, tt := range []struct {
		name string
		stop func(w *world, late *node)
	}{
		{"after a cut", func(w *world, late *node) {
			late.isolate(true)
			w.pass(3 * time.Second)
			late.isolate(false)
		}},
		{"after a long cut", func(w *world, late *node) {
			late.isolate(true)
			w.pass(20 * time.Second)
			late.isolate(false)
		}},
		{"after a crash of the follower", func(w *world, late *node) {
			late.crash()
			w.pass(time.Second)
			late.start()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, leader, late := behind(t, 3, 120)
			size := uint64(leader.host.Group(1).Metrics().SnapshotBytes)
			late.isolate(false)
			w.run("half of it is sent", func() bool { return w.net.Bulk > size*2/3 })
			if late.hasSnapshot(leader)() {
				t.Fatal("it is there already")
			}
			tt.stop(w, late)
			w.run("the snapshot is there", late.hasSnapshot(leader))
			w.same(1, leader, late)
			if w.net.Bulk > size*3/2 {
				t.Errorf("%d bytes were sent for a snapshot of %d", w.net.Bulk, size)
			}
		})
	}
}

// TestSnapshotOfAnotherLeader takes the leader away in the middle of a transfer:
// the next one's snapshot takes its place.
func TestSnapshotOfAnotherLeader(t *testing.T) {
	w, leader, late := behind(t, 4, 60)
	late.isolate(false)
	w.run("some of it is sent", func() bool { return w.net.Bulk > 1<<20 })
	leader.crash()
	w.run("another leads", func() bool { return w.leader(1) != nil })
	next := w.leader(1)
	w.must(next.propose(1, "after"))
	w.run("the snapshot is there", late.hasSnapshot(next))
	w.same(1, next, late)
	leader.start()
	w.same(1, next, leader)
	if n := late.parts(t); n > 0 {
		t.Errorf("%d parts are left", n)
	}
}

// TestSnapshotThatIsDamaged sends a snapshot whose file is damaged at the leader:
// the follower does not take it, and gets the next one.
func TestSnapshotThatIsDamaged(t *testing.T) {
	w, leader, late := behind(t, 5, 40)
	index := leader.host.Group(1).Metrics().SnapshotIndex
	flip(t, leader.Disk, fmt.Sprintf("data/groups/00000001/%020d.snap", index), 1<<20)
	late.isolate(false)
	w.pass(10 * time.Second)
	if late.hasSnapshot(leader)() {
		t.Fatal("the damaged snapshot was taken")
	}
	w.must(leader.propose(1, "more"))
	leader.snapshot(1)
	w.run("the next one is there", late.hasSnapshot(leader))
	w.same(1, leader, late)
}

// TestNewNodeGetsASnapshot adds a node to a group of one that has entries and no
// snapshot: one is written for it.
func TestNewNodeGetsASnapshot(t *testing.T) {
	w := newWorld(t, 6, 2)
	w.options.SnapshotBytes = -1
	first, second := w.node(0), w.node(1)
	if _, err := first.host.Begin(1); err != nil {
		t.Fatal(err)
	}
	w.run("it leads", func() bool { return w.leader(1) == first })
	first.proposeMany(1, "p", 10)
	w.change(1, []rsmraft.NodeID{1}, []rsmraft.NodeID{2})
	w.run("the learner has a replica", func() bool { return second.lists[1] != nil })
	w.same(1, first, second)
	if second.host.Group(1).Metrics().SnapshotIndex == rsm.Index(0) {
		t.Error("it got no snapshot")
	}
}

// TestSnapshotOfALeaderWhoseDiskHangs lets the disk of a leader hang, so that it is
// silent for a while, when it is about to offer a snapshot to a follower. It goes on
// leading, and the follower gets it later.
func TestSnapshotOfALeaderWhoseDiskHangs(t *testing.T) {
	for seed := range uint64(racing.Rounds(40)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, 0)
			w.options.SnapshotBytes = 4 << 10
			w.options.ElectionTicks = 40
			for i := range 3 {
				w.add(rsmraft.NodeID(i + 1))
			}
			w.grow(1)
			leader, behind := w.leader(1), w.node(2)
			behind.isolate(true)
			w.fill(300)
			w.net.Least, w.net.Most = 100*time.Millisecond, 300*time.Millisecond
			leader.Process.Delay = hangs("writes", 1500*time.Millisecond)
			leader.propose(1, "hangs")
			w.pass(w.Between(500*time.Millisecond, 1200*time.Millisecond))
			w.net.Mend()
			w.pass(2 * time.Second)
			w.net.Least, w.net.Most = 100*time.Microsecond, 2*time.Millisecond
			leader.Process.Delay = hangs("writes", time.Millisecond)
			w.must(leader.propose(1, "goes on"))
			w.same(1, leader, behind)
		})
	}
}
