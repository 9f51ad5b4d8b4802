package rsmraft_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

// node is a simulated node.
type node struct {
	*sim.Node
	w       *world
	host    *rsmraft.Host
	lists   map[rsmraft.GroupID]*rsmtest.List
	refuses map[rsmraft.GroupID]bool // to have a replica, once it is started
}

// world is a simulated cluster.
type world struct {
	*sim.World
	t       testing.TB
	net     *sim.Network
	nodes   map[rsmraft.NodeID]*node
	options rsmraft.Options
}

func newWorld(t testing.TB, seed uint64, nodes int) *world {
	s := sim.New(seed)
	w := &world{World: s, t: t, net: sim.NewNetwork(s), nodes: map[rsmraft.NodeID]*node{}}
	w.options = rsmraft.Options{SnapshotBytes: 8 << 10, ReserveBytes: -1, SegmentBytes: 64 << 10, MaxEntryBytes: 4 << 10}
	for i := range nodes {
		w.add(rsmraft.NodeID(i + 1))
	}
	return w
}

// add starts another node.
func (w *world) add(id rsmraft.NodeID) *node {
	w.t.Helper()
	n := &node{Node: w.NewNode(id), w: w}
	w.nodes[id] = n
	n.start()
	return n
}

// node returns the i-th node, from 0.
func (w *world) node(i int) *node { return w.nodes[rsmraft.NodeID(i+1)] }

// ids returns the numbers of all nodes, in order.
func (w *world) ids() []rsmraft.NodeID {
	var all []rsmraft.NodeID
	for i := range len(w.nodes) {
		all = append(all, w.node(i).ID)
	}
	return all
}

// others returns the nodes but one.
func (w *world) others(but *node) []*node {
	var all []*node
	for i := range len(w.nodes) {
		if n := w.node(i); n != but {
			all = append(all, n)
		}
	}
	return all
}

// start opens the node's host. A process that was killed has lost what was not
// synced.
func (n *node) start() {
	n.w.t.Helper()
	n.Boot()
	n.lists = map[rsmraft.GroupID]*rsmtest.List{}
	o := n.w.options
	if o.Logger == nil && testing.Verbose() {
		o.Logger = n.w.Logger(n.w.t.Output()).With("node", n.ID)
	}
	o.FS, o.Runtime, o.Network = n.FS, n.Process, n.w.net.Port(n.ID, n.Process)
	opened := false
	o.Machine = func(id rsmraft.GroupID) rsm.Machine {
		if opened && n.refuses[id] {
			return nil
		}
		n.lists[id] = &rsmtest.List{}
		return n.lists[id]
	}
	host, err := rsmraft.Open("data", n.ID, &o)
	if err != nil {
		n.w.t.Fatalf("open node %d: %v", n.ID, err)
	}
	n.host, opened = host, true
	n.w.net.Join(n.ID, n.Process, host.Receive)
}

// crash ends the process.
func (n *node) crash() { n.Process.Kill() }

// isolate cuts or mends all ways to and from a node.
func (n *node) isolate(cut bool) {
	for i := range len(n.w.nodes) {
		n.w.net.Cut(n.ID, rsmraft.NodeID(i+1), cut)
		n.w.net.Cut(rsmraft.NodeID(i+1), n.ID, cut)
	}
}

// run runs until done, or fails the test.
func (w *world) run(what string, done func() bool) {
	w.t.Helper()
	if !w.Run(time.Minute, done) {
		w.t.Fatalf("not within a minute: %s", what)
	}
}

// leader returns the node that leads a group, nil if none does.
func (w *world) leader(id rsmraft.GroupID) *node {
	var leader *node
	term := uint64(0)
	for i := range len(w.nodes) {
		n := w.nodes[rsmraft.NodeID(i+1)]
		if n.Process.Dead() || n.host.Err() != nil || n.host.Group(id) == nil {
			continue
		}
		if s := n.host.Group(id).Status(); s.Leads && s.Term > term {
			leader, term = n, s.Term
		}
	}
	return leader
}

// outcome is what became of a proposal or a read.
type outcome struct {
	done   bool
	result uint64
	err    error
	hook   func()
}

// set notes the outcome.
func (o *outcome) set(result uint64, err error) {
	o.done, o.result, o.err = true, result, err
	if o.hook != nil {
		o.hook()
	}
}

// then calls fn when there is an outcome.
func (o *outcome) then(fn func()) {
	if o.hook = fn; o.done {
		fn()
	}
}

// propose proposes a command on a node.
func (n *node) propose(id rsmraft.GroupID, command string) *outcome {
	o := &outcome{}
	err := n.host.Group(id).TrySubmit(context.Background(), &rsm.Proposal{
		Data: []byte(command),
		Done: func(result []byte, _ rsm.Position, err error) {
			if err != nil {
				o.set(0, err)
				return
			}
			o.set(binary.LittleEndian.Uint64(result), nil)
		},
	})
	if err != nil {
		o.set(0, err)
	}
	return o
}

// read reads a replica's commands.
func (n *node) read(id rsmraft.GroupID, fn func(l *rsmtest.List)) *outcome {
	o := &outcome{}
	l := n.lists[id]
	n.host.Group(id).StartRead(func(err error) {
		if err == nil {
			fn(l)
		}
		o.set(uint64(len(l.Batches)), err)
	})
	return o
}

// must waits for an outcome and fails the test if it is an error.
func (w *world) must(o *outcome) *outcome {
	w.t.Helper()
	w.run("an answer", func() bool { return o.done })
	if o.err != nil {
		w.t.Fatal(o.err)
	}
	return o
}

// wait waits for an outcome, and returns its error.
func (w *world) wait(o *outcome) error {
	w.t.Helper()
	w.run("an answer", func() bool { return o.done })
	return o.err
}

// pass lets time pass.
func (w *world) pass(d time.Duration) { w.Run(d, func() bool { return false }) }

// proposeMany proposes commands on a node, one after the other.
func (n *node) proposeMany(id rsmraft.GroupID, prefix string, count int) {
	n.w.t.Helper()
	for i := range count {
		n.w.must(n.propose(id, fmt.Sprint(prefix, i)))
	}
}

// same fails the test unless all nodes have, or come to have, the same commands.
func (w *world) same(id rsmraft.GroupID, nodes ...*node) {
	w.t.Helper()
	longest := 0
	for _, n := range nodes {
		longest = max(longest, len(n.lists[id].Batches))
	}
	for _, n := range nodes {
		w.run(fmt.Sprintf("node %d has %d commands", n.ID, longest), func() bool { return len(n.lists[id].Batches) >= longest })
		if diff := cmp.Diff(nodes[0].lists[id].Batches, n.lists[id].Batches); diff != "" {
			w.t.Fatalf("node %d differs from node %d (-want +got):\n%s", n.ID, nodes[0].ID, diff)
		}
	}
}

// grow makes the first node's group one of all nodes.
func (w *world) grow(id rsmraft.GroupID) {
	w.t.Helper()
	first := w.nodes[1]
	if _, err := first.host.Begin(id); err != nil {
		w.t.Fatal(err)
	}
	w.run("the first node leads", func() bool { return w.leader(id) == first })
	all := w.ids()
	w.change(id, all[:1], all[1:])
	w.change(id, all, nil)
}

// change changes the members of a group on its leader.
func (w *world) change(id rsmraft.GroupID, voters, learners []rsmraft.NodeID) {
	w.t.Helper()
	var done *error
	g := w.leader(id).host.Group(id)
	g.StartChange(voters, learners, func(err error) { done = &err })
	w.run(fmt.Sprintf("members %v, %v", voters, learners), func() bool { return done != nil })
	if *done != nil {
		w.t.Fatal(*done)
	}
}
