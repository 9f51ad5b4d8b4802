package cluster

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	type ids = []NodeID
	change := func(voters, learners ids) step { return step{kind: stepChange, voters: voters, learners: learners} }
	for _, tt := range []struct {
		name             string
		voters, learners ids // members; node 1 leads
		outgoing         ids
		wanted, wantedL  ids
		behind, dead     ids
		needed           ids
		want             step
	}{
		{name: "as wanted", voters: ids{1, 2, 3}, wanted: ids{1, 2, 3}},
		{name: "a change is under way", voters: ids{1, 2}, outgoing: ids{1}, wanted: ids{1, 2, 3}},
		{name: "one is missing", voters: ids{1}, wanted: ids{1, 2, 3}, want: change(ids{1}, ids{2})},
		{name: "it catches up", voters: ids{1}, learners: ids{2}, wanted: ids{1, 2, 3}, behind: ids{2}},
		{name: "it has", voters: ids{1}, learners: ids{2}, wanted: ids{1, 2, 3}, want: change(ids{1, 2}, nil)},
		{name: "it is dead: the next", voters: ids{1}, learners: ids{2}, wanted: ids{1, 2, 3}, behind: ids{2}, dead: ids{2}, want: change(ids{1}, ids{2, 3})},
		{name: "a voter goes when another has caught up", voters: ids{1, 2, 3}, learners: ids{4}, wanted: ids{1, 2, 4}, want: change(ids{1, 2, 4}, nil)},
		{name: "and not before", voters: ids{1, 2, 3}, learners: ids{4}, wanted: ids{1, 2, 4}, behind: ids{4}},
		{name: "of two that go the dead one is first", voters: ids{1, 2, 3}, learners: ids{4}, wanted: ids{1, 4, 5}, dead: ids{2}, want: change(ids{1, 3, 4}, nil)},
		{name: "no majority without those that are there", voters: ids{1, 2, 3}, learners: ids{4}, wanted: ids{1, 3, 4}, behind: ids{4}, dead: ids{3, 4}},
		{name: "a learner that is not wanted", voters: ids{1, 2, 3}, learners: ids{4}, wanted: ids{1, 2, 3}, want: change(ids{1, 2, 3}, nil)},
		{name: "fewer replicas", voters: ids{1, 2, 3}, wanted: ids{1}, want: change(ids{1}, nil)},
		{name: "another should lead", voters: ids{1, 2, 3}, wanted: ids{2, 1, 3}, want: step{kind: stepHandOver, to: 2}},
		{name: "but is behind", voters: ids{1, 2, 3}, wanted: ids{2, 1, 3}, behind: ids{2}},
		{name: "the leader shall go", voters: ids{1}, learners: ids{2}, wanted: ids{2}, want: change(ids{1, 2}, nil)},
		{name: "it hands over first", voters: ids{1, 2}, wanted: ids{2}, want: step{kind: stepHandOver, to: 2}},
		{name: "to any", voters: ids{1, 2, 3}, wanted: ids{2, 3, 4}, behind: ids{2}, dead: ids{4}, learners: ids{4}, want: step{kind: stepHandOver, to: 3}},
		{name: "metadata, a learner more", voters: ids{1, 2, 3}, learners: ids{4}, wanted: ids{1, 2, 3}, wantedL: ids{4, 5}, want: change(ids{1, 2, 3}, ids{4, 5})},
		{name: "metadata, a learner votes", voters: ids{1, 2, 3}, learners: ids{4, 5}, wanted: ids{1, 2, 4}, wantedL: ids{3, 5}, want: change(ids{1, 2, 4}, ids{5})},
		{name: "metadata, a voter learns again", voters: ids{1, 2, 4}, learners: ids{5}, wanted: ids{1, 2, 4}, wantedL: ids{3, 5}, want: change(ids{1, 2, 4}, ids{3, 5})},
		{name: "a voter goes with what others lack", voters: ids{1, 2}, wanted: ids{1}, needed: ids{2}, want: change(ids{1}, ids{2})},
		{name: "it stays", voters: ids{1}, learners: ids{2}, wanted: ids{1}, needed: ids{2}},
		{name: "also when it is dead", voters: ids{1}, learners: ids{2}, wanted: ids{1}, needed: ids{2}, dead: ids{2}},
		{name: "until they have it", voters: ids{1}, learners: ids{2}, wanted: ids{1}, want: change(ids{1}, nil)},
		{name: "others come meanwhile", voters: ids{1}, learners: ids{2}, wanted: ids{1, 3}, needed: ids{2}, want: change(ids{1}, ids{2, 3})},
		{name: "and vote", voters: ids{1}, learners: ids{2, 3}, wanted: ids{1, 3}, needed: ids{2}, want: change(ids{1, 3}, ids{2})},
		{name: "and lead", voters: ids{1, 3}, learners: ids{2}, wanted: ids{3, 1}, needed: ids{2}, want: step{kind: stepHandOver, to: 3}},
		{name: "a voter is not needed twice", voters: ids{1, 2, 3}, learners: ids{4}, wanted: ids{1, 4, 5}, dead: ids{4}, behind: ids{4}, needed: ids{2, 3}, want: change(ids{1, 2, 3}, ids{4, 5})},
		{name: "nothing is known", voters: ids{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Replica{Leads: true, Leader: 1, Voters: tt.voters, Learners: tt.learners, Outgoing: tt.outgoing}
			for _, n := range slices.Concat(tt.voters, tt.learners) {
				r.Peers = append(r.Peers, Peer{Node: n, Active: !slices.Contains(tt.dead, n)})
			}
			p := &planner{
				node: 1, replica: r, voters: tt.wanted, learners: tt.wantedL,
				caughtUp: func(p Peer) bool { return p.Active && !slices.Contains(tt.behind, p.Node) },
				stays:    func(NodeID) bool { return true },
				needed:   func(n NodeID) bool { return slices.Contains(tt.needed, n) },
			}
			if diff := cmp.Diff(tt.want, p.plan(), cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
