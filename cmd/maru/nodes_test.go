package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
	"maru.example/wallet/walletgrpc"
	"maru.example/wallet/wallethttp"
)

// settleTimeout bounds how long a cluster without faults may take to become what
// it should be.
const settleTimeout = time.Minute

// pollInterval is how often that is looked at.
const pollInterval = 50 * time.Millisecond

// testCluster is a cluster of real processes, each behind a relay.
type testCluster struct {
	t      testing.TB
	dir    string
	flags  []string // of all servers; {data} stands for the node's directory
	follow bool     // clients ask leaders directly; else each asks its node for everything
	relays relays
	joins  sync.Mutex  // while nodes grows: relays read it
	nodes  []*testNode // number n has the id n+1
}

// testNode is a node of a testCluster.
type testNode struct {
	data    string
	relay   *relay
	process *process // the one that runs, or the last one
	pid     atomic.Int64
	clients atomic.Pointer[testClients]
}

// testClients are those of one life of a node.
type testClients struct {
	stream *walletgrpc.Client
	http   *wallethttp.Client
	url    string
}

// newTestCluster starts a cluster and waits until each node has what it should.
func newTestCluster(t testing.TB, nodes, partitions int, flags ...string) *testCluster {
	t.Helper()
	c := &testCluster{t: t, dir: t.TempDir(), flags: flags}
	c.relays = relays{cuts: map[way]chan struct{}{}, pids: c.pids}
	for i := range nodes {
		c.nodes = append(c.nodes, &testNode{data: filepath.Join(c.dir, fmt.Sprintf("n%d", i+1))})
	}
	for i, n := range c.nodes { // a relay looks at all nodes, so these are there before it
		n.relay = c.relays.open(t, i)
	}
	t.Cleanup(c.close)
	c.maru("cluster", "init", "--data", c.nodes[0].data, "--partitions", fmt.Sprint(partitions))
	c.start(0)
	for i, n := range c.nodes[1:] {
		c.maru("cluster", "add", "--data", n.data, "--peer", n.relay.addr(), "--addr", c.nodes[0].clients.Load().url)
		c.start(i + 1)
	}
	c.wait("every group has the replicas and the leader that it should", c.asWanted)
	return c
}

// pids returns the processes of the nodes.
func (c *testCluster) pids() []int {
	c.joins.Lock()
	defer c.joins.Unlock()
	pids := make([]int, len(c.nodes))
	for i, n := range c.nodes {
		pids[i] = int(n.pid.Load())
	}
	return pids
}

// maru runs a command of the program that must end well.
func (c *testCluster) maru(args ...string) {
	c.t.Helper()
	if out, err := command(c.t.Context(), args...).CombinedOutput(); err != nil {
		c.t.Fatalf("maru %q: %v\n%s", args, err, out)
	}
}

// start starts a node.
func (c *testCluster) start(i int) {
	c.t.Helper()
	n := c.nodes[i]
	args := append([]string{"--data", n.data, "--peer", "127.0.0.1:0", "--advertise-peer", n.relay.addr(), "--log-level", "warn", "--reserve-bytes", "none"}, c.flags...)
	for k := range args {
		args[k] = strings.ReplaceAll(args[k], "{data}", n.data)
	}
	p, err := startServer(c.dir, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	n.process = p
	n.pid.Store(int64(p.cmd.Process.Pid))
	n.relay.target.Store(&p.listens.Peer)
	c.connect(i)
}

// connect makes new clients of a node.
func (c *testCluster) connect(i int) {
	c.t.Helper()
	n := c.nodes[i]
	p := n.process
	clients := &testClients{url: "http://" + p.listens.HTTP}
	var err error
	if clients.stream, err = walletgrpc.Dial(c.t.Context(), p.listens.Stream, &walletgrpc.ClientOptions{NoFollow: !c.follow}); err != nil {
		c.t.Fatal(err)
	}
	if clients.http, err = wallethttp.NewClient(clients.url, &wallethttp.ClientOptions{NoFollow: !c.follow}); err != nil {
		c.t.Fatal(err)
	}
	if old := n.clients.Swap(clients); old != nil {
		_ = old.stream.Close() // its server may be gone
		old.http.Close()
	}
}

// kill ends a node as a power cut would.
func (c *testCluster) kill(i int) {
	c.t.Helper()
	c.nodes[i].process.kill()
	c.noRace(i)
}

// noRace fails the test if a node that has ended had a data race: one that was
// killed has no exit status that says so.
func (c *testCluster) noRace(i int) {
	c.t.Helper()
	if log := c.nodes[i].process.log(); strings.Contains(log, "WARNING: DATA RACE") {
		c.t.Errorf("node %d had a data race:\n%s", i+1, log)
	}
}

// signal sends a signal to a node.
func (c *testCluster) signal(i int, s syscall.Signal) {
	c.t.Helper()
	if err := c.nodes[i].process.cmd.Process.Signal(s); err != nil {
		c.t.Errorf("%v to node %d: %v", s, i+1, err)
	}
}

// close ends all nodes, and shows the logs if the test failed.
func (c *testCluster) close() {
	c.relays.heal()
	for i, n := range c.nodes {
		if n.process == nil {
			continue
		}
		c.kill(i)
		if clients := n.clients.Load(); clients != nil {
			_ = clients.stream.Close() // its server is gone
			clients.http.Close()
		}
		if c.t.Failed() {
			c.t.Logf("log of node %d:\n%s", i+1, n.process.log())
		}
	}
}

// wait waits until something holds.
func (c *testCluster) wait(what string, holds func(ctx context.Context) error) {
	c.t.Helper()
	settle(c.t, what, pollInterval, holds)
}

// settle looks now and then, until something holds.
func settle(t testing.TB, what string, every time.Duration, holds func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	poll := time.NewTicker(every)
	defer poll.Stop()
	for {
		err := holds(ctx)
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %s: %v", settleTimeout, what, err)
		}
	}
}

// overview returns the cluster as all nodes that answer see it.
func (c *testCluster) overview(ctx context.Context) (*cluster.Overview, error) {
	var all *cluster.Overview
	var last error
	for _, n := range c.nodes {
		clients := n.clients.Load()
		if clients == nil {
			continue
		}
		client, err := clusterhttp.NewClient(clients.url, &clusterhttp.ClientOptions{Timeout: time.Second})
		if err != nil {
			return nil, err
		}
		one, err := client.Overview(ctx)
		client.Close()
		switch {
		case err != nil:
			last = err
		case all == nil:
			all = one
		default:
			all.Merge(one)
		}
	}
	if all == nil {
		return nil, last
	}
	return all, nil
}

// asWanted says whether all nodes are there and all groups as they should be.
func (c *testCluster) asWanted(ctx context.Context) error {
	o, err := c.overview(ctx)
	if err != nil {
		return err
	}
	for _, n := range o.Nodes {
		if n.Health != cluster.Alive && n.Status != cluster.Removed {
			return fmt.Errorf("node %d is %s", n.ID, n.Health)
		}
	}
	for _, g := range o.Groups {
		if !g.AsWanted || g.Leader == 0 || len(g.Members) == 0 {
			return fmt.Errorf("group %d: %+v", g.ID, g)
		}
	}
	return nil
}

// peerFlags makes the certificates of a cluster and returns the flags of its
// nodes, which share one.
func peerFlags(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	writePeerCertificates(t, dir)
	return []string{"--peer-ca", filepath.Join(dir, "ca.pem"), "--peer-cert", filepath.Join(dir, "peer.pem"), "--peer-key", filepath.Join(dir, "peer-key.pem")}
}

// fataler is a test, or a script.
type fataler interface {
	Fatalf(format string, args ...any)
}

// writePeerCertificates makes an authority, ca.pem, and a certificate that it
// issued, peer.pem with peer-key.pem.
func writePeerCertificates(t fataler, dir string) {
	must := func(err error) {
		if err != nil {
			t.Fatalf("certificates: %v", err)
		}
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		return key
	}
	authorityKey, key := newKey(), newKey()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maru test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "maru test node"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	must(err)
	cert, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	for name, block := range map[string]*pem.Block{
		"ca.pem":       {Type: "CERTIFICATE", Bytes: ca},
		"peer.pem":     {Type: "CERTIFICATE", Bytes: cert},
		"peer-key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		must(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// command returns a command that runs this program.
func command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "maru", args...)
}
