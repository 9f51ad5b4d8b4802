package cluster

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"maru.example/rsm"
)

// model is what a cluster must do, said in another way: it knows who was added and
// who left, and nothing of placement.
type model struct {
	m      *Machine
	ids    map[ID]NodeID
	status map[NodeID]Status
	places map[NodeID]NodeID // that a node took, of another
	peers  map[NodeID]string
	next   NodeID
	forced map[NodeID]bool     // it leaves so
	where  map[GroupID]Members // who may be a member, as far as was reported
}

// TestModel runs random commands, each twice, on a machine and on the model, and
// restores the machine from its snapshot now and then.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{m: NewMachine(), ids: map[ID]NodeID{}, status: map[NodeID]Status{}, places: map[NodeID]NodeID{}, peers: map[NodeID]string{}, next: 1, forced: map[NodeID]bool{}, where: map[GroupID]Members{}}
		m.do(t, command{Init: newInit(4)}, Applied)
		m.ids[hexID(1)], m.status[1], m.peers[1], m.next = 1, Active, "node1:7071", 2
		for g := range GroupID(5) {
			m.where[g] = Members{Voters: []NodeID{1}}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": m.add, "remove": m.remove, "prefer": m.prefer, "report": m.report, "restore": m.restore, "": m.check,
		})
	})
}

// do executes a command twice and compares the code; the second time changes nothing.
func (m *model) do(t *rapid.T, c command, want Code) NodeID {
	c.Version = c.version()
	var r, again result
	wanted := m.m.State().Groups
	if err := decode(m.m.Apply(nil, rsm.Batch{Data: encode(c)}), &r); err != nil || r.Code != want {
		t.Fatalf("%s: %v, %v, want %v", encode(c), r.Code, err, want)
	}
	before := m.m.State()
	if err := decode(m.m.Apply(nil, rsm.Batch{Data: encode(c)}), &again); err != nil || again != r || m.m.State() != before {
		t.Fatalf("%s again: %+v, %v, want %+v and no change", encode(c), again, err, r)
	}
	for _, g := range wanted { // who is not wanted any more may have become a member before
		for _, id := range g.Replicas {
			at := m.where[g.ID]
			if !slices.Contains(m.m.State().Groups[g.ID].Replicas, id) && !slices.Contains(at.Voters, id) {
				at.Voters = append(slices.Clone(at.Voters), id)
				m.where[g.ID] = at
			}
		}
	}
	return r.Node
}

func (m *model) node(t *rapid.T) NodeID { return NodeID(rapid.IntRange(1, 9).Draw(t, "node")) }

func (m *model) add(t *rapid.T) {
	disk := rapid.IntRange(1, 12).Draw(t, "disk")
	c := newNode(disk)
	if rapid.Bool().Draw(t, "replace") {
		c.Replaces = m.node(t)
	}
	id, known := m.ids[c.Incarnation]
	taken := false
	for other, peer := range m.peers {
		taken = taken || m.status[other] == Active && peer == c.Addresses.Peer && other != id && (known || other != c.Replaces)
	}
	switch {
	case known && m.status[id] != Active:
		m.do(t, command{Add: c}, NodeRemoved)
	case c.Replaces != 0 && m.status[c.Replaces] == "":
		m.do(t, command{Add: c}, UnknownNode)
	case known && c.Replaces != 0 && c.Replaces != m.places[id]:
		m.do(t, command{Add: c}, NodeExists)
	case !known && c.Replaces != 0 && m.status[c.Replaces] != Active:
		m.do(t, command{Add: c}, NodeRemoved)
	case taken:
		m.do(t, command{Add: c}, AddressTaken)
	case known:
		if got := m.do(t, command{Add: c}, Applied); got != id {
			t.Fatalf("node %d is given again as %d", id, got)
		}
	default:
		if got := m.do(t, command{Add: c}, Applied); got != m.next {
			t.Fatalf("node %d is given, want %d", got, m.next)
		}
		m.ids[c.Incarnation], m.status[m.next], m.peers[m.next] = m.next, Active, c.Addresses.Peer
		m.places[m.next] = c.Replaces
		m.next++
		if c.Replaces != 0 {
			m.status[c.Replaces] = Leaving
		}
		m.settle()
	}
}

func (m *model) remove(t *rapid.T) {
	id := m.node(t)
	active := 0
	for _, s := range m.status {
		if s == Active {
			active++
		}
	}
	c := command{Remove: &removeCommand{Node: id, Force: rapid.Bool().Draw(t, "force")}}
	switch {
	case m.status[id] == "":
		m.do(t, c, UnknownNode)
	case m.status[id] == Active && active == 1:
		m.do(t, c, LastNode)
	default:
		m.do(t, c, Applied)
		m.forced[id] = m.forced[id] || c.Remove.Force && m.status[id] != Removed
		if m.status[id] == Active {
			m.status[id] = Leaving
		}
		m.settle()
	}
}

func (m *model) prefer(t *rapid.T) {
	g, n := GroupID(rapid.IntRange(0, 4).Draw(t, "group")), m.node(t)
	want := Applied
	if m.status[n] == "" {
		want = UnknownNode
	} else if !slices.Contains(m.m.State().Groups[g].Replicas, n) {
		want = NoReplica
	}
	m.do(t, command{Prefer: &preferCommand{g, n}}, want)
	if got := m.m.State().Groups[g].Replicas[0]; want == Applied && got != n {
		t.Fatalf("group %d prefers %d, want %d", g, got, n)
	}
}

// report says that some of what is wanted is so.
func (m *model) report(t *rapid.T) {
	g := GroupID(rapid.IntRange(0, 4).Draw(t, "group"))
	voters, learners := m.m.State().Wanted(g)
	at := m.m.State().Groups[g].Actual
	next := Members{Term: at.Term, Index: at.Index + uint64(rapid.IntRange(0, 2).Draw(t, "step")), Voters: slices.Sorted(slices.Values(voters)), Learners: learners}
	if at.Index > 0 && rapid.Bool().Draw(t, "late") {
		next.Index = at.Index - 1
		m.do(t, command{Report: &reportCommand{g, next}}, Outdated)
		return
	}
	m.do(t, command{Report: &reportCommand{g, next}}, Applied)
	m.where[g] = next
	m.settle()
}

// settle notes who is removed: who leaves and is nowhere.
func (m *model) settle() {
	for id, s := range m.status {
		anywhere := false
		for g := range GroupID(5) {
			at := m.where[g]
			anywhere = anywhere || slices.Contains(at.Voters, id) || g != Metadata && slices.Contains(at.Learners, id)
		}
		if s == Leaving && !anywhere {
			m.status[id], m.forced[id] = Removed, false
		}
	}
}

func (m *model) restore(t *rapid.T) {
	restored := NewMachine()
	if err := restored.Restore(bytes.NewReader(read(m.m.Snapshot(), rapid.IntRange(1, 500).Draw(t, "step")))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.m.State(), restored.State(), cmpopts.EquateEmpty()); diff != "" { // no learners are none in JSON
		t.Fatalf("restored (-want +got):\n%s", diff)
	}
	m.m = restored
}

// check compares the state with the model.
func (m *model) check(t *rapid.T) {
	s := m.m.State()
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	got := map[NodeID]Status{}
	active := 0
	for _, n := range s.Nodes {
		got[n.ID] = n.Status
		if n.Forced != m.forced[n.ID] {
			t.Fatalf("node %d: forced to leave is %v, want %v", n.ID, n.Forced, m.forced[n.ID])
		}
		if n.Status == Active {
			active++
		}
	}
	if diff := cmp.Diff(m.status, got); diff != "" {
		t.Fatalf("nodes (-want +got):\n%s", diff)
	}
	for _, g := range s.Groups {
		if len(g.Replicas) != min(3, active) {
			t.Fatalf("group %d has replicas on %v of %d nodes", g.ID, g.Replicas, active)
		}
	}
}
