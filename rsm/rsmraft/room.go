package rsmraft

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/quorum"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"maru.example/rsm"
)

// A node with less room than the reserve takes no proposals, and does not lead. It goes
// on to take entries of leaders, so that nodes which fill up together end with the
// same; but not into the second half of the reserve. Then it is as one that does not
// answer, for entries alone: it votes, and confirms reads. It says so to the leaders,
// which refuse proposals where no majority is left that takes them.

// shortage says how little room there is on the disk.
type shortage int32

const (
	enoughRoom shortage = iota
	noProposals
	noEntries
)

// shortageOf returns the shortage with so much free.
func (o *Options) shortageOf(free int64) shortage {
	switch {
	case free >= o.ReserveBytes:
		return enoughRoom
	case free >= o.ReserveBytes/2:
		return noProposals
	}
	return noEntries
}

// takesEntries says whether there is room for what leaders send.
func (h *Host) takesEntries() bool { return shortage(h.shortage.Load()) < noEntries }

// lookAtDisk takes note of the free space.
func (h *Host) lookAtDisk() error {
	free, err := h.options.FS.Free(h.dir)
	if err != nil {
		return err
	}
	h.free.Store(free)
	full, now := h.room(), h.options.shortageOf(free)
	before := shortage(h.shortage.Swap(int32(now)))
	for _, g := range h.Groups() {
		g.noteRoom(full)
		if full != nil {
			g.loop.Post(g.stepDown)
		}
	}
	if now == before {
		return nil
	}
	log := h.options.Logger.With("dir", h.dir, "free_bytes", free, "reserve_bytes", h.options.ReserveBytes)
	const hint = "make room on this disk, or choose a smaller reserve: what is refused is taken again by itself"
	switch now {
	case enoughRoom:
		log.Info("rsmraft: room on the disk again: proposals are taken")
	case noProposals:
		log.Warn("rsmraft: disk nearly full: no proposals are taken, reads go on", "hint", hint)
	case noEntries:
		log.Error("rsmraft: half of the reserve is used up: no entries of other nodes are taken either, and replicas here fall behind", "hint", hint)
	}
	return nil
}

// room says why there is none on the disk, if so.
func (h *Host) room() error {
	if free := h.free.Load(); free < h.options.ReserveBytes {
		return fmt.Errorf("%w: %d bytes free, %d are kept in reserve: make room on the disk of %s", rsm.ErrDiskFull, free, h.options.ReserveBytes, h.dir)
	}
	return nil
}

// noteRoom lets the queue refuse proposals where this node has no room, or a
// majority has none.
func (g *Group) noteRoom(here error) {
	if there := g.cramped.Load(); here == nil && there != nil {
		here = *there
	}
	g.queue.SetFull(here)
}

// takes says whether a leader's message may be worked on. While there is no room for
// entries they are dropped, as if they were lost. Those without data are taken, such as
// the first of a leader, which answers no reads before that is committed; but not if
// others are missing before them: to refuse them would be to ask for those.
func (g *Group) takes(m *pb.Message) bool {
	if g.host.takesEntries() {
		return true
	}
	if m.GetType() == pb.MsgHeartbeat {
		g.host.options.Network.Send(NodeID(m.GetFrom()), LaneRaft, [][]byte{appendMessageHeader(nil, messageFull, g.id)})
	}
	return m.GetType() != pb.MsgApp || m.GetIndex() <= g.log.lastIndex() &&
		!slices.ContainsFunc(m.GetEntries(), func(e *pb.Entry) bool { return len(e.GetData()) > 0 })
}

// noteFull is called when a member says that it has no room for entries, as it does
// with each heartbeat.
func (g *Group) noteFull(from NodeID) {
	if g.leads && g.failed == nil {
		g.full[from] = g.host.options.ElectionTicks
	}
}

// tickMembers forgets what was not said again for an election timeout.
func (g *Group) tickMembers() {
	for _, said := range []map[NodeID]int{g.heard, g.full} {
		for id := range said {
			if said[id]--; said[id] <= 0 || !g.leads {
				delete(said, id)
			}
		}
	}
	g.led++
	if !g.leads {
		g.led = 0
	} else { // the consensus forgets all of them now and then, at once
		g.raw.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			if p.RecentActive || NodeID(id) == g.host.id {
				g.heard[NodeID(id)] = g.host.options.ElectionTicks
			}
		})
	}
}

// hears says whether a leader heard of a member lately, or is it.
func (g *Group) hears(id uint64) bool { return g.heard[NodeID(id)] > 0 || NodeID(id) == g.host.id }

// tickRoom looks whether there is a majority that has room, after a time in which all
// can be heard of.
func (g *Group) tickRoom() {
	lacks := len(g.full) > 0 && g.led > g.host.options.ElectionTicks && !g.majorityTakesEntries()
	if lacks == (g.cramped.Load() != nil) {
		return
	}
	g.cramped.Store(nil)
	if lacks {
		err := fmt.Errorf("%w: on nodes %v, without which group %d has no majority: make room there", rsm.ErrDiskFull, sortedKeys(g.full), g.id)
		g.host.options.Logger.Warn("rsmraft: no proposals are taken", "group", g.id, "error", err)
		g.cramped.Store(&err)
	}
	g.noteRoom(g.host.room())
}

// majorityTakesEntries says whether a majority of the voters, before and after a change
// of these under way, was heard of and has room.
func (g *Group) majorityTakesEntries() bool {
	votes := map[uint64]bool{}
	g.raw.WithProgress(func(id uint64, _ raft.ProgressType, _ tracker.Progress) {
		_, full := g.full[NodeID(id)]
		votes[id] = g.hears(id) && !full
	})
	voters := func(ids []uint64) quorum.MajorityConfig {
		c := quorum.MajorityConfig{}
		for _, id := range ids {
			c[id] = struct{}{}
		}
		return c
	}
	both := quorum.JointConfig{voters(g.conf().GetVoters()), voters(g.conf().GetVotersOutgoing())}
	return both.VoteResult(votes) == quorum.VoteWon
}

// refuseReads answers reads that wait for entries which are not taken, here or by the
// majority that a new leader needs.
func (g *Group) refuseReads() {
	if why := g.cramped.Load(); why != nil && g.leads && !g.settled {
		g.reads.refuse(*why)
	}
	if g.leads || g.host.takesEntries() {
		return
	}
	g.apply.Post(func() {
		g.replica.RefuseReads(fmt.Errorf("%w: this node is behind and takes no entries: ask another, or make room on the disk of %s", rsm.ErrDiskFull, g.host.dir))
	})
}

// stepDown hands the leadership to a voter that has caught up, if there is one:
// this node's disk is full.
func (g *Group) stepDown() {
	if !g.leads || g.failed != nil {
		return
	}
	to, best := uint64(0), uint64(0)
	g.raw.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		_, full := g.full[NodeID(id)]
		if kind == raft.ProgressTypePeer && id != uint64(g.host.id) && g.hears(id) && !full && p.Match > best {
			to, best = id, p.Match
		}
	})
	if to != 0 {
		g.raw.TransferLeader(to)
		g.work()
	}
}
