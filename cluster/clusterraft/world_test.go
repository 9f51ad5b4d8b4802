package clusterraft_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"maru.example/cluster"
	"maru.example/cluster/clusterraft"
	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
)

// sum is the machine of a partition: it adds numbers up, and counts them.
type sum struct{ total, count uint64 }

func (s *sum) Apply(dst []byte, b rsm.Batch) []byte {
	s.total += binary.LittleEndian.Uint64(b.Data)
	s.count++
	return binary.LittleEndian.AppendUint64(dst, s.count)
}

func (s *sum) Snapshot() rsm.Snapshot { return &sumSnapshot{*s} }

func (s *sum) Restore(r io.Reader) error {
	var b [16]byte
	_, err := io.ReadFull(r, b[:])
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s.total, s.count = binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	return err
}

type sumSnapshot struct{ s sum }

func (s *sumSnapshot) Next(dst []byte, _ int) ([]byte, bool) {
	dst = binary.LittleEndian.AppendUint64(dst, s.s.total)
	return binary.LittleEndian.AppendUint64(dst, s.s.count), false
}

func (s *sumSnapshot) Close() {}

// node is a simulated node.
type node struct {
	*sim.Node
	w        *world
	id       cluster.NodeID
	host     *rsmraft.Host
	metadata *cluster.Machine
	sums     map[rsmraft.GroupID]*sum
	changes  int // of members, and leaders, that its reconciler began
	removals int
}

// world is a simulated cluster with its load.
type world struct {
	*sim.World
	t          testing.TB
	net        *sim.Network
	nodes      map[cluster.NodeID]*node
	partitions int

	load   bool
	acked  map[cluster.GroupID]uint64 // proposals that were acknowledged
	issued map[cluster.GroupID]uint64
}

// newWorld returns a cluster of one node.
func newWorld(t testing.TB, seed uint64, partitions int) *world {
	t.Helper()
	s := sim.New(seed)
	w := &world{
		World: s, t: t, net: sim.NewNetwork(s), nodes: map[cluster.NodeID]*node{}, partitions: partitions,
		acked: map[cluster.GroupID]uint64{}, issued: map[cluster.GroupID]uint64{},
	}
	first := w.boot(1)
	for g := range partitions + 1 {
		if _, err := first.host.Begin(rsmraft.GroupID(g)); err != nil {
			t.Fatal(err)
		}
	}
	w.command(`{"version":1,"init":{"cluster":"` + hexID(0) + `","partitions":` + fmt.Sprint(partitions) +
		`,"config":{"replicas":3,"metadata_replicas":3,"protocol":"tcc"},"node":` + newNode(1) + `}}`)
	w.submit()
	return w
}

func hexID(n int) string { return fmt.Sprintf("%032x", n) }

// newNode returns the JSON of a new node.
func newNode(n int) string {
	return fmt.Sprintf(`{"incarnation":"%s","addresses":{"peer":"node%d:7071","http":"","stream":""}}`, hexID(n), n)
}

// boot makes a node with an empty disk and starts it.
func (w *world) boot(id cluster.NodeID) *node {
	w.t.Helper()
	n := &node{Node: w.NewNode(rsmraft.NodeID(id)), w: w, id: id}
	w.nodes[id] = n
	n.start()
	return n
}

// start opens the node's host and its reconciler.
func (n *node) start() {
	n.w.t.Helper()
	n.Boot()
	n.metadata, n.sums = cluster.NewMachine(), map[rsmraft.GroupID]*sum{}
	opened := false
	host, err := rsmraft.Open("data", rsmraft.NodeID(n.id), &rsmraft.Options{
		FS: n.FS, Runtime: n.Process, Network: n.w.net.Port(rsmraft.NodeID(n.id), n.Process),
		SnapshotBytes: 4 << 10, ReserveBytes: -1, SegmentBytes: 64 << 10, MaxEntryBytes: 4 << 10, CutLog: n.id%2 == 0,
		Machine: func(id rsmraft.GroupID) rsm.Machine {
			if cluster.GroupID(id) == cluster.Metadata {
				return n.metadata
			}
			if opened && n.id != 1 && !n.metadata.State().MayHost(n.id, cluster.GroupID(id)) {
				return nil
			}
			n.sums[id] = &sum{}
			return n.sums[id]
		},
	})
	if err != nil {
		n.w.t.Fatalf("open node %d: %v", n.id, err)
	}
	n.host, opened = host, true
	n.w.net.Join(rsmraft.NodeID(n.id), n.Process, host.Receive)
	cluster.NewReconciler(n.id, n.metadata, counted{clusterraft.New(host), n}, n.Process.NewLoop("reconciler"),
		&cluster.ReconcilerOptions{HandOverPause: 2 * time.Second, RemovePause: 3 * time.Second}).Start()
}

// counted counts what a reconciler begins.
type counted struct {
	cluster.Host
	n *node
}

func (c counted) StartChange(id cluster.GroupID, voters, learners []cluster.NodeID, done func(error)) {
	c.n.changes++
	c.Host.StartChange(id, voters, learners, done)
}

func (c counted) HandOver(id cluster.GroupID, to cluster.NodeID) {
	c.n.changes++
	c.Host.HandOver(id, to)
}

func (c counted) Remove(id cluster.GroupID, term, index uint64, done func(error)) {
	c.n.removals++
	c.Host.Remove(id, term, index, done)
}

// crash ends the process; what was not synced is lost.
func (n *node) crash() { n.Process.Kill() }

// each calls f with the nodes that run, in order.
func (w *world) each(f func(n *node)) {
	ids := make([]cluster.NodeID, 0, len(w.nodes))
	for id := range w.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if n := w.nodes[id]; !n.Process.Dead() {
			f(n)
		}
	}
}

// run runs until done, or fails the test.
func (w *world) run(what string, done func() bool) {
	w.t.Helper()
	if !w.Run(2*time.Minute, done) {
		w.t.Fatalf("not within two minutes: %s\n%s", what, w.describe())
	}
}

func (w *world) idle(d time.Duration) { w.Run(d, func() bool { return false }) }

// leader returns the node that leads a group, nil if none does.
func (w *world) leader(id cluster.GroupID) (leader *node) {
	term := uint64(0)
	w.each(func(n *node) {
		if g := n.host.Group(rsmraft.GroupID(id)); g != nil {
			if s := g.Status(); s.Leads && s.Term > term {
				leader, term = n, s.Term
			}
		}
	})
	return leader
}

// command lets the metadata execute a command, again until there is an answer.
func (w *world) command(text string) string {
	w.t.Helper()
	answer, waiting := "", false
	w.run(text, func() bool {
		if l := w.leader(cluster.Metadata); l != nil && !waiting && answer == "" {
			waiting = true
			err := l.host.Group(0).TrySubmit(context.Background(), &rsm.Proposal{Data: []byte(text), Done: func(r []byte, _ rsm.Position, err error) {
				waiting = false
				if err == nil {
					answer = string(r)
				}
			}})
			if err != nil {
				waiting = false
			}
		} else if l == nil {
			waiting = false
		}
		return answer != ""
	})
	return answer
}

// add adds a node with an empty disk and returns it.
func (w *world) add(incarnation int, replaces cluster.NodeID) *node {
	w.t.Helper()
	text := newNode(incarnation)
	if replaces != 0 {
		text = text[:len(text)-1] + fmt.Sprintf(`,"replaces":%d}`, replaces)
	}
	answer := w.command(`{"version":1,"add":` + text + `}`)
	var id cluster.NodeID
	if _, err := fmt.Sscanf(answer, `{"code":"applied","node":%d}`, &id); err != nil {
		w.t.Fatalf("add: %s", answer)
	}
	return w.boot(id)
}

func (w *world) remove(id cluster.NodeID) {
	w.t.Helper()
	if answer := w.command(fmt.Sprintf(`{"version":1,"remove":{"node":%d}}`, id)); answer != `{"code":"applied"}` {
		w.t.Fatalf("remove: %s", answer)
	}
}

// submit adds one to every partition now and then, where it leads, while there is load.
func (w *world) submit() {
	w.At(w.Between(time.Millisecond, 10*time.Millisecond), func() {
		w.submit()
		if !w.load {
			return
		}
		g := cluster.GroupID(1 + w.Rand.IntN(w.partitions))
		l := w.leader(g)
		if l == nil {
			return
		}
		data := binary.LittleEndian.AppendUint64(nil, 1)
		data = append(data, make([]byte, 100)...)
		w.issued[g]++
		_ = l.host.Group(rsmraft.GroupID(g)).TrySubmit(context.Background(), &rsm.Proposal{Data: data, Done: func(_ []byte, _ rsm.Position, err error) {
			if err == nil {
				w.acked[g]++
			}
		}})
	})
}

// state returns the metadata of the node that knows most.
func (w *world) state() *cluster.State {
	var best *cluster.State
	w.each(func(n *node) {
		if s := n.metadata.State(); best == nil || s.Revision > best.Revision {
			best = s
		}
	})
	return best
}

// asWanted says whether all groups are as the metadata wants them: members,
// leaders, reports, and no replicas beyond. A node that is removed may not know it,
// if it was down at the time.
func (w *world) asWanted() bool {
	s := w.state()
	for _, g := range s.Groups {
		l := w.leader(g.ID)
		if l == nil || l.id != g.Replicas[0] {
			return false
		}
		voters, learners := s.Wanted(g.ID)
		status := l.host.Group(rsmraft.GroupID(g.ID)).Status()
		if len(status.Outgoing) > 0 || !same(status.Voters, voters) || !same(status.Learners, learners) ||
			!same(g.Actual.Voters, voters) || !same(g.Actual.Learners, learners) {
			return false
		}
	}
	for _, n := range s.Nodes {
		if n.Status == cluster.Leaving {
			return false
		}
	}
	ok := true
	w.each(func(n *node) {
		if s.Node(n.id).Status == cluster.Removed {
			return
		}
		for _, g := range n.host.Groups() {
			id := cluster.GroupID(g.ID())
			ok = ok && (id == cluster.Metadata || s.Wants(n.id, id))
		}
	})
	return ok
}

func same[A, B ~uint64](a []A, b []B) bool {
	x, y := make([]uint64, len(a)), make([]uint64, len(b))
	for i := range a {
		x[i] = uint64(a[i])
	}
	for i := range b {
		y[i] = uint64(b[i])
	}
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// describe says how things stand.
func (w *world) describe() string {
	s := w.state()
	text := fmt.Sprintf("at %v, revision %d\n", w.Now(), s.Revision)
	for _, n := range s.Nodes {
		text += fmt.Sprintf("node %d %s\n", n.ID, n.Status)
	}
	for _, g := range s.Groups {
		text += fmt.Sprintf("group %d wants %v reported %+v\n", g.ID, g.Replicas, g.Actual)
		w.each(func(n *node) {
			if r := n.host.Group(rsmraft.GroupID(g.ID)); r != nil {
				text += fmt.Sprintf("  on %d, which knows revision %d: %+v\n", n.id, n.metadata.State().Revision, r.Status())
			}
		})
	}
	return text
}

// settle runs until everything is as wanted, and then checks that nothing that was
// acknowledged is lost, and that nothing goes on.
func (w *world) settle(what string) {
	w.t.Helper()
	w.run(what, w.asWanted)
	load := w.load
	w.load = false
	w.idle(5 * time.Second)
	changes := func() (n int) {
		w.each(func(o *node) { n += o.changes + o.removals })
		return n
	}
	revision, before := w.state().Revision, changes()
	w.idle(30 * time.Second)
	if after := changes(); after != before || w.state().Revision != revision {
		w.t.Fatalf("%s: %d changes and %d revisions after all was as wanted\n%s", what, after-before, w.state().Revision-revision, w.describe())
	}
	for g, acked := range w.acked {
		w.each(func(n *node) {
			if !w.state().Wants(n.id, g) {
				return
			}
			if got := n.sums[rsmraft.GroupID(g)].count; got < acked || got > w.issued[g] {
				w.t.Fatalf("%s: node %d counts %d in group %d, want %d to %d\n%s", what, n.id, got, g, acked, w.issued[g], w.describe())
			}
		})
	}
	w.load = load
}
