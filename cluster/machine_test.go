package cluster

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
)

var update = flag.Bool("update", false, "write the golden files anew")

func hexID(n int) ID { return ID(fmt.Sprintf("%032x", n)) }

func newNode(n int) *NewNode {
	return &NewNode{Incarnation: hexID(n), Addresses: Addresses{
		Peer: fmt.Sprintf("node%d:7071", n), HTTP: fmt.Sprintf("https://node%d:7070", n), Stream: fmt.Sprintf("node%d:7072", n),
	}}
}

func newInit(partitions int) *Init {
	return &Init{Cluster: hexID(999), Partitions: partitions, Config: DefaultConfig(), Node: *newNode(1)}
}

// run executes a command and returns the answer.
func run(t testing.TB, m *Machine, c command) result {
	t.Helper()
	c.Version = c.version()
	var r result
	if err := decode(m.Apply(nil, rsm.Batch{Data: encode(c)}), &r); err != nil {
		t.Fatal(err)
	}
	if err := m.State().check(); err != nil {
		t.Fatalf("after %s: %v", encode(c), err)
	}
	return r
}

// newCluster returns a cluster of nodes 1 to n with 4 partitions, as wanted.
func newCluster(t testing.TB, n int) *Machine {
	t.Helper()
	m := NewMachine()
	run(t, m, command{Init: newInit(4)})
	for i := 2; i <= n; i++ {
		if r := run(t, m, command{Add: newNode(i)}); r != (result{Applied, NodeID(i)}) {
			t.Fatalf("add: %+v", r)
		}
	}
	reportAll(t, m)
	return m
}

// reportAll reports that all groups are as wanted.
func reportAll(t testing.TB, m *Machine) {
	t.Helper()
	for _, g := range m.State().Groups {
		voters, learners := m.State().Wanted(g.ID)
		at := Members{Term: g.Actual.Term, Index: g.Actual.Index + 1, Voters: slices.Sorted(slices.Values(voters)), Learners: learners}
		if r := run(t, m, command{Report: &reportCommand{g.ID, at}}); r.Code != Applied {
			t.Fatalf("report: %+v", r)
		}
	}
}

func TestCodes(t *testing.T) {
	addr := func(peer string) Addresses { return Addresses{Peer: peer} }
	members := func(term, index uint64, voters ...NodeID) Members {
		return Members{Term: term, Index: index, Voters: voters}
	}
	bad := newInit(4)
	bad.Config.Replicas = 2
	other := newInit(4)
	other.Cluster = hexID(998)
	noPeer := newInit(4)
	noPeer.Node.Addresses = Addresses{}
	alone := func(t testing.TB) *Machine {
		m := NewMachine()
		run(t, m, command{Init: noPeer})
		return m
	}
	three := func(t testing.TB) *Machine { return newCluster(t, 3) }
	left := func(t testing.TB) *Machine { // node 2 is removed, node 3 leaves
		m := newCluster(t, 4)
		run(t, m, command{Remove: &removeCommand{Node: 2}})
		reportAll(t, m)
		run(t, m, command{Remove: &removeCommand{Node: 3}})
		return m
	}
	replaced := func(t testing.TB) *Machine { // node 3 by node 4
		m := newCluster(t, 3)
		run(t, m, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("node4:7071"), Replaces: 3}})
		return m
	}
	empty := func(testing.TB) *Machine { return NewMachine() }
	for _, tt := range []struct {
		name  string
		start func(t testing.TB) *Machine
		c     command
		want  result
	}{
		{"init", empty, command{Init: newInit(4)}, result{Applied, 1}},
		{"init again", three, command{Init: newInit(4)}, result{Applied, 1}},
		{"init of another", three, command{Init: other}, result{Initialized, 0}},
		{"init, malformed", empty, command{Init: bad}, result{Malformed, 0}},
		{"init, no partition", empty, command{Init: newInit(0)}, result{Malformed, 0}},
		{"init, too many partitions", empty, command{Init: newInit(MaxPartitions + 1)}, result{Malformed, 0}},
		{"init, most partitions", empty, command{Init: newInit(MaxPartitions)}, result{Applied, 1}},
		{"add before init", empty, command{Add: newNode(1)}, result{NotInitialized, 0}},
		{"rebalance before init", empty, command{Rebalance: &struct{}{}}, result{NotInitialized, 0}},
		{"add", three, command{Add: newNode(4)}, result{Applied, 4}},
		{"add again", three, command{Add: newNode(2)}, result{Applied, 2}},
		{"add, moved", three, command{Add: &NewNode{Incarnation: hexID(2), Addresses: addr("other:1")}}, result{Applied, 2}},
		{"add, moved to another's", three, command{Add: &NewNode{Incarnation: hexID(2), Addresses: addr("node3:7071")}}, result{AddressTaken, 0}},
		{"add, address gone", three, command{Add: &NewNode{Incarnation: hexID(2)}}, result{AddressMissing, 0}},
		{"add, address taken", three, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("node3:7071")}}, result{AddressTaken, 0}},
		{"add, no address", three, command{Add: &NewNode{Incarnation: hexID(4)}}, result{AddressMissing, 0}},
		{"add, first has no address", alone, command{Add: newNode(2)}, result{AddressMissing, 0}},
		{"first gets an address", alone, command{Add: newNode(1)}, result{Applied, 1}},
		{"add, malformed address", three, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("node4")}}, result{Malformed, 0}},
		{"add, malformed incarnation", three, command{Add: &NewNode{Incarnation: "x", Addresses: addr("a:1")}}, result{Malformed, 0}},
		{"add what was removed", left, command{Add: newNode(2)}, result{NodeRemoved, 0}},
		{"add what leaves", left, command{Add: newNode(3)}, result{NodeRemoved, 0}},
		{"add with the address of what leaves", left, command{Add: &NewNode{Incarnation: hexID(5), Addresses: addr("node3:7071")}}, result{Applied, 5}},
		{"replace", three, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("node3:7071"), Replaces: 3}}, result{Applied, 4}},
		{"replace what is removed", left, command{Add: &NewNode{Incarnation: hexID(5), Addresses: addr("a:1"), Replaces: 2}}, result{NodeRemoved, 0}},
		{"replace what leaves", left, command{Add: &NewNode{Incarnation: hexID(5), Addresses: addr("a:1"), Replaces: 3}}, result{NodeRemoved, 0}},
		{"replace what was replaced", replaced, command{Add: &NewNode{Incarnation: hexID(5), Addresses: addr("a:1"), Replaces: 3}}, result{NodeRemoved, 0}},
		{"replaced before", replaced, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("a:1"), Replaces: 3}}, result{Applied, 4}},
		{"replaced another before", replaced, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("a:1"), Replaces: 2}}, result{NodeExists, 0}},
		{"what replaced another tells its address", replaced, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("a:1")}}, result{Applied, 4}},
		{"replace by a node that is there", three, command{Add: &NewNode{Incarnation: hexID(2), Addresses: addr("a:1"), Replaces: 3}}, result{NodeExists, 0}},
		{"replace by itself", three, command{Add: &NewNode{Incarnation: hexID(1), Addresses: addr("node1:7071"), Replaces: 1}}, result{NodeExists, 0}},
		{"replace nobody by a node that is there", three, command{Add: &NewNode{Incarnation: hexID(2), Addresses: addr("a:1"), Replaces: 9}}, result{UnknownNode, 0}},
		{"replace nobody", three, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("a:1"), Replaces: 9}}, result{UnknownNode, 0}},
		{"replace the only node", alone, command{Add: &NewNode{Incarnation: hexID(4), Addresses: addr("a:1"), Replaces: 1}}, result{Applied, 2}},
		{"remove", three, command{Remove: &removeCommand{Node: 3}}, result{Code: Applied}},
		{"remove again", left, command{Remove: &removeCommand{Node: 3}}, result{Code: Applied}},
		{"remove what is removed", left, command{Remove: &removeCommand{Node: 2}}, result{Code: Applied}},
		{"remove nobody", three, command{Remove: &removeCommand{Node: 9}}, result{Code: UnknownNode}},
		{"remove the last", alone, command{Remove: &removeCommand{Node: 1}}, result{Code: LastNode}},
		{"prefer", three, command{Prefer: &preferCommand{1, 3}}, result{Code: Applied}},
		{"prefer for the metadata", three, command{Prefer: &preferCommand{0, 3}}, result{Code: Applied}},
		{"prefer without a replica", left, command{Prefer: &preferCommand{1, 3}}, result{Code: NoReplica}},
		{"prefer nobody", three, command{Prefer: &preferCommand{1, 9}}, result{Code: UnknownNode}},
		{"prefer for no group", three, command{Prefer: &preferCommand{5, 1}}, result{Code: UnknownGroup}},
		{"configure", three, command{Configure: &Config{5, 5, Saga}}, result{Code: Applied}},
		{"configure, malformed", three, command{Configure: &Config{3, 4, Saga}}, result{Code: Malformed}},
		{"configure, another protocol", three, command{Configure: &Config{3, 3, "paxos"}}, result{Code: Malformed}},
		{"rebalance", three, command{Rebalance: &struct{}{}}, result{Code: Applied}},
		{"report", three, command{Report: &reportCommand{1, members(1, 9, 1, 2)}}, result{Code: Applied}},
		{"report of no group", three, command{Report: &reportCommand{5, members(1, 9, 1)}}, result{Code: UnknownGroup}},
		{"report from an earlier point", three, command{Report: &reportCommand{1, members(0, 0, 1)}}, result{Code: Outdated}},
		{"report from the same point", three, command{Report: &reportCommand{1, members(0, 1, 1)}}, result{Code: Applied}},
		{"report without voters", three, command{Report: &reportCommand{1, members(1, 9)}}, result{Code: Malformed}},
		{"report out of order", three, command{Report: &reportCommand{1, members(1, 9, 2, 1)}}, result{Code: Malformed}},
		{"report of nobody", three, command{Report: &reportCommand{1, members(1, 9, 4)}}, result{Code: Malformed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.start(t)
			if got := run(t, m, tt.c); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			before := m.State()
			if got := run(t, m, tt.c); got != tt.want {
				t.Errorf("again: got %+v, want %+v", got, tt.want)
			}
			if m.State() != before {
				t.Errorf("the second time something changed: %s", cmp.Diff(before, m.State()))
			}
		})
	}
}

func TestLimits(t *testing.T) {
	m := newCluster(t, MaxNodes)
	if r := run(t, m, command{Add: newNode(MaxNodes + 1)}); r.Code != LimitReached {
		t.Errorf("one node more: %v", r.Code)
	}
	m = newCluster(t, 3)
	s := *m.State()
	s.Nodes = slices.Clone(s.Nodes)
	for i := 4; i < 4+MaxRemoved; i++ {
		s.Nodes = append(s.Nodes, Node{ID: NodeID(i), Incarnation: hexID(i), Status: Removed})
	}
	s.NextNode = 4 + MaxRemoved
	m.state.Store(&s)
	run(t, m, command{Remove: &removeCommand{Node: 3}})
	reportAll(t, m)
	if s := m.State(); len(s.Nodes) != 2+MaxRemoved || s.Node(3) != nil || s.Node(4) == nil {
		t.Errorf("%d nodes are kept, of which the third is %d", len(s.Nodes), s.Nodes[2].ID)
	}
	long := strings.Repeat("x", MaxAddressBytes-len(":65535"))
	for _, tt := range []struct {
		name string
		a    Addresses
		ok   bool
	}{
		{"none", Addresses{}, true},
		{"longest", Addresses{Peer: long + ":65535", Stream: long + ":65535", HTTP: "https://" + long + ":65535"}, true},
		{"peer too long", Addresses{Peer: "x" + long + ":65535"}, false},
		{"stream too long", Addresses{Stream: "x" + long + ":65535"}, false},
		{"http too long", Addresses{HTTP: "https://x" + long + ":65535"}, false},
		{"IPv4", Addresses{Peer: "10.0.0.1:7071"}, true},
		{"IPv6", Addresses{Peer: "[::1]:7071", HTTP: "http://[::1]:7070"}, true},
		{"IPv6 without brackets", Addresses{Peer: "::1:7071"}, false},
		{"http without port", Addresses{HTTP: "https://maru.test"}, true},
		{"http with a path", Addresses{HTTP: "https://maru.test/x"}, false},
		{"http with a user", Addresses{HTTP: "https://me@maru.test"}, false},
		{"http without scheme", Addresses{HTTP: "node1:7070"}, false},
		{"no port", Addresses{Peer: "node1"}, false},
		{"empty port", Addresses{Peer: "node1:"}, false},
		{"port 0", Addresses{Peer: "node1:0"}, false},
		{"port 00", Addresses{Peer: "node1:00001"}, false},
		{"port too large", Addresses{Peer: "node1:65536"}, false},
		{"no host", Addresses{Peer: ":7071"}, false},
		{"space", Addresses{Peer: "node 1:7071"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.a.Validate(); (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestLargest shows that the largest state fits its snapshot, and the largest
// command its limit.
func TestLargest(t *testing.T) {
	m := newCluster(t, MaxNodes)
	s := *m.State()
	s.Nodes, s.Groups = slices.Clone(s.Nodes), nil
	long := strings.Repeat("x", MaxAddressBytes-len(":65535")) + ":65535"
	for range MaxRemoved {
		s.Nodes = append(s.Nodes, Node{Incarnation: hexID(1), Status: Removed})
	}
	for i := range s.Nodes {
		s.Nodes[i].ID, s.Nodes[i].Addresses = NodeID(1)<<63+NodeID(i), Addresses{long, "https://" + long, long}
		s.Nodes[i].Replaces = 1 << 62
	}
	var many []NodeID
	for i := range MaxNodes + MaxReplicas {
		many = append(many, NodeID(1)<<63+NodeID(i))
	}
	for i := range MaxPartitions + 1 {
		s.Groups = append(s.Groups, Group{GroupID(i), many[:MaxReplicas], Members{1 << 63, 1 << 63, many[:MaxReplicas], many[MaxReplicas:]}})
	}
	if n := len(encode(snapshot{formatVersion, s})); n > MaxSnapshotBytes {
		t.Errorf("the largest snapshot has %d bytes", n)
	}
	if n := len(encode(command{Report: &reportCommand{0, s.Groups[0].Actual}})); n > MaxCommandBytes {
		t.Errorf("the largest command has %d bytes", n)
	}
}

func TestNodesLeave(t *testing.T) {
	m := newCluster(t, 4)
	run(t, m, command{Remove: &removeCommand{Node: 2}})
	if s := m.State().Node(2).Status; s != Leaving {
		t.Fatalf("node 2 is %s", s)
	}
	for _, g := range m.State().Groups {
		if slices.Contains(g.Replicas, 2) {
			t.Errorf("group %d still wants node 2", g.ID)
		}
	}
	if voters, learners := m.State().Wanted(Metadata); !slices.Contains(learners, 2) {
		t.Errorf("the metadata is wanted on %v and %v: node 2 would not know", voters, learners)
	}
	reportAll(t, m)
	if s := m.State().Node(2).Status; s != Removed {
		t.Errorf("node 2 is %s", s)
	}
	if m.State().Wants(2, Metadata) {
		t.Error("node 2 shall have the metadata")
	}
}

// TestForced forces nodes to leave, at once or later, and restores that; it is forgotten when they are removed. A version
// that does not fit is no command.
func TestForced(t *testing.T) {
	m := newCluster(t, 4)
	forced := func(id NodeID, want bool) {
		t.Helper()
		restored := NewMachine()
		if err := restored.Restore(bytes.NewReader(read(m.Snapshot(), 1<<20))); err != nil {
			t.Fatal(err)
		}
		if got := restored.State().Node(id); got.Forced != want {
			t.Errorf("got %+v, want forced %v", got, want)
		}
	}
	for _, c := range []command{{Remove: &removeCommand{Node: 2, Force: true}}, {Remove: &removeCommand{Node: 3}}} {
		run(t, m, c)
	}
	forced(2, true)
	forced(3, false)
	for _, b := range []string{`{"version":1,"remove":{"node":3,"force":true}}`, `{"version":2,"remove":{"node":3}}`, `{"version":3,"remove":{"node":3,"force":true}}`} {
		if got := string(m.Apply(nil, rsm.Batch{Data: []byte(b)})); got != `{"code":"malformed"}` {
			t.Errorf("%s: %s", b, got)
		}
	}
	forced(3, false)
	run(t, m, command{Remove: &removeCommand{Node: 3, Force: true}})
	forced(3, true)
	run(t, m, command{Remove: &removeCommand{Node: 3}})
	forced(3, true)
	reportAll(t, m)
	forced(2, false)
	forced(3, false)
	run(t, m, command{Remove: &removeCommand{Node: 3, Force: true}})
	forced(3, false)
}

// TestNodeLeavesBeforeItIsReported removes a node that a group wanted, and of which no
// leader has reported yet whether it became a member: it may be a voter, and a majority
// need it, so that it is not removed before the leader says more.
func TestNodeLeavesBeforeItIsReported(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave command
	}{
		{"removed", command{Remove: &removeCommand{Node: 2}}},
		{"replaced", command{Add: func() *NewNode { n := newNode(3); n.Replaces = 2; return n }()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newCluster(t, 1)
			run(t, m, command{Add: newNode(2)})
			run(t, m, tt.leave)
			if s := m.State().Node(2).Status; s != Leaving {
				t.Fatalf("node 2 is %s", s)
			}
			for i, g := range m.State().Groups {
				if s := m.State().Node(2).Status; s != Leaving {
					t.Fatalf("before the report of group %d, node 2 is %s", i, s)
				}
				without := Members{Term: g.Actual.Term, Index: g.Actual.Index, Voters: []NodeID{1}}
				if r := run(t, m, command{Report: &reportCommand{g.ID, without}}); r.Code != Applied {
					t.Fatalf("report: %+v", r)
				}
			}
			if s := m.State().Node(2).Status; s != Removed {
				t.Errorf("after the reports, node 2 is %s", s)
			}
		})
	}
}

// golden has a command of each kind, in an order in which they make sense.
func golden() []command {
	replacement := newNode(4)
	replacement.Replaces = 2
	replacement.Addresses.Peer = "[2001:db8::4]:7071"
	cs := []command{
		{Init: newInit(2)},
		{Add: newNode(2)},
		{Add: newNode(3)},
		{Report: &reportCommand{1, Members{Term: 2, Index: 17, Voters: []NodeID{1}, Learners: []NodeID{2}}}},
		{Add: replacement},
		{Remove: &removeCommand{Node: 3}},
		{Prefer: &preferCommand{2, 4}},
		{Configure: &Config{1, 5, Saga}},
		{Rebalance: &struct{}{}},
	}
	for i := range cs {
		cs[i].Version = formatVersion
	}
	return append(cs, command{Version: forcedVersion, Remove: &removeCommand{Node: 3, Force: true}})
}

func TestGolden(t *testing.T) {
	m := NewMachine()
	var lines bytes.Buffer
	for _, c := range golden() {
		if c.Version == forcedVersion {
			compareGolden(t, "snapshot.golden", read(m.Snapshot(), 1<<20))
		}
		fmt.Fprintf(&lines, "%s\n%s\n", encode(c), m.Apply(nil, rsm.Batch{Data: encode(c)}))
	}
	compareGolden(t, "commands.golden", lines.Bytes())
	compareGolden(t, "forced.golden", read(m.Snapshot(), 1<<20))
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// read returns the bytes of a snapshot, taken in steps.
func read(s rsm.Snapshot, step int) (b []byte) {
	for more := true; more; {
		b, more = s.Next(b, step)
	}
	s.Close()
	return b
}

func TestSnapshot(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    *Machine
	}{{"none", NewMachine()}, {"five nodes", newCluster(t, 5)}} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.m.State()
			s := tt.m.Snapshot()
			if want.Cluster != "" {
				run(t, tt.m, command{Remove: &removeCommand{Node: 1}}) // does not change what it gives
			}
			m := NewMachine()
			if err := m.Restore(bytes.NewReader(read(s, 7))); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, m.State()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := m.Restore(strings.NewReader("")); err != nil || m.State().Cluster != "" {
				t.Errorf("from nothing: %v, %+v", err, m.State())
			}
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	good := string(read(newCluster(t, 3).Snapshot(), 1<<20))
	for _, tt := range []struct{ name, old, replacement string }{
		{"cut", "}]}}", "}]"},
		{"more", "}]}}", "}]}} "},
		{"newer", `{"version":1,`, `{"version":3,`},
		{"forced, of nobody", `{"version":1,`, `{"version":2,`},
		{"forced, in the old version", `"status":"active"}`, `"status":"leaving","forced":true}`},
		{"unknown member", `"partitions":4`, `"partitions":4,"color":"red"`},
		{"repeated member", `"partitions":4`, `"partitions":4,"partitions":4`},
		{"other case", `"partitions":4`, `"Partitions":4`},
		{"space", `"partitions":4`, `"partitions": 4`},
		{"groups missing", `"partitions":4`, `"partitions":5`},
		{"no such status", `"active"`, `"gone"`},
		{"node not given yet", `"next_node":4`, `"next_node":3`},
		{"replica nowhere", `"replicas":[1,2,3]`, `"replicas":[1,2,4]`},
		{"replaces what came later", `"status":"active"}`, `"status":"active","replaces":3}`},
		{"replica twice", `"replicas":[1,2,3]`, `"replicas":[1,2,2]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := strings.Replace(good, tt.old, tt.replacement, 1)
			if bad == good {
				t.Fatal("nothing was replaced in", good)
			}
			if err := NewMachine().Restore(strings.NewReader(bad)); err == nil {
				t.Error("it is taken")
			}
		})
	}
	if err := NewMachine().Restore(bytes.NewReader(make([]byte, MaxSnapshotBytes+1))); err == nil {
		t.Error("one that is too large is taken")
	}
}

func FuzzApply(f *testing.F) {
	for _, c := range golden() {
		f.Add(encode(c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []*Machine{NewMachine(), newCluster(t, 3)} {
			before := m.State()
			var r result
			if err := decode(m.Apply(nil, rsm.Batch{Data: data}), &r); err != nil {
				t.Fatal(err)
			}
			if r.Code != Applied && m.State() != before {
				t.Errorf("%v changed the state", r.Code)
			}
			if err := m.State().check(); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add(read(newCluster(f, 3).Snapshot(), 1<<20))
	f.Add(read(NewMachine().Snapshot(), 1<<20))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := NewMachine()
		if m.Restore(bytes.NewReader(data)) != nil || len(data) == 0 {
			return
		}
		if got := read(m.Snapshot(), 1<<20); !bytes.Equal(got, data) {
			t.Errorf("%q gives %q", data, got)
		}
		for _, c := range golden() { // nothing that is restored breaks the machine
			m.Apply(nil, rsm.Batch{Data: encode(c)})
		}
	})
}
