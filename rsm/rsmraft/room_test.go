package rsmraft_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

// reserved returns a world of three nodes with a reserve and group 1 on all of them,
// the node that leads it, and the others.
func reserved(t testing.TB, seed uint64, change func(*rsmraft.Options)) (w *world, leader *node, others []*node) {
	w = newWorld(t, seed, 0)
	w.options.MaxQueueBytes = 1 << 16
	w.options.ReserveBytes = rsmraft.MinReserveBytes(1 << 16)
	if change != nil {
		change(&w.options)
	}
	for i := range 3 {
		w.add(rsmraft.NodeID(i + 1))
	}
	w.grow(1)
	leader = w.leader(1)
	leader.proposeMany(1, "before", 5)
	w.same(1, w.node(0), w.node(1), w.node(2))
	return w, leader, w.others(leader)
}

// starve leaves a node so little room that it takes no entries.
func (n *node) starve() {
	n.Disk.SetFree(n.w.options.ReserveBytes/2 - 1)
	n.w.run("it notices", func() bool { return n.host.Metrics().RefusesEntries })
}

// feed gives it room.
func (n *node) feed() { n.Disk.SetFree(1 << 40) }

// TestFollowerWithoutRoom takes the room of a follower: it takes no more entries, and the
// others go on. It confirms reads, and answers those that it can. With room it catches
// up by itself.
func TestFollowerWithoutRoom(t *testing.T) {
	w, leader, others := reserved(t, 1, nil)
	full := others[0]
	full.starve()
	term := leader.host.Group(1).Status().Term
	if o := w.must(full.read(1, func(*rsmtest.List) {})); o.result != 5 {
		t.Errorf("a read of what it has saw %d commands", o.result)
	}
	leader.proposeMany(1, "meanwhile", 50)
	w.pass(10 * time.Second)
	if got := len(full.lists[1].Batches); got != 5 {
		t.Errorf("it has %d commands, want the 5 of before", got)
	}
	if err := w.wait(full.read(1, func(*rsmtest.List) {})); !errors.Is(err, rsm.ErrDiskFull) {
		t.Errorf("a read of what it has not: %v, want ErrDiskFull", err)
	}
	s := leader.host.Group(1).Status()
	if s.Term != term || w.leader(1) != leader {
		t.Errorf("the term went from %d to %d", term, s.Term)
	}
	for _, p := range s.Peers {
		if p.Full != (p.Node == full.ID) || !p.Active {
			t.Errorf("the leader says of node %d: %+v", p.Node, p)
		}
	}

	others[1].isolate(true) // the one without room is a majority with the leader, for reads alone
	if o := w.must(leader.read(1, func(*rsmtest.List) {})); o.result != 55 {
		t.Errorf("a read of the leader saw %d commands", o.result)
	}
	others[1].isolate(false)
	full.feed()
	w.run("it catches up", func() bool { return len(full.lists[1].Batches) == 55 })
	w.pass(time.Second)
	leader.proposeMany(1, "after", 5)
	w.same(1, leader, others[0], others[1])
	if full.host.Metrics().RefusesEntries || full.host.Metrics().RefusesProposals {
		t.Error("it still refuses")
	}
}

// TestEntriesKeepHalfOfTheReserve lets the entries of the leader fill the disk of a
// follower, with and without a snapshot that it needs in the end.
func TestEntriesKeepHalfOfTheReserve(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut log=", cut), func(t *testing.T) {
			w, leader, others := reserved(t, 2, func(o *rsmraft.Options) {
				o.MaxEntryBytes, o.SegmentBytes, o.CutLog, o.SnapshotBytes = 256<<10, 8<<20, cut, 4<<20
			})
			full, half := others[0], w.options.ReserveBytes/2
			full.Disk.SetFree(w.options.ReserveBytes)
			data := strings.Repeat("x", 16<<10)
			for i := 0; !full.host.Metrics().RefusesEntries; i++ {
				w.must(leader.propose(1, fmt.Sprint(i, data)))
				if i > 4*int(w.options.ReserveBytes)/len(data) {
					t.Fatal("it takes whatever comes")
				}
			}
			for i := range 500 {
				w.must(leader.propose(1, fmt.Sprint("more", i, data)))
			}
			w.pass(20 * time.Second)
			// What was on its way when it was noticed, and what is written between two looks.
			if free, err := full.Disk.Free("data"); err != nil || free < half-(20<<20) || free > half {
				t.Errorf("%d bytes are free, %v, of a reserve of %d", free, err, w.options.ReserveBytes)
			}
			if err := full.host.Err(); err != nil {
				t.Fatal(err)
			}
			full.feed()
			w.must(leader.propose(1, "after"))
			w.same(1, leader, others[0], others[1])
		})
	}
}

// TestMajorityWithoutRoom takes the room of a follower, and the other one or its room:
// proposals are refused at once, and reads go on, until there is a majority with room.
func TestMajorityWithoutRoom(t *testing.T) {
	for _, tt := range []struct {
		name       string
		take, give func(n *node)
	}{
		{"two are full", (*node).starve, (*node).feed},
		{"one is full, one is dead", (*node).crash, (*node).start},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, leader, others := reserved(t, 3, nil)
			others[0].starve()
			w.must(leader.propose(1, "a majority has room"))
			tt.take(others[1])
			under := leader.propose(1, "under way")
			w.pass(5 * time.Second)
			if w.leader(1) != leader {
				t.Fatal("it does not lead any more")
			}
			began := w.Now()
			if err := w.wait(leader.propose(1, "refused")); !errors.Is(err, rsm.ErrDiskFull) || !strings.Contains(err.Error(), "no majority") {
				t.Errorf("got %v, want ErrDiskFull", err)
			}
			if o := w.must(leader.read(1, func(*rsmtest.List) {})); o.result != 6 {
				t.Errorf("a read saw %d commands, want 6", o.result)
			}
			if took := w.Now() - began; took > time.Second {
				t.Errorf("it took %v", took)
			}
			if under.done {
				t.Errorf("what was under way has the outcome %v", under.err)
			}
			tt.give(others[1])
			w.must(under)
			w.run("proposals are taken", func() bool { return w.wait(leader.propose(1, "again")) == nil })
			others[0].feed()
			w.same(1, leader, others[0], others[1])
		})
	}
}

// TestLeaderWithoutRoomChoosesOneWithRoom takes the room of the leader and of a follower.
func TestLeaderWithoutRoomChoosesOneWithRoom(t *testing.T) {
	for seed := range uint64(5) {
		w, leader, others := reserved(t, seed, nil)
		others[0].starve()
		w.pass(time.Second) // the leader is told
		leader.starve()
		w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != leader })
		if w.leader(1) != others[1] {
			t.Errorf("seed %d: node %d leads, which is full", seed, w.leader(1).ID)
		}
		w.pass(time.Second)
		if err := w.wait(others[1].propose(1, "refused")); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("seed %d: got %v, want ErrDiskFull", seed, err)
		}
		leader.feed()
		w.run("proposals are taken", func() bool { return w.wait(others[1].propose(1, "again")) == nil })
	}
}

// TestElectionWithoutRoom kills the leader, so that the one left with room needs a
// follower that is behind and takes no entries: that votes, but what the new leader may
// answer is not certain.
func TestElectionWithoutRoom(t *testing.T) {
	w, leader, others := reserved(t, 4, nil)
	others[0].starve()
	leader.proposeMany(1, "meanwhile", 5)
	leader.crash()
	next := others[1].host.Group(1)
	w.pass(10 * time.Second)
	if err := w.wait(others[1].propose(1, "refused")); !errors.Is(err, rsm.ErrDiskFull) {
		t.Errorf("a proposal: %v, want ErrDiskFull", err)
	}
	if s := next.Status(); s.Leader != others[1].ID || s.Leads {
		t.Errorf("the one with room has the status %+v", s)
	}
	if err := w.wait(others[1].read(1, func(*rsmtest.List) {})); !errors.Is(err, rsm.ErrDiskFull) {
		t.Errorf("a read: %v, want ErrDiskFull", err)
	}
	leader.start()
	w.run("proposals are taken", func() bool { return w.wait(others[1].propose(1, "again")) == nil })
	others[0].feed()
	w.same(1, others[1], leader, others[0])
}
