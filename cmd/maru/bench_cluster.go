package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
	"maru.example/wallet"
)

// Limits of a benchmark's cluster.
const (
	maxBenchNodes   = 9
	benchSettleTime = 2 * time.Minute // until all replicas are there and leaders are spread
	benchSettlePoll = 100 * time.Millisecond
)

// benchRoute says which node a call goes to.
type benchRoute string

// The routes.
const (
	routeLeader benchRoute = "leader" // the node that leads the partition that pays
	routeAny    benchRoute = "any"    // every node in turn
)

// startBenchCluster makes a cluster of servers on loopback, each on a directory of
// its own below dir, and returns them when every partition has all its replicas and
// the leader that it should have.
func startBenchCluster(ctx context.Context, dir string, c *benchConfig) (servers []*benchServer, err error) {
	defer func() {
		if err != nil {
			stopServers(servers)
		}
	}()
	for i := range c.nodes {
		s, err := startBenchNode(ctx, i+1, dir, c, servers)
		if s != nil {
			servers = append(servers, s)
		}
		if err != nil {
			return servers, fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	_, err = settledCluster(ctx, servers)
	return servers, err
}

// startBenchNode makes a node's directory and starts its server. The first node
// makes the cluster, the others are added to it.
func startBenchNode(ctx context.Context, number int, dir string, c *benchConfig, others []*benchServer) (*benchServer, error) {
	program, err := benchProgram()
	if err != nil {
		return nil, err
	}
	peer, err := freePeerAddress(ctx)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "n"+strconv.Itoa(number))
	steps := []string{"cluster", "init", "--data", data, "--partitions", strconv.Itoa(c.partitions), "--protocol", c.protocol}
	if len(others) > 0 {
		steps = []string{"cluster", "add", "--data", data, "--peer", peer, "--addr", others[0].url}
	}
	if out, err := exec.CommandContext(ctx, program, steps...).CombinedOutput(); err != nil { //nolint:gosec // this program
		return nil, fmt.Errorf("maru cluster %s: %w: %s", steps[1], err, out)
	}
	name := "server" + strconv.Itoa(number)
	return startBenchServer(ctx, data, c.profile, name, append([]string{"--peer", peer}, c.serveFlags...))
}

// Ports for other nodes are drawn from below those that the system gives to
// whoever asks for any, as they must be known before they are listened on.
const (
	leastPeerPort = 20_000
	mostPeerPort  = 32_000
	peerPortTries = 100
)

// freePeerAddress returns an address on loopback that nobody listens on.
func freePeerAddress(ctx context.Context) (addr string, err error) {
	for range peerPortTries {
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(leastPeerPort+rand.IntN(mostPeerPort-leastPeerPort)))
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// stopServers stops servers gracefully, all at once: alone each would wait for
// others to take over what it leads.
func stopServers(servers []*benchServer) {
	done := make(chan struct{})
	for _, s := range servers {
		go func() { s.stop(); done <- struct{}{} }()
	}
	for range servers {
		<-done
	}
}

// settledCluster waits until the cluster is as it should be, and returns how it
// stands then.
func settledCluster(ctx context.Context, servers []*benchServer) (*cluster.Overview, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, benchSettleTime, errors.New("its replicas and leaders are not where they should be"))
	defer cancel()
	poll := time.NewTicker(benchSettlePoll)
	defer poll.Stop()
	for {
		if view, err := overviewOf(ctx, servers); err == nil && settled(view, len(servers)) {
			return view, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the cluster: %w", context.Cause(ctx))
		}
	}
}

// settled says whether every group has its replicas, which have caught up, and its
// leader, and the addresses of all nodes are known.
func settled(view *cluster.Overview, nodes int) bool {
	for _, n := range view.Nodes {
		if n.Addresses.Stream == "" {
			return false
		}
	}
	for _, g := range view.Groups {
		voters := min(nodes, view.Config.Replicas)
		if g.ID == cluster.Metadata {
			voters = min(nodes, view.Config.MetadataReplicas)
		}
		if g.Leader == 0 || !g.AsWanted || len(g.Voters) != voters || slices.ContainsFunc(g.Members, func(m cluster.MemberOverview) bool { return m.Lag > 0 }) {
			return false
		}
	}
	return len(view.Nodes) == nodes
}

// overviewOf returns how a cluster stands as all its nodes see it.
func overviewOf(ctx context.Context, servers []*benchServer) (whole *cluster.Overview, err error) {
	for _, s := range servers {
		client, err := clusterhttp.NewClient(s.url, &clusterhttp.ClientOptions{TLS: s.httpTLS})
		if err != nil {
			return nil, err
		}
		view, err := client.Overview(ctx)
		client.Close()
		if err != nil {
			return nil, fmt.Errorf("ask %s how the cluster stands: %w", s.url, err)
		}
		if whole == nil {
			whole = view
		} else {
			whole.Merge(view)
		}
	}
	return whole, nil
}

// leaders returns, for each partition, the index of the server that leads it.
func (b *bench) leaders(ctx context.Context) ([]int, error) {
	out := make([]int, b.plan.partitions())
	if len(b.servers) == 1 {
		return out, nil
	}
	view, err := overviewOf(ctx, b.servers)
	if err != nil {
		return nil, err
	}
	for _, g := range view.Groups {
		if g.ID == cluster.Metadata {
			continue
		}
		n := slices.IndexFunc(view.Nodes, func(n cluster.NodeOverview) bool { return n.ID == g.Leader })
		if n < 0 {
			continue // no leader is known: any node will do
		}
		at := slices.IndexFunc(b.servers, func(s *benchServer) bool { return s.streamAddr == view.Nodes[n].Addresses.Stream })
		out[g.ID-1] = max(at, 0)
	}
	return out, nil
}

// terms returns the sum of the partitions' terms, each of which has one leader at
// the most.
func (b *bench) terms(ctx context.Context) (sum uint64, err error) {
	if !b.config.clustered() {
		return 0, nil
	}
	view, err := overviewOf(ctx, b.servers)
	if err != nil {
		return 0, err
	}
	for _, g := range view.Groups {
		if g.ID != cluster.Metadata {
			sum += g.Term
		}
	}
	return sum, nil
}

// nodeCaller makes each call at one of several nodes.
type nodeCaller struct {
	nodes []benchCaller
	pick  func(first uint64) int
	at    benchCaller
}

// prepare implements benchCaller.
func (c *nodeCaller) prepare(first uint64, n int) {
	c.at = c.nodes[c.pick(first)]
	c.at.prepare(first, n)
}

// call implements benchCaller.
func (c *nodeCaller) call(ctx context.Context) ([]wallet.Result, error) { return c.at.call(ctx) }

// nodeOf returns the node that a call is made at which begins with transfer first.
func (b *bench) nodeOf(first uint64, leaders []int) int {
	at := leaders[b.plan.payer(first)]
	if b.config.route == string(routeAny) {
		at = int(b.plan.block(first)) / b.plan.partitions()
	}
	return (at + b.elsewhere) % len(b.servers)
}

// openNodeCallers connects n callers to every node.
func (b *bench) openNodeCallers(ctx context.Context, api benchAPI, n int) (_ *benchCallers, err error) {
	leaders, err := b.leaders(ctx)
	if err != nil {
		return nil, err
	}
	pick := func(first uint64) int { return b.nodeOf(first, leaders) }
	out := &benchCallers{}
	var closers []func() error
	out.close = func() error {
		var errs []error
		for _, c := range closers {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	all := make([]*nodeCaller, n)
	for i := range all {
		all[i] = &nodeCaller{pick: pick}
		out.callers = append(out.callers, all[i])
	}
	for _, s := range b.servers {
		one, err := b.openCallersOf(ctx, s, api, n)
		if err != nil {
			return nil, errors.Join(err, out.close())
		}
		closers = append(closers, one.close)
		for i, c := range one.callers {
			all[i].nodes = append(all[i].nodes, c)
		}
	}
	return out, nil
}
