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
	// Error says why the node gave no overview to whoever asked all nodes for
	// theirs; "" if it did, or was not asked.
	Error string `json:"error,omitempty"`
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
	// Replicas are those of the nodes whose overview it is, by node.
	Replicas []ReplicaOverview `json:"replicas,omitempty"`
}

// ReplicaOverview is what a node knows of its own replica of a group.
type ReplicaOverview struct {
	Node      NodeID             `json:"node"`
	Commit    uint64             `json:"commit"`
	Applied   uint64             `json:"applied"` // what lies between is committed, and not applied here
	Proposals ProposalsOverview  `json:"proposals"`
	Sending   []SnapshotOverview `json:"sending,omitempty"`   // snapshots, to members that are far behind
	Receiving *SnapshotOverview  `json:"receiving,omitempty"` // as this one is far behind
	DiskLow   bool               `json:"disk_low,omitempty"`  // its node takes no proposals before there is more room
	// ArchiveLost is how many entries of the group the node's archive had, and neither that nor its log has now.
	ArchiveLost uint64 `json:"archive_lost,omitempty"`
	// Past is what the node has of the group's past; nil: not known, or of the metadata, which has none.
	Past *PastOverview `json:"past,omitempty"`
	// InFlight counts what the group has under way with other groups, by phase.
	InFlight map[string]uint64 `json:"in_flight,omitempty"`
}

// PastOverview is what a node lacks of what a group decided before the node's own log begins.
type PastOverview struct {
	Missing uint64 `json:"missing,omitempty"` // entries that it gets from other nodes, and has not yet
	Nowhere bool   `json:"nowhere,omitempty"` // no node of the cluster has the next of those
	Cut     bool   `json:"cut,omitempty"`     // it keeps none: its log is cut, and it has no archive
	Error   string `json:"error,omitempty"`   // why the last try failed
}

// Whole says whether nothing is missing.
func (p *PastOverview) Whole() bool { return p != nil && p.Missing == 0 && !p.Cut }

// ProposalsOverview is how long the proposals took that came to a replica in the
// last 10 to 20 seconds, until they were committed and answered.
type ProposalsOverview struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_seconds"` // half of them took no longer
	P99   float64 `json:"p99_seconds"`
}

// SnapshotOverview is how far a snapshot is on its way from one node to another.
type SnapshotOverview struct {
	Node  NodeID `json:"node"`     // the other one
	Index uint64 `json:"index"`    // up to which the snapshot has the group's log
	Bytes int64  `json:"bytes"`    // that were transferred
	Of    int64  `json:"of_bytes"` // 0: not known yet
}

// MemberOverview is what the leader of a group knows of a member.
type MemberOverview struct {
	Node     NodeID `json:"node"`
	Lag      uint64 `json:"lag"` // entries that it is not known to have
	Health   Health `json:"health"`
	DiskFull bool   `json:"disk_full,omitempty"` // it takes no entries before there is more room
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
			view.Replicas = []ReplicaOverview{overviewOf(node, &replicas[j])}
		}
		voters, learners := s.Wanted(g.ID)
		view.AsWanted = len(view.Outgoing) == 0 && slices.Equal(view.Voters, slices.Sorted(slices.Values(voters))) &&
			slices.Equal(view.Learners, learners) && (view.Leader == 0 || view.Leader == g.Replicas[0])
		o.Groups = append(o.Groups, view)
	}
	o.count()
	return o
}

func overviewOf(node NodeID, r *Replica) ReplicaOverview {
	return ReplicaOverview{
		Node: node, Commit: r.Commit, Applied: r.Applied, Proposals: r.Proposals, Sending: r.Sending, Receiving: r.Receiving,
		DiskLow: r.DiskLow,
	}
}

// Replica returns what a node says of its replica, nil if that is not known.
func (v *GroupOverview) Replica(node NodeID) *ReplicaOverview {
	i := slices.IndexFunc(v.Replicas, func(r ReplicaOverview) bool { return r.Node == node })
	if i < 0 {
		return nil
	}
	return &v.Replicas[i]
}

// SetInFlight adds what a node's replica of a group has under way, by phase.
func (o *Overview) SetInFlight(id GroupID, node NodeID, counts map[string]uint64) {
	if int64(id) >= int64(len(o.Groups)) {
		return
	}
	if r := o.Groups[id].Replica(node); r != nil {
		r.InFlight = counts
	}
}

// SetArchiveLost adds how many entries of a group a node's archive lost.
func (o *Overview) SetArchiveLost(id GroupID, node NodeID, entries uint64) {
	if int64(id) >= int64(len(o.Groups)) {
		return
	}
	if r := o.Groups[id].Replica(node); r != nil {
		r.ArchiveLost = entries
	}
}

// SetPast adds what a node has of a group's past.
func (o *Overview) SetPast(id GroupID, node NodeID, past PastOverview) {
	if int64(id) >= int64(len(o.Groups)) {
		return
	}
	if r := o.Groups[id].Replica(node); r != nil {
		r.Past = &past
	}
}

// OnlyPast returns the groups of which nobody but a node, as far as is known, has the whole past, though others
// keep it: were it removed, that would be lost. Of a node that says nothing it is taken for whole.
func (o *Overview) OnlyPast(node NodeID) (groups []GroupID) {
	for i := range o.Groups {
		g := &o.Groups[i]
		if g.ID == Metadata || !slices.Contains(g.Wanted, node) && !slices.Contains(g.Voters, node) && !slices.Contains(g.Learners, node) {
			continue
		}
		if r := g.Replica(node); r != nil && r.Past != nil && !r.Past.Whole() {
			continue
		}
		whole, others, cut := false, 0, 0
		for j := range g.Replicas {
			if r := &g.Replicas[j]; r.Node != node {
				others++
				whole = whole || r.Past.Whole()
				if r.Past != nil && r.Past.Cut {
					cut++
				}
			}
		}
		if unwanted := g.Replica(node) == nil && others > 0 && cut == others; !whole && !unwanted {
			groups = append(groups, g.ID)
		}
	}
	return groups
}

// see takes up what the local replica knows.
func (v *GroupOverview) see(r *Replica) {
	v.Leader, v.Term = r.Leader, r.Term
	if !r.Leads {
		return
	}
	v.Commit, v.Voters, v.Outgoing, v.Learners = r.Commit, r.Voters, r.Outgoing, r.Learners
	for _, p := range r.Peers {
		m := MemberOverview{Node: p.Node, Lag: r.Commit - min(r.Commit, p.Match), Health: Silent, DiskFull: p.Full}
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
// the newer leader, and its own replica; of the metadata, the newer.
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
		replicas := slices.Clone(mine.Replicas)
		for _, r := range theirs.Replicas {
			if mine.Replica(r.Node) == nil {
				replicas = append(replicas, r)
			}
		}
		slices.SortFunc(replicas, func(a, b ReplicaOverview) int { return cmp.Compare(a.Node, b.Node) })
		if mine.less(theirs) {
			*mine = *theirs
		}
		mine.Replicas = replicas
	}
	o.count()
}

// less says that o is the better view.
func (v *GroupOverview) less(o *GroupOverview) bool {
	known := func(v *GroupOverview) int { return min(len(v.Members), 1) }
	return cmp.Or(cmp.Compare(v.Term, o.Term), cmp.Compare(known(v), known(o)), cmp.Compare(v.Commit, o.Commit)) < 0
}
