package cluster

import (
	"cmp"
	"slices"
)

// Replica is how a node's replica of a group stands.
type Replica struct {
	Group    GroupID
	Term     uint64
	Leader   NodeID // 0: none is known
	Leads    bool   // this replica does, and knows all that was committed before
	Commit   uint64 // index
	Applied  uint64 // index up to which the machine has it
	Voters   []NodeID
	Outgoing []NodeID // of a change under way: voters until it is done
	Learners []NodeID
	Peers    []Peer // what a leader knows of the members, also of itself
	// What follows is for people: nothing is decided by it.
	Proposals ProposalsOverview
	Sending   []SnapshotOverview // on their way to other nodes
	Receiving *SnapshotOverview  // nil: none
	DiskLow   bool               // its node takes no proposals before there is more room
}

// Peer is what a leader knows of a member.
type Peer struct {
	Node   NodeID
	Match  uint64 // index up to which it is known to have the log
	Active bool   // it was heard of lately
	Full   bool   // it takes no entries, as its disk is nearly full
}

// peer returns what is known of a member.
func (r *Replica) peer(id NodeID) Peer {
	if i := slices.IndexFunc(r.Peers, func(p Peer) bool { return p.Node == id }); i >= 0 {
		return r.Peers[i]
	}
	return Peer{Node: id}
}

// step is what a leader does next about its group.
type step struct {
	kind             stepKind
	voters, learners []NodeID // of stepChange
	to               NodeID   // of stepHandOver
}

type stepKind uint8

const (
	stepNone stepKind = iota
	stepChange
	stepHandOver
)

// planner decides the next step from how a group stands to what is wanted of it.
type planner struct {
	node             NodeID // that leads
	replica          *Replica
	voters, learners []NodeID            // wanted; the first voter should lead
	caughtUp         func(p Peer) bool   // it may vote, or lead
	stays            func(n NodeID) bool // it may be handed the leadership
	needed           func(n NodeID) bool // where it is not wanted: it may have what this node lacks
}

// plan returns the next step. A node that shall vote first learns; when it has
// caught up it takes the place of one that shall not, by a joint change. A leader
// that shall be no voter hands over before it goes. Who is needed although it shall
// go stays without a vote. At no time is a voter taken
// away whose place nobody takes, nor a majority made of nodes that are not there.
func (p *planner) plan() step {
	if len(p.replica.Outgoing) > 0 || len(p.voters) == 0 {
		return step{}
	}
	voters := p.nextVoters()
	var learners, missing []NodeID
	for _, n := range append(slices.Clone(p.voters), p.learners...) {
		switch {
		case slices.Contains(voters, n):
		case slices.Contains(p.replica.Learners, n):
			learners = append(learners, n)
		case !slices.Contains(p.replica.Voters, n):
			missing = append(missing, n)
		}
	}
	learners = append(learners, p.keptWithoutVote(voters)...)
	slices.Sort(learners)
	changed := !slices.Equal(voters, p.replica.Voters) || !slices.Equal(learners, p.replica.Learners)
	if changed && p.majority(voters) {
		return step{kind: stepChange, voters: voters, learners: learners}
	}
	if len(missing) > 0 && !p.learning(learners) {
		learners = append(slices.Clone(p.replica.Learners), missing[0])
		slices.Sort(learners)
		return step{kind: stepChange, voters: p.replica.Voters, learners: learners}
	}
	return p.handOver()
}

// nextVoters returns those that may vote next: the wanted ones that do or have
// caught up, and in the place of those that have not, voters that are there.
func (p *planner) nextVoters() []NodeID {
	var next, others []NodeID
	for _, n := range p.voters {
		votes := slices.Contains(p.replica.Voters, n)
		if votes || slices.Contains(p.replica.Learners, n) && p.caughtUp(p.replica.peer(n)) {
			next = append(next, n)
		}
	}
	for _, n := range p.replica.Voters {
		if !slices.Contains(p.voters, n) {
			others = append(others, n)
		}
	}
	slices.SortStableFunc(others, func(a, b NodeID) int { return cmp.Compare(p.worth(b), p.worth(a)) })
	next = append(next, others[:min(len(others), len(p.voters)-len(next))]...)
	if !slices.Contains(next, p.node) {
		next = append(next, p.node) // until another leads
	}
	slices.Sort(next)
	return next
}

// keptWithoutVote returns those members that are not wanted, and needed.
func (p *planner) keptWithoutVote(voters []NodeID) (kept []NodeID) {
	for _, n := range slices.Concat(p.replica.Voters, p.replica.Learners) {
		if !slices.Contains(voters, n) && !slices.Contains(p.voters, n) && !slices.Contains(p.learners, n) && p.needed(n) {
			kept = append(kept, n)
		}
	}
	return kept
}

// worth orders voters that are not wanted by how much they are needed meanwhile.
func (p *planner) worth(n NodeID) int {
	switch {
	case n == p.node:
		return 2
	case p.replica.peer(n).Active:
		return 1
	}
	return 0
}

// majority says whether more than half of the nodes are there.
func (p *planner) majority(voters []NodeID) bool {
	there := 0
	for _, n := range voters {
		if n == p.node || p.replica.peer(n).Active {
			there++
		}
	}
	return 2*there > len(voters)
}

// learning says that a learner which shall vote is catching up: the next has to
// wait.
func (p *planner) learning(learners []NodeID) bool {
	return slices.ContainsFunc(learners, func(n NodeID) bool {
		peer := p.replica.peer(n)
		return slices.Contains(p.voters, n) && peer.Active && !p.caughtUp(peer)
	})
}

// handOver hands the leadership to the node that should have it, or, if this one
// shall be no voter, to any that may.
func (p *planner) handOver() step {
	for i, n := range p.voters {
		if n == p.node {
			return step{}
		}
		if slices.Contains(p.replica.Voters, n) && p.stays(n) && p.caughtUp(p.replica.peer(n)) {
			return step{kind: stepHandOver, to: n}
		}
		if i == 0 && slices.Contains(p.voters, p.node) {
			return step{}
		}
	}
	return step{}
}
