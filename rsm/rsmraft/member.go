package rsmraft

import (
	"context"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
)

// ChangeMembers makes the voters and learners of the group those given, by joint
// consensus (the Raft thesis, 4.3): at no moment can two majorities disagree. It
// returns when the change is applied here. Only the leader can; one change at a
// time. A node that is to vote should be a learner first, until it has caught up:
// see Status.
func (g *Group) ChangeMembers(ctx context.Context, voters, learners []NodeID) error {
	done := make(chan error, 1)
	g.StartChange(voters, learners, func(err error) { done <- err })
	err, ended := wait(ctx, g, done)
	switch {
	case ended == nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: change of members: %w", rsm.ErrUnknown, ended)
	}
	return ended
}

// StartChange is ChangeMembers for those who cannot wait: done is called, on a
// loop of the group, with what ChangeMembers would return.
func (g *Group) StartChange(voters, learners []NodeID, done func(error)) {
	w := confWaiter{voters: slices.Sorted(slices.Values(voters)), learners: slices.Sorted(slices.Values(learners)), done: done}
	if len(voters) == 0 {
		done(fmt.Errorf("rsmraft: group %d needs a voter", g.id))
		return
	}
	g.loop.Post(func() { g.changeMembers(w) })
}

// confWaiter waits until the configuration is what it wants.
type confWaiter struct {
	voters, learners []NodeID
	done             func(error)
	ticks            int // since it was proposed
}

// reached says that the configuration is the one that is wanted.
func (w *confWaiter) reached(c *pb.ConfState) bool {
	return len(c.GetVotersOutgoing()) == 0 && slices.Equal(nodes(c.GetVoters()), w.voters) && slices.Equal(nodes(c.GetLearners()), w.learners)
}

func (g *Group) changeMembers(w confWaiter) {
	conf := g.conf()
	switch {
	case g.failed != nil:
		w.done(g.failed)
	case w.reached(conf):
		w.done(nil)
	case !g.leads || !g.settled:
		w.done(fmt.Errorf("%w of group %d: that is node %d", ErrNotLeader, g.id, g.lead))
	case len(conf.GetVotersOutgoing()) > 0 || len(g.changes) > 0:
		w.done(fmt.Errorf("%w: group %d", ErrBusyChanging, g.id))
	default:
		change := difference(conf, w.voters, w.learners)
		if err := g.raw.ProposeConfChange(change); err != nil {
			w.done(fmt.Errorf("%w: group %d: %w", rsm.ErrNoLeader, g.id, err))
			return
		}
		g.changes = append(g.changes, &w)
		g.work()
	}
}

// difference returns the change from one configuration to another.
func difference(conf *pb.ConfState, voters, learners []NodeID) *pb.ConfChangeV2 {
	change := &pb.ConfChangeV2{}
	add := func(kind pb.ConfChangeType, id NodeID) {
		change.Changes = append(change.Changes, &pb.ConfChangeSingle{Type: &kind, NodeId: new(uint64(id))})
	}
	for _, id := range voters {
		if !slices.Contains(conf.GetVoters(), uint64(id)) {
			add(pb.ConfChangeAddNode, id)
		}
	}
	for _, id := range learners {
		if !slices.Contains(conf.GetLearners(), uint64(id)) {
			add(pb.ConfChangeAddLearnerNode, id)
		}
	}
	for _, id := range append(nodes(conf.GetVoters()), nodes(conf.GetLearners())...) {
		if !slices.Contains(voters, id) && !slices.Contains(learners, id) {
			add(pb.ConfChangeRemoveNode, id)
		}
	}
	return change
}

// applyConf applies the change of members in a committed entry, and returns the
// new configuration.
func (g *Group) applyConf(e *pb.Entry) []byte {
	var change pb.ConfChangeI
	if e.GetType() == pb.EntryConfChange {
		v1 := &pb.ConfChange{}
		if err := unmarshal(e.GetData(), v1); err != nil {
			panic(fmt.Sprintf("rsmraft: entry %d of group %d: %v", e.GetIndex(), g.id, err))
		}
		change = v1
	} else {
		v2 := &pb.ConfChangeV2{}
		if err := unmarshal(e.GetData(), v2); err != nil {
			panic(fmt.Sprintf("rsmraft: entry %d of group %d: %v", e.GetIndex(), g.id, err))
		}
		change = v2
	}
	g.members = g.raw.ApplyConfChange(change)
	g.host.options.Logger.Info("rsmraft: members", "group", g.id, "voters", nodes(g.members.GetVoters()),
		"outgoing", nodes(g.members.GetVotersOutgoing()), "learners", nodes(g.members.GetLearners()))
	g.publish()
	g.wakeWaiters()
	return encodeConf(g.members)
}

// settleChanges answers those whose change of members is applied.
func (g *Group) settleChanges() {
	g.changes = slices.DeleteFunc(g.changes, func(w *confWaiter) bool {
		if !w.reached(g.members) {
			return false
		}
		w.done(nil)
		return true
	})
}

// tickChanges proposes a change again that the library passed over, as it does in
// silence where it thinks that another is under way.
func (g *Group) tickChanges() {
	for _, w := range g.changes {
		if w.ticks++; w.ticks < g.host.options.ElectionTicks || !g.leads || !g.settled {
			continue
		}
		w.ticks = 0
		if conf := g.conf(); len(conf.GetVotersOutgoing()) == 0 && !w.reached(conf) {
			if err := g.raw.ProposeConfChange(difference(conf, w.voters, w.learners)); err != nil {
				g.host.options.Logger.Debug("rsmraft: change of members", "group", g.id, "error", err)
			}
		}
	}
}

// failChanges answers those who wait for a change of members.
func (g *Group) failChanges(err error) {
	for _, w := range g.changes {
		w.done(err)
	}
	g.changes = nil
}

// TransferLeader hands the leadership to another voter, and returns when this
// replica does not lead any more. A replica that does not lead returns at once.
func (g *Group) TransferLeader(ctx context.Context, to NodeID) error {
	done := make(chan error, 1)
	g.StartTransfer(to, func(err error) { done <- err })
	err, ended := wait(ctx, g, done)
	if ended != nil {
		return fmt.Errorf("rsmraft: leadership of group %d was not taken: %w", g.id, ended)
	}
	return err
}

// StartTransfer is TransferLeader for those who cannot wait: done is called, on a
// loop of the group, with what TransferLeader would return.
func (g *Group) StartTransfer(to NodeID, done func(error)) {
	g.loop.Post(func() {
		switch {
		case !g.leads || g.failed != nil:
			done(g.failed)
		case !slices.Contains(g.conf().GetVoters(), uint64(to)) || to == g.host.id:
			done(fmt.Errorf("rsmraft: node %d is no other voter of group %d", to, g.id))
		default:
			g.transfers = append(g.transfers, done)
			g.raw.TransferLeader(uint64(to))
			g.work()
		}
	})
}

// HandOver is TransferLeader for those who do not wait: Status says whether it
// succeeded.
func (g *Group) HandOver(to NodeID) { g.StartTransfer(to, func(error) {}) }

// Snapshot writes a snapshot of the present state and returns when it is durable.
func (g *Group) Snapshot(ctx context.Context) error {
	done := make(chan error, 1)
	g.StartSnapshot(func(err error) { done <- err })
	err, ended := wait(ctx, g, done)
	if ended == nil && errors.Is(err, rsm.ErrClosed) {
		ended = g.queue.Err()
	}
	if ended != nil {
		return fmt.Errorf("rsm: wait for the snapshot: %w", ended)
	}
	return err
}

// StartSnapshot is Snapshot for those who cannot wait: done is called, on a loop
// of the group, with what Snapshot would return.
func (g *Group) StartSnapshot(done func(error)) {
	g.apply.Post(func() { g.replica.Snapshot(done) })
}

// OnLeading sets a function that is called on the loop that applies entries: with
// true when this replica leads and everything that earlier leaders committed is
// applied, and with false when it does not lead any more. It is set before the
// group begins, by Options.Machine for instance, or it may miss the first call.
func (g *Group) OnLeading(f func(leads bool)) {
	g.loop.Post(func() {
		g.leading = f
		if g.leads && g.settled {
			g.apply.Post(func() { f(true) })
		}
	})
}

// drain takes no more proposals; drained is closed when those that were taken are
// answered, or it is not to be waited for.
func (g *Group) drain() {
	g.queue.Close()
	g.closing.Store(true)
	g.loop.Post(g.finish)
}

// closePatience is how many election timeouts a group that is closed waits for
// its proposals to be committed.
const closePatience = 4

// finish says that the group is drained, if it is.
func (g *Group) finish() {
	if g.finished || !g.closing.Load() && g.failed == nil {
		return
	}
	if g.failed != nil || g.lead == 0 || g.underWay.Load() == 0 && g.queue.Waiting() == 0 ||
		g.closingTicks > closePatience*g.host.options.ElectionTicks {
		g.finished = true
		close(g.drained)
	}
}
