package simcluster

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"maru.example/cluster"
	"maru.example/cluster/clusterraft"
	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
	"maru.example/wallet/walletraft"
)

// node is a machine of the cluster. What its process runs is what a server runs,
// joined as cmd/maru joins it.
type node struct {
	*sim.Node
	w        *world
	lost     bool // its disk is, or it was removed: it does not come back
	founding bool

	// The rest is the process's.
	host     *rsmraft.Host
	metadata *cluster.Machine
	parts    []*wallet.Partition
	audits   []*audited // of the partitions that it has had a replica of
	logs     []*walletraft.Log
	wallet   *wallet.Service
}

// Limits of a node whose disk may fill up.
const (
	queue   = 1 << 20
	reserve = 64 << 20 // more than rsmraft.MinReserveBytes(queue)
)

// boot makes a node with an empty disk and starts it.
func (w *world) boot(id cluster.NodeID) *node {
	if int(id) != len(w.nodes)+1 {
		w.failf("the new node is %d, and there are %d", id, len(w.nodes))
	}
	n := &node{Node: w.NewNode(rsmraft.NodeID(id)), w: w, founding: id == 1}
	w.nodes = append(w.nodes, n)
	n.start()
	return n
}

// start starts the node's process.
func (n *node) start() {
	n.Boot()
	w := n.w
	if w.load != nil {
		w.load.prepare(n)
	}
	if !w.calm && !n.founding && w.Chance(0.1) {
		n.Tear(1 + w.Rand.IntN(10))
	}
	n.host, n.parts, n.logs = nil, nil, nil
	n.audits = make([]*audited, w.partitions)
	n.metadata = cluster.NewMachine()
	loop := n.Process.NewLoop("node")
	for p := range uint16(w.partitions) {
		l := walletraft.NewLog(func() *rsmraft.Host { return n.host }, p, loop)
		part := wallet.NewPartition(p, uint16(w.partitions), n.Process.Rand)
		part.Log, part.CancelAfter = l, w.patience
		part.Machine.SetRecentIDs(w.sizes.recent)
		n.logs, n.parts = append(n.logs, l), append(n.parts, part)
	}
	remote := walletraft.NewRemote(func() *rsmraft.Host { return n.host }, n.hosts)
	host, err := rsmraft.Open("data", n.ID, &rsmraft.Options{
		FS: n.FS, Runtime: n.Process, Network: w.net.Port(n.ID, n.Process),
		SnapshotBytes: w.sizes.snapshot, SegmentBytes: w.sizes.segment, MaxEntryBytes: w.sizes.entry,
		MaxQueueBytes: w.sizes.queue, ReserveBytes: max(reserve, rsmraft.MinReserveBytes(w.sizes.queue)), CutLog: n.ID%2 == 0,
		Machine: n.machineOf,
		Opened: func(g *rsmraft.Group) {
			if id := g.ID(); id > 0 {
				n.logs[id-1].Opened(g)
			}
		},
		Serve: func(_ nodeID, _ rsmraft.GroupID, request []byte, reply func([]byte, error)) {
			n.wallet.Serve(request, reply)
		},
		Logger: n.logger(),
	})
	if err != nil {
		n.stillborn(err)
		return
	}
	n.host = host
	w.net.Join(n.ID, n.Process, host.Receive)
	if err := n.begin(); err != nil {
		n.stillborn(err)
		return
	}
	n.wallet = wallet.NewDividedService(n.parts, &wallet.ServiceOptions{Protocol: w.protocol(), Remote: remote, Await: n.await})
	cluster.NewReconciler(cluster.NodeID(n.ID), n.metadata, clusterraft.New(host), loop, &cluster.ReconcilerOptions{
		HandOverPause: w.pauses.handOver, RemovePause: w.pauses.remove, Logger: n.logger(),
	}).Start()
}

// stillborn ends a process that cannot start, as something is wrong with its disk.
// It is started again.
func (n *node) stillborn(err error) {
	if !n.Process.Dead() && !errors.Is(err, vfs.ErrInjected) && !errors.Is(err, vfs.ErrNoSpace) {
		n.w.failf("start node %d: %w", n.ID, err)
	}
	n.Process.Kill()
}

// begin makes the groups of the first node, and lets others wait for the metadata.
func (n *node) begin() error {
	var err error
	if !n.founding {
		_, err = n.host.Replica(0)
	}
	for g := range rsmraft.GroupID(n.w.partitions + 1) {
		if n.founding && err == nil {
			_, err = n.host.Begin(g)
		}
	}
	n.founding = false
	return err
}

// machineOf returns the machine of a group, nil if this node is to have none.
func (n *node) machineOf(id rsmraft.GroupID) rsm.Machine {
	if n.host != nil && !n.founding && !n.metadata.State().MayHost(cluster.NodeID(n.ID), cluster.GroupID(id)) {
		return nil
	}
	if id == 0 {
		return n.metadata
	}
	if n.w.load != nil {
		return n.w.load.machine(n, n.parts[id-1].Machine)
	}
	n.audits[id-1] = &audited{Machine: n.parts[id-1].Machine, node: n, partition: int(id - 1)}
	return n.audits[id-1]
}

// hosts returns the nodes that have a replica of a partition.
func (n *node) hosts(partition uint16) []nodeID {
	var ids []nodeID
	for _, id := range n.metadata.State().Hosts(cluster.GroupID(walletraft.Group(partition))) {
		ids = append(ids, nodeID(id))
	}
	return ids
}

// ended says that the process does no work any more.
func (n *node) ended() bool { return n.Process.Dead() || n.host == nil || n.host.Err() != nil }

// logger returns the process's, nil if nobody reads it.
func (n *node) logger() *slog.Logger {
	if n.w.options.Log == nil {
		return nil
	}
	return n.w.Logger(n.w.options.Log).With("node", n.ID)
}

func protocolOf(p cluster.Protocol) wallet.Protocol {
	switch p {
	case cluster.Saga:
		return wallet.Saga
	case cluster.TwoPhases:
		return wallet.TwoPhase
	case cluster.TCC:
	}
	return wallet.TCC
}

// running returns the nodes whose processes run.
func (w *world) running() []*node {
	var all []*node
	for _, n := range w.nodes {
		if !n.ended() {
			all = append(all, n)
		}
	}
	return all
}

// leader returns the node that leads a group, nil if none does.
func (w *world) leader(id cluster.GroupID) (leader *node) {
	term := uint64(0)
	for _, n := range w.running() {
		if g := n.host.Group(rsmraft.GroupID(id)); g != nil {
			if s := g.Status(); s.Leads && s.Term > term {
				leader, term = n, s.Term
			}
		}
	}
	return leader
}

// describe says how things stand.
func (w *world) describe() string {
	var text strings.Builder
	for _, n := range w.nodes {
		fmt.Fprintf(&text, "node %d: lost %v, dead %v\n", n.ID, n.lost, n.Process.Dead())
		if n.ended() {
			continue
		}
		fmt.Fprintf(&text, "  knows revision %d\n", n.metadata.State().Revision)
		for _, g := range n.host.Groups() {
			fmt.Fprintf(&text, "  %+v\n", g.Status())
		}
	}
	if s := w.state(); s != nil {
		for _, g := range s.Groups {
			fmt.Fprintf(&text, "group %d wants %v, reported %+v\n", g.ID, g.Replicas, g.Actual)
		}
	}
	return text.String()
}
