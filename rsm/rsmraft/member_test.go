package rsmraft_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

// load proposes on the leader until it is stopped, and keeps what was acknowledged.
type load struct {
	w            *world
	stopped      bool
	acknowledged []string
}

func (w *world) load(id rsmraft.GroupID) *load {
	l := &load{w: w}
	for client := range 4 {
		i := 0
		var step func()
		step = func() {
			if l.stopped {
				return
			}
			if n := w.leader(id); n != nil {
				data := fmt.Sprint(client, "/", i)
				i++
				o := n.propose(id, data)
				w.At(w.Between(0, 2*time.Millisecond), func() { l.await(o, data, step) })
				return
			}
			w.At(10*time.Millisecond, step)
		}
		step()
	}
	return l
}

// await goes on with step when there is an answer.
func (l *load) await(o *outcome, data string, step func()) {
	if !o.done {
		l.w.At(time.Millisecond, func() { l.await(o, data, step) })
		return
	}
	if o.err == nil {
		l.acknowledged = append(l.acknowledged, data)
	}
	step()
}

// caughtUp says whether the leader knows that a node has nearly all entries.
func (w *world) caughtUp(id rsmraft.GroupID, node rsmraft.NodeID) func() bool {
	return func() bool {
		l := w.leader(id)
		if l == nil {
			return false
		}
		s := l.host.Group(id).Status()
		i := slices.IndexFunc(s.Peers, func(p rsmraft.Peer) bool { return p.Node == node })
		return i >= 0 && s.Peers[i].Match+100 >= s.Commit
	}
}

// TestReplaceANode replaces a node that is dead, and then the leader, under load:
// nothing that was acknowledged is missing, and writes never stop for long.
func TestReplaceANode(t *testing.T) {
	w := newWorld(t, 11, 0)
	w.options.SnapshotBytes = 4 << 10
	w.options.CutLog = true
	for i := range 3 {
		w.add(rsmraft.NodeID(i + 1))
	}
	w.grow(1)
	load := w.load(1)
	w.pass(time.Second)

	leader := w.leader(1)
	dead := w.others(leader)[0]
	dead.crash()
	var voters []rsmraft.NodeID
	for _, n := range w.others(dead) {
		voters = append(voters, n.ID)
	}
	w.add(4)
	w.change(1, append(voters, dead.ID), []rsmraft.NodeID{4})
	w.run("the new node catches up", w.caughtUp(1, 4))
	w.change(1, append(voters, 4), nil)
	w.pass(time.Second)

	old := w.leader(1)
	w.add(5)
	w.change(1, append(voters, 4), []rsmraft.NodeID{5})
	w.run("the new node catches up", w.caughtUp(1, 5))
	last := slices.DeleteFunc(append(voters, 4, 5), func(id rsmraft.NodeID) bool { return id == old.ID })
	w.change(1, last, nil)
	began := w.Now()
	w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != old })
	if took := w.Now() - began; took > 3*time.Second {
		t.Errorf("another leads after %v", took)
	}
	old.crash()
	w.pass(time.Second)
	load.stopped = true
	w.must(w.leader(1).propose(1, "last"))
	var nodes []*node
	for _, id := range last {
		nodes = append(nodes, w.nodes[id])
	}
	w.same(1, nodes...)
	missing(t, load.acknowledged, nodes[0].lists[1].Data())
	if len(load.acknowledged) < 500 {
		t.Errorf("only %d were acknowledged", len(load.acknowledged))
	}
}

// TestRemovedNodeDisturbsNobody removes a node that goes on running and does not
// hear of it.
func TestRemovedNodeDisturbsNobody(t *testing.T) {
	w, leader, others := three(t, 12)
	removed := others[0]
	removed.isolate(true)
	w.change(1, []rsmraft.NodeID{leader.ID, others[1].ID}, nil)
	term := leader.host.Group(1).Status().Term
	removed.isolate(false)
	w.pass(20 * time.Second)
	leader.proposeMany(1, "p", 5)
	if got := leader.host.Group(1).Status().Term; got != term || w.leader(1) != leader {
		t.Errorf("the term went from %d to %d", term, got)
	}
}

func TestLearnersDoNotVote(t *testing.T) {
	w := newWorld(t, 13, 3)
	if _, err := w.node(0).host.Begin(1); err != nil {
		t.Fatal(err)
	}
	w.run("it leads", func() bool { return w.leader(1) != nil })
	w.change(1, []rsmraft.NodeID{1}, []rsmraft.NodeID{2, 3})
	w.change(1, []rsmraft.NodeID{1, 2}, []rsmraft.NodeID{3})
	leader := w.leader(1)
	leader.proposeMany(1, "p", 5)
	w.same(1, w.node(0), w.node(1), w.node(2))
	w.node(1).crash()
	if err := w.wait(w.node(0).propose(1, "one of two voters")); !errors.Is(err, rsm.ErrUnknown) && !errors.Is(err, rsm.ErrNoLeader) {
		t.Errorf("got %v, want ErrUnknown or ErrNoLeader", err)
	}
	w.pass(10 * time.Second)
	if l := w.leader(1); l != nil {
		t.Errorf("node %d leads", l.ID)
	}
	w.node(1).start()
	w.run("it is back", func() bool { return w.leader(1) != nil })
	o := w.node(2).propose(1, "by way of a learner")
	w.must(o)
}

func TestFromOneToFiveAndBack(t *testing.T) {
	w := newWorld(t, 14, 5)
	w.grow(1)
	w.leader(1).proposeMany(1, "five", 10)
	w.same(1, w.node(0), w.node(1), w.node(2), w.node(3), w.node(4))
	l := w.leader(1)
	w.change(1, []rsmraft.NodeID{l.ID}, nil)
	l.proposeMany(1, "one", 10)
	l.start()
	w.run("it leads again", func() bool { return w.leader(1) == l })
	if got := len(l.lists[1].Batches); got != 20 {
		t.Errorf("%d commands, want 20", got)
	}
	l.proposeMany(1, "after", 5)
}

// TestLastMember leaves one member of several, and this one starts again before anything
// else is written: it leads, as it knows that the others are gone.
func TestLastMember(t *testing.T) {
	for _, size := range []int{2, 3} {
		t.Run(fmt.Sprint("of ", size), func(t *testing.T) {
			w := newWorld(t, 16, size)
			w.grow(1)
			w.leader(1).proposeMany(1, "all", 10)
			last := w.leader(1)
			w.change(1, []rsmraft.NodeID{last.ID}, nil)
			for _, n := range w.nodes {
				n.crash()
			}
			last.start()
			w.run("it leads again", func() bool { return w.leader(1) == last })
			last.proposeMany(1, "alone", 5)
		})
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	w, leader, others := three(t, 15)
	change := func(n *node, voters, learners []rsmraft.NodeID) *outcome {
		o := &outcome{}
		n.host.Group(1).StartChange(voters, learners, func(err error) { o.done, o.err = true, err })
		return o
	}
	all := []rsmraft.NodeID{1, 2, 3}
	w.pass(time.Second) // until the followers know of the last one
	if err := w.wait(change(leader, nil, all)); err == nil {
		t.Error("a group without voters")
	}
	if err := w.wait(change(others[0], []rsmraft.NodeID{1, 2}, nil)); !errors.Is(err, rsmraft.ErrNotLeader) {
		t.Errorf("on a follower: got %v, want ErrNotLeader", err)
	}
	if err := w.wait(change(others[0], all, nil)); err != nil {
		t.Errorf("what is so already: got %v", err)
	}
	first, second := change(leader, all, []rsmraft.NodeID{4}), change(leader, all, []rsmraft.NodeID{5})
	if err := w.wait(second); !errors.Is(err, rsmraft.ErrBusyChanging) {
		t.Errorf("a second one: got %v, want ErrBusyChanging", err)
	}
	if err := w.wait(first); err != nil {
		t.Error(err)
	}
	transfer := &outcome{}
	leader.host.Group(1).StartTransfer(4, func(err error) { transfer.done, transfer.err = true, err })
	if err := w.wait(transfer); err == nil {
		t.Error("the leadership was given to a learner")
	}
}

// TestFormerMember reads from and proposes to a replica that is no member any more,
// and that nobody tells so: it is refused, and does not wait for ever.
func TestFormerMember(t *testing.T) {
	w, leader, others := three(t, 7)
	former := others[0]
	w.change(1, []rsmraft.NodeID{leader.ID, others[1].ID}, nil)
	read, proposed := former.read(1, func(*rsmtest.List) {}), former.propose(1, "from outside")
	w.run("the read is answered", func() bool { return read.done })
	if read.err != nil && !errors.Is(read.err, rsm.ErrNoLeader) {
		t.Errorf("the read got %v", read.err)
	}
	w.run("the proposal is answered", func() bool { return proposed.done })
	w.run("the former member knows no leader", func() bool { return former.host.Group(1).Status().Leader == 0 })
	if err := w.wait(former.read(1, func(*rsmtest.List) {})); !errors.Is(err, rsm.ErrNoLeader) {
		t.Errorf("a later read got %v, want ErrNoLeader", err)
	}
	w.change(1, []rsmraft.NodeID{1, 2, 3}, nil)
	w.run("it is a member again", func() bool { return former.host.Group(1).Status().Leader == leader.ID })
	w.must(former.propose(1, "from inside"))
}
