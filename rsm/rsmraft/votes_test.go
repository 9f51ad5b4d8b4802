package rsmraft_test

import (
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/internal/racing"
	"maru.example/rsm/rsmraft"
)

// TestVotesAreKept lets a voter of three die as soon as its vote has left. The
// candidate that got it leads from then on, and reaches nobody; the voter is soon
// back, and the third node, which has heard nothing of all that, asks it for its
// vote in the same term.
func TestVotesAreKept(t *testing.T) {
	for seed := range uint64(racing.Rounds(10)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, 3)
			w.grow(1)
			w.watch(1)
			e := &election{world: w, snapshots: seed%2 == 1}
			for range 8 {
				e.hold()
			}
			if e.asked == 0 {
				t.Error("no voter was asked after it had voted and died: the test shows little")
			}
		})
	}
}

// election is what TestVotesAreKept does to three nodes.
type election struct {
	*world
	snapshots bool  // the voter makes one before it dies: its vote is in the checkpoint then
	voter     *node // the other two reach it, and not each other
	voted     rsmraft.NodeID
	asked     int // candidates that came too late
}

// hold lets all nodes start at once, and elect.
func (e *election) hold() {
	w := e.world
	e.voter, e.voted = w.node(w.Rand.IntN(3)), 0
	w.must(w.leader(1).propose(1, fmt.Sprint("at ", w.Now())))
	for _, n := range w.others(e.voter) {
		for _, o := range w.others(e.voter) {
			w.net.Cut(n.ID, o.ID, true)
		}
	}
	w.net.Lose = e.sent
	for i := range 3 {
		w.node(i).start()
	}
	w.pass(w.Between(time.Second, 3*time.Second))
	for i := range 3 {
		if n := w.node(i); !n.Process.Dead() && n.host.Group(1) != nil {
			n.propose(1, fmt.Sprintf("on node %d at %v", n.ID, w.Now()))
		}
	}
	w.pass(w.Between(0, 20*time.Millisecond))
	w.net.Lose = nil
	w.net.Mend()
	w.run("all is well", func() bool { return w.leader(1) != nil && !e.voter.Process.Dead() })
}

// sent is called when a message leaves, and loses none.
func (e *election) sent(from, to rsmraft.NodeID, message []byte) (lost bool) {
	v := e.voter
	kind, rejects := raftType(message)
	asks := kind == pb.MsgVote || kind == pb.MsgPreVote
	switch {
	case asks && e.voted != 0 && to == v.ID && from != e.voted && !v.Process.Dead():
		e.asked++
	case kind == pb.MsgVoteResp && !rejects && e.voted == 0 && from == v.ID:
		e.voted = to
		e.silence(to)
		e.die()
	}
	return false
}

// silence lets nobody hear of a node any more.
func (e *election) silence(id rsmraft.NodeID) {
	for _, to := range e.ids() {
		e.net.Cut(id, to, true)
	}
}

// die lets the voter die, and start again after a while.
func (e *election) die() {
	v, w := e.voter, e.world
	again := func() {
		v.crash()
		w.At(w.Between(0, 100*time.Millisecond), v.start)
	}
	if !e.snapshots {
		again()
		return
	}
	v.host.Group(1).StartSnapshot(func(error) { w.At(20*time.Millisecond, again) })
}

// raftType returns the type of a message of the consensus, and whether it rejects
// what it answers; of other messages, one that no node sends to another.
func raftType(message []byte) (kind pb.MessageType, rejects bool) {
	const consensus, at = 1, 8 // see docs/format/raft.md
	if message[1] != consensus {
		return pb.MsgHup, false
	}
	return pb.MessageType(message[at]), message[at+1] == 1
}
