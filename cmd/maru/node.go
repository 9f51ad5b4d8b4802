package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/cluster"
	"maru.example/cluster/clusterraft"
	"maru.example/rsm"
	"maru.example/rsm/rsmarchive"
	"maru.example/rsm/rsmpeer"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
	"maru.example/wallet/wallethook"
	"maru.example/wallet/walletraft"
)

// The pace of a node's upkeep.
const (
	peersInterval  = 250 * time.Millisecond // how often addresses of other nodes are looked at
	introduceEvery = time.Second            // until the cluster knows this node's addresses
	handOverWithin = 3 * time.Second        // of all leaderships, before a node stops
)

// node is this process's part of a cluster, which may be all of it.
type node struct {
	identity   *identity
	logger     *slog.Logger
	runtime    *rsmraft.Runtime
	loop       rsm.Loop // of the upkeep
	network    *rsmpeer.Network
	host       atomic.Pointer[rsmraft.Host]
	metadata   *clusterraft.Service
	machine    *cluster.Machine
	reconciler *cluster.Reconciler
	logs       []*walletraft.Log
	parts      []*wallet.Partition
	remote     *walletraft.Remote
	wallet     atomic.Pointer[wallet.Service]
	placement  atomic.Pointer[placement] // as it was asked for last
	revision   uint64                    // of the metadata whose addresses are in use
	founding   atomic.Bool               // the cluster is being made here
	stopped    atomic.Bool
	removal    sync.Once
	history    *historian // nil: no history is kept
	archive    *archivist // nil: there is no archive
	archived   *archiveRecord
	witnesses  []rsmarchive.Store               // archives of this node, which are asked what it decided
	ends       map[uint16][]rsmarchive.Position // where what was archived of a partition ends, as far as it was asked for
	gaveUp     []uint16                         // partitions of which the operator gave up what the archive lost
	gatherer   *gatherer                        // of what the replicas lack of the past
	followers  followers                        // of the replicas: those three
	side       *side                            // the database beside the log
	personal   *personal                        // nil: no personal data is kept
	reserve    int64                            // see rsmraft.Options.ReserveBytes
	webhooks   *wallethook.Engine
	removed    chan struct{} // closed when another node says that this one was removed

	archiveSegment int64         // see rsmarchive.WriterOptions
	archiveAge     time.Duration // the same
}

// openNode recovers a node and its groups from the data directory.
func openNode(ctx context.Context, o *serveOptions, logger *slog.Logger) (_ *node, err error) {
	id, err := o.loadOrFound()
	if err != nil {
		return nil, err
	}
	if err := id.claimLog(o.data); err != nil {
		return nil, err
	}
	n := &node{
		identity: id, logger: logger, runtime: rsmraft.NewRuntime(), machine: cluster.NewMachine(), removed: make(chan struct{}),
		ends: map[uint16][]rsmarchive.Position{}, reserve: int64(o.reserve), archiveSegment: int64(o.archiveSegment), archiveAge: o.archiveAge,
	}
	n.followers.node = n
	if err := n.openArchive(ctx, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.archive.close()
		}
	}()
	options := o.nodeOptions(logger, n.archive != nil)
	n.gatherer = newGatherer(n, o.data, options.CutLog && n.archive == nil)
	n.loop = n.runtime.NewLoop("node")
	n.founding.Store(id.Founding)
	n.remote = walletraft.NewRemote(n.host.Load, n.hosts)
	n.addPartitions(o)
	if n.side, err = openSide(o); err != nil {
		return nil, err
	}
	n.side.claim = n.claimSide
	n.side.known = func() bool {
		_, ok := n.owner()
		return ok
	}
	if err := n.listenPeers(ctx, o); err != nil {
		return nil, err
	}
	options.Runtime, options.Machine, options.Opened, options.Serve = n.runtime, n.machineOf, n.opened, n.serve
	options.Decided = func(id rsmraft.GroupID) rsm.Index { return n.decided(ctx, id) }
	if n.network != nil {
		options.Network = peers{n.network}
	}
	host, err := rsmraft.Open(filepath.Join(o.data, logName), rsmraft.NodeID(id.Node), options)
	if err != nil {
		if errors.Is(err, rsmraft.ErrShort) {
			return nil, errors.Join(n.shortError(o.data, err), n.closeNetwork())
		}
		return nil, errors.Join(openError(o.data, err), n.closeNetwork())
	}
	n.host.Store(host)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close(0))
		}
	}()
	if err := n.begin(o); err != nil {
		return nil, err
	}
	if err := n.agrees(ctx); err != nil {
		return nil, err
	}
	n.metadata = clusterraft.NewService(clusterraft.New(host), n.machine)
	if err := n.openWallet(ctx, o); err != nil {
		return nil, err
	}
	n.reconciler = cluster.NewReconciler(id.Node, n.machine, clusterraft.New(host), n.loop, &cluster.ReconcilerOptions{Lacks: n.gatherer.wants, Logger: logger})
	n.reconciler.Start()
	n.loop.Post(n.upkeep)
	return n, nil
}

// openWallet makes the wallet of the groups, with what follows them, and what is kept beside.
func (n *node) openWallet(ctx context.Context, o *serveOptions) (err error) {
	n.followers.all = append(n.followers.all, n.gatherer)
	service := &wallet.ServiceOptions{Protocol: protocolOf(n.identity.Protocol), Remote: n.remote}
	if o.history {
		if n.history, err = openHistorian(o, n); err != nil {
			return err
		}
		service.History = n.history.store
		n.followers.all = append(n.followers.all, n.history)
	}
	if n.archive != nil {
		n.followers.all = append(n.followers.all, n.archive)
	}
	n.followers.start()
	n.wallet.Store(wallet.NewDividedService(n.parts, service))
	if err := n.checkSide(ctx, o); err != nil {
		return err
	}
	n.webhooks = openWebhooks(o, n)
	if err := n.checkWebhooks(ctx, o); err != nil {
		return err
	}
	if o.personal {
		if n.personal, err = openPersonal(ctx, o, n); err != nil {
			return err
		}
	}
	return nil
}

// addPartitions makes the partitions of the wallet, without their logs.
func (n *node) addPartitions(o *serveOptions) {
	for i := range n.identity.Partitions {
		l := walletraft.NewLog(n.host.Load, uint16(i), n.loop)
		p := wallet.NewPartition(uint16(i), uint16(n.identity.Partitions), n.runtime.Rand)
		p.Log = l
		p.Machine.SetRecentIDs(o.recentIDs / uint64(n.identity.Partitions))
		n.logs, n.parts = append(n.logs, l), append(n.parts, p)
	}
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

// listenPeers opens the port for other nodes, if there is to be one.
func (n *node) listenPeers(ctx context.Context, o *serveOptions) (err error) {
	if o.peer == "" {
		if n.identity.Founding || len(n.identity.Peers) == 0 {
			return nil
		}
		return usageError("give --peer HOST:PORT, the address that was told to `maru cluster add`", "this node is one of several, and needs an address for the others")
	}
	options := &rsmpeer.Options{Logger: n.logger, Refused: n.refused, Lost: n.lost}
	if o.peerCA != "" || o.peerCert != "" || o.peerKey != "" {
		options.Certificates = &rsmpeer.Certificates{Authority: o.peerCA, Chain: o.peerCert, Key: o.peerKey}
	}
	n.network, err = rsmpeer.Listen(ctx, o.peer, n.identity.peer(), func(from rsmpeer.NodeID, _ rsmpeer.Lane, message []byte) {
		if h := n.host.Load(); h != nil {
			h.Receive(rsmraft.NodeID(from), message)
		}
	}, options)
	switch {
	case errors.Is(err, rsmpeer.ErrPlaintext):
		return usageError("give --peer-ca, --peer-cert and --peer-key", "%w", err)
	case err != nil:
		return failed(fmt.Errorf("listen for peers on %s: %w", o.peer, err), "is another server there? choose another port")
	}
	return nil
}

// refused is called when another node refuses this one.
func (n *node) refused(_ rsmpeer.NodeID, code rsmpeer.Refusal, _ string) {
	if code == rsmpeer.RemovedNode {
		n.removal.Do(func() { close(n.removed) })
	}
}

// removedError is why a node ends that is no part of its cluster any more. It is told so by
// another node, whose word is as good as any: nobody who was removed comes back.
func (n *node) removedError() error {
	return failed(fmt.Errorf("node %d was removed from the cluster, and does not come back: its replicas are on the other nodes", n.identity.Node),
		"to use this machine again, add a new node with an empty directory (`maru cluster add --help`); keep this one, and its archive, until `maru cluster status` says of no node that it lacks entries of the past")
}

// lost is told that what was sent to a node may not have come there.
func (n *node) lost(to rsmpeer.NodeID) {
	if h := n.host.Load(); h != nil {
		h.Lost(rsmraft.NodeID(to))
	}
}

// peers is the network as the groups see it.
type peers struct{ network *rsmpeer.Network }

// Send implements rsmraft.Network.
func (p peers) Send(to rsmraft.NodeID, lane rsmraft.Lane, parts [][]byte) bool {
	return p.network.Send(rsmpeer.NodeID(to), rsmpeer.Lane(lane), parts)
}

// machineOf returns the machine of a group, nil if this node is to have none.
// While the host is opened, and the cluster made, it may have all: what is there
// was wanted.
func (n *node) machineOf(id rsmraft.GroupID) rsm.Machine {
	settled := n.host.Load() != nil && !n.founding.Load()
	switch {
	case int(id) > len(n.parts), settled && !n.machine.State().MayHost(n.identity.Node, cluster.GroupID(id)):
		return nil
	case id == 0:
		return n.machine
	}
	return n.parts[id-1].Machine
}

// opened is called with each replica that is made.
func (n *node) opened(g *rsmraft.Group) {
	if id := g.ID(); id > 0 && int(id) <= len(n.logs) {
		n.logs[id-1].Opened(g)
	}
}

// placement is which nodes have a replica of each partition, by one state of the metadata.
type placement struct {
	of    *cluster.State
	nodes [][]rsmraft.NodeID
}

// hosts returns the nodes that have a replica of a partition. Each request asks, so
// it is worked out once for each state of the metadata.
func (n *node) hosts(partition uint16) []rsmraft.NodeID {
	s := n.machine.State()
	p := n.placement.Load()
	if p == nil || p.of != s {
		p = &placement{s, make([][]rsmraft.NodeID, len(n.parts))}
		for i := range p.nodes {
			for _, id := range s.Hosts(cluster.GroupID(walletraft.Group(uint16(i)))) {
				p.nodes[i] = append(p.nodes[i], rsmraft.NodeID(id))
			}
		}
		n.placement.Store(p)
	}
	return p.nodes[partition]
}

// serve does what a node asks for that has no replica of a partition.
func (n *node) serve(_ rsmraft.NodeID, group rsmraft.GroupID, request []byte, reply func([]byte, error)) {
	if isPastRequest(request) {
		n.gatherer.servePast(group, request, reply)
		return
	}
	s := n.wallet.Load()
	if s == nil {
		reply(nil, rsm.ErrNoLeader)
		return
	}
	s.Serve(request, reply)
}

// begin makes the groups of a cluster that begins here, or finds those that there
// are. It returns when a node that is alone has recovered everything.
func (n *node) begin(o *serveOptions) error {
	host := n.host.Load()
	if !n.identity.Founding {
		// Replicas that this node does not have yet are made empty: the leader fills them.
		if _, err := host.Replica(0); err != nil {
			return openError(o.data, err)
		}
		n.setPeers(n.machine.State())
		for _, g := range host.Groups() {
			if s := g.Status(); len(s.Voters) == 1 && s.Voters[0] == host.ID() && len(s.Outgoing) == 0 {
				if err := g.WaitLeader(); err != nil {
					return openError(o.data, err)
				}
			}
		}
		return nil
	}
	for id := range rsmraft.GroupID(len(n.parts) + 1) {
		g, err := host.Begin(id)
		if err == nil {
			err = g.WaitLeader()
		}
		if err != nil {
			return openError(o.data, err)
		}
	}
	return nil
}

// init makes the metadata of a cluster that begins here.
func (n *node) init(ctx context.Context, o *serveOptions, addresses cluster.Addresses) error {
	if !n.identity.Founding {
		return nil
	}
	config := cluster.DefaultConfig()
	config.Protocol = n.identity.Protocol
	code, err := n.metadata.Init(ctx, cluster.Init{
		Cluster: n.identity.Cluster, Partitions: n.identity.Partitions, Config: config,
		Node: cluster.NewNode{Incarnation: n.identity.Incarnation, Addresses: addresses},
	})
	if err == nil && code != cluster.Applied {
		err = fmt.Errorf("the cluster was not made: %v", code)
	}
	if err != nil {
		return failed(err, "see the log of this process")
	}
	n.identity.Founding = false
	n.founding.Store(false)
	return n.identity.save(o.data)
}

// introduce tells the cluster this node's addresses, until it knows them.
func (n *node) introduce(ctx context.Context, addresses cluster.Addresses) {
	for !n.stopped.Load() {
		if me := n.machine.State().Node(n.identity.Node); me != nil && me.Addresses == addresses {
			return
		}
		try, cancel := context.WithTimeout(ctx, introduceEvery)
		_, code, err := n.metadata.AddNode(try, cluster.NewNode{Incarnation: n.identity.Incarnation, Addresses: addresses})
		if err == nil && code != cluster.Applied {
			n.logger.ErrorContext(ctx, "the cluster does not take this node's addresses", "code", code.String())
		}
		<-try.Done() // a cluster that has no leader yet is asked again, but not at once
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

// upkeep follows the addresses of the other nodes.
func (n *node) upkeep() {
	if n.stopped.Load() {
		return
	}
	n.loop.After(peersInterval, n.upkeep)
	if s := n.machine.State(); s.Revision != n.revision {
		n.revision = s.Revision
		n.setPeers(s)
		n.wallet.Load().SetProtocol(protocolOf(s.Config.Protocol))
	}
}

// setPeers tells the network where the other nodes are.
func (n *node) setPeers(s *cluster.State) {
	if n.network == nil {
		return
	}
	var list []rsmpeer.Peer
	var removed []rsmpeer.NodeID
	if s.Cluster == "" { // nothing of the metadata has come here yet
		for _, p := range n.identity.Peers {
			list = append(list, rsmpeer.Peer{ID: rsmpeer.NodeID(p.Node), Addr: p.Address})
		}
	}
	for _, p := range s.Nodes {
		switch {
		case p.ID == n.identity.Node:
		case p.Status == cluster.Removed:
			removed = append(removed, rsmpeer.NodeID(p.ID))
		case p.Addresses.Peer != "":
			list = append(list, rsmpeer.Peer{ID: rsmpeer.NodeID(p.ID), Addr: p.Addresses.Peer, Incarnation: raw(p.Incarnation)})
		}
	}
	n.network.SetRemoved(removed)
	if err := n.network.SetPeers(list); err != nil {
		n.logger.Error("the other nodes cannot be reached", "error", err)
	}
}

// err says why the node is not ready, if so.
func (n *node) err() error {
	host := n.host.Load()
	if err := errors.Join(host.Err(), n.archive.err()); err != nil {
		return err
	}
	if n.machine.State().Cluster == "" {
		return fmt.Errorf("%w: nothing of the metadata has come here yet", rsm.ErrNoLeader)
	}
	for i, l := range n.logs {
		if !n.remote.Here(uint16(i)) {
			continue // other nodes have it
		}
		g, err := l.Replica()
		if err == nil {
			err = g.Err()
		}
		if err == nil {
			err = ledError(g.Status(), i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ledError says that the group of a partition has no leader, as far as a replica
// knows, and whether that has lasted.
func ledError(s rsmraft.Status, partition int) error {
	switch {
	case s.Leader != 0:
		return nil
	case s.NoMajority:
		return fmt.Errorf("%w: partition %d", rsm.ErrNoMajority, partition)
	}
	return fmt.Errorf("%w: partition %d", rsm.ErrNoLeader, partition)
}

// handOver gives this node's leaderships to other nodes, within a bound.
func (n *node) handOver(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	host := n.host.Load()
	for _, g := range host.Groups() {
		s := g.Status()
		for _, p := range s.Peers {
			if s.Leads && p.Active && !p.Learner && p.Node != host.ID() && p.State == "replicate" {
				if err := g.TransferLeader(ctx, p.Node); err == nil {
					break
				}
			}
		}
	}
}

// close stops the node; its leaderships go to others first.
func (n *node) close(within time.Duration) error {
	n.stopped.Store(true)
	host := n.host.Load()
	if within > 0 && host.Err() == nil {
		n.handOver(within)
	}
	if n.reconciler != nil {
		done := make(chan struct{})
		n.reconciler.Stop(func() { close(done) })
		<-done
	}
	if n.webhooks != nil {
		n.webhooks.Close()
	}
	n.followers.close()
	kept := errors.Join(n.history.close(), n.side.close())
	n.archive.close()
	n.gatherer.close()
	err := host.Close()
	if err == nil || !errors.Is(err, rsm.ErrFailed) {
		n.runtime.Close() // a loop that hangs in a write is not waited for
	}
	return errors.Join(err, kept, n.closeNetwork())
}

func (n *node) closeNetwork() error {
	if n.network == nil {
		return nil
	}
	return n.network.Close()
}

// listensForPeers returns the address of the port for other nodes, "" if there is none.
func (n *node) listensForPeers() string {
	if n.network == nil {
		return ""
	}
	return n.network.LocalAddr().String()
}
