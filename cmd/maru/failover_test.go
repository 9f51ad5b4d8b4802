package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"maru.example/cluster"
	"maru.example/cluster/clusterhttp"
	"maru.example/money"
	"maru.example/wallet"
)

var (
	failovers = flag.Int("failover", 50, "how often BenchmarkFailover kills a leader, and hands a leadership over")
	idleTime  = flag.Duration("idle", 20*time.Second, "how long BenchmarkIdle looks at a cluster that has nothing to do")
)

// failoverGroup is the group whose leader BenchmarkFailover kills: partition 0.
const failoverGroup = 1

// BenchmarkFailover measures for how long no writes are answered when their leader
// is killed, and when it hands over:
//
//	go test ./cmd/maru -run '^$' -bench Failover -benchtime 1x -timeout 30m
func BenchmarkFailover(b *testing.B) {
	f := &failover{testCluster: newTestCluster(b, 3, bankPartitions), plan: benchPlan{seed: 1, currency: money.MustParseCurrency("EUR")}}
	f.populate()
	var kills, planned []time.Duration
	for range *failovers {
		leader := f.ready()
		kills = append(kills, f.gap(leader, func() { f.kill(leader) }))
		f.start(leader)
	}
	for range *failovers {
		leader := f.ready()
		planned = append(planned, f.gap(leader, func() { f.handOver(leader) }))
	}
	b.Logf("kill -9 of the leader:  %s", quantiles(kills))
	b.Logf("planned hand-over:      %s", quantiles(planned))
}

func quantiles(d []time.Duration) string {
	slices.Sort(d)
	at := func(percent int) time.Duration {
		return d[min(len(d)*percent/100, len(d)-1)].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d times; p50 %v, p99 %v, max %v", len(d), at(50), at(99), at(100))
}

// failover is one run of BenchmarkFailover.
type failover struct {
	*testCluster
	plan    benchPlan
	handles []wallet.Handle // two accounts of the group's partition
	next    uint64
}

// populate opens accounts until two of them are in the group's partition.
func (f *failover) populate() {
	f.t.Helper()
	for i := uint64(0); len(f.handles) < 2; i++ {
		a := wallet.NewAccount{ID: f.plan.account(i), Currency: f.plan.currency, Min: wallet.Unlimited}
		opened, err := f.nodes[0].clients.Load().stream.OpenAccounts(f.t.Context(), []wallet.NewAccount{a})
		if err != nil {
			f.t.Fatal(err)
		}
		if opened[0].Handle.Partition() == failoverGroup-1 {
			f.handles = append(f.handles, opened[0].Handle)
		}
	}
}

// ready waits until all replicas of the group have everything, and returns the
// number of its leader.
func (f *failover) ready() (leader int) {
	f.t.Helper()
	f.wait("the group is complete", func(ctx context.Context) error {
		o, err := f.overview(ctx)
		if err != nil {
			return err
		}
		g := o.Groups[failoverGroup]
		late := slices.ContainsFunc(g.Members, func(m cluster.MemberOverview) bool { return m.Health != cluster.Alive || m.Lag > 0 })
		if late || len(g.Members) < len(f.nodes) {
			return fmt.Errorf("group %+v", g)
		}
		leader = int(g.Leader) - 1
		return nil
	})
	return leader
}

// gap lets something happen under one write after the other, through a node that
// does not lead, and returns the longest time without an answer.
func (f *failover) gap(leader int, happen func()) time.Duration {
	f.t.Helper()
	through := f.nodes[(leader+1)%len(f.nodes)].clients.Load()
	happened := make(chan struct{})
	var longest time.Duration
	last := time.Now()
	go func() { happen(); close(happened) }()
	for after := 0; after < 20; { // writes that were answered afterwards
		f.next++
		w := wallet.HandleTransfer{ID: f.plan.id(f.next), From: f.handles[0], To: f.handles[1], Amount: 1, Currency: f.plan.currency}
		_, err := through.stream.TransferByHandle(f.t.Context(), w)
		if err != nil {
			continue // the outcome is not known: this one counts as no answer
		}
		longest = max(longest, time.Since(last))
		last = time.Now()
		select {
		case <-happened:
			after++
		default:
		}
	}
	return longest
}

// handOver lets the node after the leader lead.
func (f *failover) handOver(leader int) {
	client, err := clusterhttp.NewClient(f.nodes[leader].clients.Load().url, nil)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer client.Close()
	to := cluster.NodeID((leader+1)%len(f.nodes) + 1)
	if _, err := client.TransferLeader(f.t.Context(), failoverGroup, to); err != nil {
		f.t.Errorf("hand over to %d: %v", to, err)
	}
}

// BenchmarkIdle measures what 64 groups on three nodes cost that have nothing to do:
//
//	go test ./cmd/maru -run '^$' -bench Idle -benchtime 1x
func BenchmarkIdle(b *testing.B) {
	c := newTestCluster(b, 3, 64)
	before := c.cpu()
	<-time.NewTimer(*idleTime).C
	used := c.cpu() - before
	b.Logf("64 partitions on 3 nodes, idle for %v: %v of CPU, %.1f %% of a core", *idleTime, used, 100*used.Seconds()/idleTime.Seconds())
}

// cpu returns what all nodes have used.
func (c *testCluster) cpu() (all time.Duration) {
	c.t.Helper()
	const perTick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs on Linux
	for _, pid := range c.pids() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			c.t.Fatal(err)
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		for _, field := range fields[11:13] { // user and system
			ticks, err := strconv.Atoi(string(field))
			if err != nil {
				c.t.Fatal(err)
			}
			all += time.Duration(ticks) * perTick
		}
	}
	return all
}
