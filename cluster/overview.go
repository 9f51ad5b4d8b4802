package cluster

import (
	"cmp"
	"slices"
)

// Health says whether a node is there, as far as the leaders know whose word it is.
type Health string

// The healths of a node.
const (
	Unknown Health = "unknown" // no group that it is a member of is led here
	Alive   Health = "alive"   // it was heard of lately
	Silent  Health = "silent"  // it was not
)

// Overview is how a cluster stands, for people and their tools, as one node sees
// it. What only the leader of a group knows is missing where another node leads:
// the overviews of several nodes make a whole ([Overview.Merge]).
type Overview struct {
	Cluster    ID              `json:"cluster"`
	Seen       []NodeID        `json:"seen_by"` // whose overview it is
	Revision   uint64          `json:"revision"`
	Partitions int             `json:"partitions"`
	Config     Config          `json:"config"`
	Nodes      []NodeOverview  `json:"nodes"`
	Groups     []GroupOverview `json:"groups"`
}

// NodeOverview is how a node stands.
type NodeOverview struct {
	Node
	Health   Health `json:"health"`
	Replicas int    `json:"replicas"` // of partitions, as wanted
	Leads    int    `json:"leads"`    // partitions, as far as is known
}

// GroupOverview is how a group stands.
type GroupOverview struct {
	ID       GroupID          `json:"id"`
	Leader   NodeID           `json:"leader,omitempty"` // 0: not known
	Term     uint64           `json:"term,omitempty"`
	Commit   uint64           `json:"commit,omitempty"` // as far as the leader says; 0: not known
	Wanted   []NodeID         `json:"wanted"`           // the first should lead
	Voters   []NodeID         `json:"voters"`
	Outgoing []NodeID         `json:"outgoing,omitempty"` // voters until a change under way is done
	Learners []NodeID         `json:"learners,omitempty"`
	Members  []MemberOverview `json:"members,omitempty"` // none: not known
	AsWanted bool             `json:"as_wanted"`         // members and, if known, leader
}

// MemberOverview is what the leader of a group knows of a member.
type MemberOverview struct {
	Node   NodeID `json:"node"`
	Lag    uint64 `json:"lag"` // entries that it is not known to have
	Health Health `json:"health"`
}

// NewOverview returns how a cluster stands as a node sees it that has this metadata
// and these replicas.
func NewOverview(node NodeID, s *State, replicas []Replica) *Overview {
	o := &Overview{Cluster: s.Cluster, Seen: []NodeID{node}, Revision: s.Revision, Partitions: s.Partitions, Config: s.Config}
	for _, n := range s.Nodes {
		o.Nodes = append(o.Nodes, NodeOverview{Node: n, Health: Unknown})
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		view := GroupOverview{ID: g.ID, Wanted: g.Replicas, Voters: g.Actual.Voters, Learners: g.Actual.Learners}
		if j := slices.IndexFunc(replicas, func(r Replica) bool { return r.Group == g.ID }); j >= 0 {
			view.see(&replicas[j])
		}
		voters, learners := s.Wanted(g.ID)
		view.AsWanted = len(view.Outgoing) == 0 && slices.Equal(view.Voters, slices.Sorted(slices.Values(voters))) &&
			slices.Equal(view.Learners, learners) && (view.Leader == 0 || view.Leader == g.Replicas[0])
		o.Groups = append(o.Groups, view)
	}
	o.count()
	return o
}

// see takes up what the local replica knows.
func (v *GroupOverview) see(r *Replica) {
	v.Leader, v.Term = r.Leader, r.Term
	if !r.Leads {
		return
	}
	v.Commit, v.Voters, v.Outgoing, v.Learners = r.Commit, r.Voters, r.Outgoing, r.Learners
	for _, p := range r.Peers {
		m := MemberOverview{Node: p.Node, Lag: r.Commit - min(r.Commit, p.Match), Health: Silent}
		if p.Active {
			m.Health = Alive
		}
		v.Members = append(v.Members, m)
	}
}

// count brings up to date what follows from the groups for the nodes.
func (o *Overview) count() {
	for i := range o.Nodes {
		n := &o.Nodes[i]
		n.Replicas, n.Leads, n.Health = 0, 0, Unknown
		if slices.Contains(o.Seen, n.ID) {
			n.Health = Alive
		}
		for _, g := range o.Groups {
			if g.ID != Metadata && slices.Contains(g.Wanted, n.ID) {
				n.Replicas++
			}
			if g.ID != Metadata && g.Leader == n.ID {
				n.Leads++
			}
			for _, m := range g.Members {
				if m.Node == n.ID && n.Health != Alive {
					n.Health = m.Health
				}
			}
		}
	}
}

// Merge adds what another node of the same cluster sees: of each group, the view of
// the newer leader; of the metadata, the newer.
func (o *Overview) Merge(other *Overview) {
	if other.Cluster != o.Cluster || len(other.Groups) != len(o.Groups) {
		return
	}
	if other.Revision > o.Revision {
		o.Revision, o.Config, o.Nodes = other.Revision, other.Config, slices.Clone(other.Nodes)
	}
	o.Seen = slices.Compact(slices.Sorted(slices.Values(append(o.Seen, other.Seen...))))
	for i := range o.Groups {
		mine, theirs := &o.Groups[i], &other.Groups[i]
		if mine.less(theirs) {
			*mine = *theirs
		}
	}
	o.count()
}

// less says that o is the better view.
func (v *GroupOverview) less(o *GroupOverview) bool {
	known := func(v *GroupOverview) int { return min(len(v.Members), 1) }
	return cmp.Or(cmp.Compare(v.Term, o.Term), cmp.Compare(known(v), known(o)), cmp.Compare(v.Commit, o.Commit)) < 0
}
