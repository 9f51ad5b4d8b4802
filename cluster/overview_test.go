package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOverview(t *testing.T) {
	s := newCluster(t, 3).State()
	replica := func(g GroupID, leader NodeID) Replica { return Replica{Group: g, Term: 7, Leader: leader} }
	leads := replica(2, 1)
	leads.Leads, leads.Commit, leads.Voters = true, 100, []NodeID{1, 2, 3}
	leads.Peers = []Peer{{Node: 1, Match: 100, Active: true}, {Node: 2, Match: 90, Active: true, Full: true}, {Node: 3}}
	mine := NewOverview(1, s, []Replica{replica(0, 1), replica(1, 2), leads})

	if diff := cmp.Diff([]MemberOverview{{1, 0, Alive, false}, {2, 10, Alive, true}, {3, 100, Silent, false}}, mine.Groups[2].Members); diff != "" {
		t.Errorf("members of a group that is led here (-want +got):\n%s", diff)
	}
	if g := mine.Groups[1]; g.Leader != 2 || g.Members != nil || !cmp.Equal(g.Voters, []NodeID{1, 2, 3}) {
		t.Errorf("a group that is led elsewhere: %+v", g)
	}
	if g := mine.Groups[3]; g.Leader != 0 || g.Term != 0 {
		t.Errorf("a group that is not here: %+v", g)
	}
	health := func(o *Overview) (h []Health) {
		for _, n := range o.Nodes {
			h = append(h, n.Health)
		}
		return h
	}
	if diff := cmp.Diff([]Health{Alive, Alive, Silent}, health(mine)); diff != "" {
		t.Errorf("health (-want +got):\n%s", diff)
	}

	other := replica(3, 3)
	other.Leads, other.Voters, other.Peers = true, []NodeID{1, 2, 3}, []Peer{{Node: 3, Active: true}}
	mine.Merge(NewOverview(3, s, []Replica{other, replica(2, 1)}))
	if diff := cmp.Diff([]Health{Alive, Alive, Alive}, health(mine)); diff != "" {
		t.Errorf("health of two views (-want +got):\n%s", diff)
	}
	if mine.Groups[3].Leader != 3 || mine.Groups[2].Members == nil || len(mine.Seen) != 2 {
		t.Errorf("merged: %+v", mine)
	}
	mine.Merge(&Overview{Cluster: hexID(5)})
	if mine.Cluster != hexID(999) {
		t.Error("another cluster was merged")
	}
}

// TestOverviewOfReplicas merges what three nodes say of their own replicas, also of
// a group whose leader two of them do not know.
func TestOverviewOfReplicas(t *testing.T) {
	s := newCluster(t, 3).State()
	replica := func(applied uint64) Replica {
		return Replica{Group: 1, Term: 7, Commit: 10, Applied: applied}
	}
	leads := replica(10)
	leads.Leads, leads.Leader, leads.Voters, leads.Peers = true, 2, []NodeID{1, 2, 3}, []Peer{{Node: 2, Match: 10, Active: true}}
	leads.Proposals = ProposalsOverview{Count: 5, P50: 0.001, P99: 0.01}
	leads.Sending = []SnapshotOverview{{Node: 3, Index: 8, Bytes: 50, Of: 200}}
	late := replica(0)
	late.DiskLow = true
	late.Receiving = &SnapshotOverview{Node: 2, Index: 8, Bytes: 40, Of: 200}

	whole := NewOverview(3, s, []Replica{late})
	whole.Merge(NewOverview(2, s, []Replica{leads}))
	first := NewOverview(1, s, []Replica{replica(9)})
	first.SetInFlight(1, 1, map[string]uint64{"trying": 3})
	first.SetInFlight(2, 1, map[string]uint64{"trying": 4}) // no replica
	first.SetArchiveLost(1, 1, 7)
	first.SetArchiveLost(2, 1, 5)                            // no replica
	first.SetArchiveLost(99, 1, 5)                           // no group
	first.SetInFlight(99, 1, map[string]uint64{"trying": 5}) // no group
	whole.Merge(first)
	whole.Merge(NewOverview(3, s, []Replica{replica(1)})) // has answered before

	want := []ReplicaOverview{
		{Node: 1, Commit: 10, Applied: 9, ArchiveLost: 7, InFlight: map[string]uint64{"trying": 3}},
		{Node: 2, Commit: 10, Applied: 10, Proposals: leads.Proposals, Sending: leads.Sending},
		{Node: 3, Commit: 10, Receiving: late.Receiving, DiskLow: true},
	}
	if diff := cmp.Diff(want, whole.Groups[1].Replicas); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
	if r := whole.Groups[1].Replica(2); r == nil || r.Applied != 10 || whole.Groups[2].Replica(1) != nil {
		t.Errorf("the leader's: %+v, another group's: %+v", r, whole.Groups[2].Replica(1))
	}
}

// TestOnlyPast asks whose loss would take the past of a group away.
func TestOnlyPast(t *testing.T) {
	s := newCluster(t, 3).State()
	whole, lacks, cut := &PastOverview{}, &PastOverview{Missing: 4}, &PastOverview{Cut: true}
	for _, tt := range []struct {
		name string
		of   map[NodeID]*PastOverview // of group 1; nil: an older program's
		want bool                     // node 1 alone may have it
	}{
		{"all have it", map[NodeID]*PastOverview{1: whole, 2: whole, 3: whole}, false},
		{"one other has it", map[NodeID]*PastOverview{1: whole, 2: lacks, 3: whole}, false},
		{"the others are getting it", map[NodeID]*PastOverview{1: whole, 2: lacks, 3: lacks}, true},
		{"the others do not keep it", map[NodeID]*PastOverview{1: whole, 2: cut, 3: cut}, true},
		{"the others do not say", map[NodeID]*PastOverview{1: whole, 2: nil}, true},
		{"nobody else answers", map[NodeID]*PastOverview{1: whole}, true},
		{"it lacks something too", map[NodeID]*PastOverview{1: lacks, 2: lacks}, false},
		{"it keeps none", map[NodeID]*PastOverview{1: cut, 2: lacks}, false},
		{"it is gone, and another has it", map[NodeID]*PastOverview{2: whole, 3: lacks}, false},
		{"it is gone, and the others lack it", map[NodeID]*PastOverview{2: lacks, 3: lacks}, true},
		{"it is gone, and nobody keeps it", map[NodeID]*PastOverview{2: cut, 3: cut}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := NewOverview(2, s, nil)
			for i := range o.Groups[2:] { // of no matter here
				o.Groups[2+i].Replicas = []ReplicaOverview{{Node: 2, Past: whole}}
			}
			for node, past := range tt.of {
				o.Groups[1].Replicas = append(o.Groups[1].Replicas, ReplicaOverview{Node: node})
				if past != nil {
					o.SetPast(1, node, *past)
				}
			}
			o.SetPast(99, 1, *lacks) // no group
			if got := o.OnlyPast(1); len(got) > 0 != tt.want || tt.want && got[0] != 1 {
				t.Errorf("got the groups %v, want one: %v", got, tt.want)
			}
		})
	}
}
