package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

var crashCluster = flag.Duration("crash.cluster", 0, "how long TestClusterCrash makes faults, each way; default 6s, with -short 3s")

// The world of TestClusterCrash.
const (
	bankPartitions = 4
	clusterStreams = 3 // workers of each kind
	clusterHTTP    = 3
	clusterTry     = 4 * time.Second // one try of a call
	watchTry       = time.Second     // one read of the sums: another node may answer
	clusterBatch   = 32              // transfers, at the most
	longestFault   = 2500 * time.Millisecond
	longestCalm    = 800 * time.Millisecond
)

// TestClusterCrash runs a bank on three nodes, and on four, each of which has three
// of the four partitions (real processes, on a real disk), and kills them, stops them, and cuts the ways between them, at random. Every
// transfer that was answered must be there once, with its answer; when the faults
// are over, what was begun ends, and every node gives the same balances, which are
// those that the transfers make.
func TestClusterCrash(t *testing.T) {
	tests := []struct {
		name  string
		nodes int
		flags func(*testing.T) []string
	}{
		{"plain", 3, func(*testing.T) []string { return nil }},
		{"tls", 4, peerFlags},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seed := *crashSeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("-crash.seed=%d", seed)
			flags := append(tt.flags(t), "--snapshot-bytes", "256KiB", "--recent-ids", "3000", "--cut-log")
			b := &bank{
				testCluster: newTestCluster(t, tt.nodes, bankPartitions, flags...),
				rand:        rand.New(rand.NewPCG(seed, 0)),
				plan:        benchPlan{seed: seed, accounts: crashAccounts, currency: money.MustParseCurrency("EUR")},
			}
			b.populate()
			b.following(true)
			b.run()
			b.following(false)
			b.settle()
			b.check()
			t.Logf("faults: %v; %d transfers, %d answered at once, %d refused; %d sums judged meanwhile", b.faults, len(b.made), b.answered, b.refused, b.judged.Load())
			if b.answered == 0 {
				t.Error("nothing was answered during the faults")
			}
		})
	}
}

// bank is one run of TestClusterCrash.
type bank struct {
	*testCluster
	rand *rand.Rand
	plan benchPlan // makes the ids of transfers and accounts
	next atomic.Uint64

	made              []crashTransfer
	answered, refused int
	faults            map[string]int

	judged atomic.Int64 // sums of one moment that watch compared with zero
}

// populate opens the accounts and funds them, before there are faults.
func (b *bank) populate() {
	b.t.Helper()
	ctx, stream := b.t.Context(), b.nodes[0].clients.Load().stream
	accounts := []wallet.NewAccount{{ID: b.plan.bankAccount(0), Currency: b.plan.currency, Min: wallet.Unlimited}}
	for i := range uint64(crashAccounts) {
		accounts = append(accounts, wallet.NewAccount{ID: b.plan.account(i), Currency: b.plan.currency})
	}
	opened, err := stream.OpenAccounts(ctx, accounts)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, o := range opened {
		b.plan.handles = append(b.plan.handles, o.Handle)
	}
	b.plan.banks, b.plan.handles = b.plan.handles[:1:1], b.plan.handles[1:]
	funding := make([]wallet.HandleTransfer, crashAccounts)
	for i := range funding {
		funding[i] = b.plan.transfer(benchFunding | uint64(i))
		funding[i].Amount = crashFunds
	}
	results, err := stream.Transfers(ctx, nil, funding)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range results {
		if r != applied {
			b.t.Fatalf("funding: %v", r.Code())
		}
	}
}

// following lets the clients ask leaders directly, or not.
func (b *bank) following(follow bool) {
	b.t.Helper()
	b.follow = follow
	for i := range b.nodes {
		b.connect(i)
	}
}

// run makes transfers and faults until the time is over.
func (b *bank) run() {
	b.t.Helper()
	length := *crashCluster
	if length == 0 {
		length = 6 * time.Second
		if testing.Short() {
			length = 3 * time.Second
		}
	}
	b.during(clusterStreams, clusterHTTP, func() {
		b.makeFaults(length)
		b.wait("a sum is judged while transfers are made", func(context.Context) error {
			if b.judged.Load() == 0 {
				return errors.New("no node has given one yet")
			}
			return nil
		})
	})
}

// during makes transfers, through streams and over HTTP, while something happens.
func (b *bank) during(streams, http int, happens func()) {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	defer stop()
	var workers []*teller
	var running sync.WaitGroup
	for i := range streams + http {
		w := &teller{bank: b, rand: rand.New(rand.NewPCG(b.rand.Uint64(), 0))}
		workers = append(workers, w)
		work := w.batches
		if i >= streams {
			work = w.requests
		}
		running.Go(func() { work(ctx) })
	}
	running.Go(func() { b.watch(ctx) })
	happens()
	stop()
	running.Wait()
	for _, w := range workers {
		b.made = append(b.made, w.made...)
		for _, tr := range w.made {
			if known(tr.code) {
				b.answered++
			}
		}
	}
}

// makeFaults makes one fault after the other; at the end there is none.
func (b *bank) makeFaults(length time.Duration) {
	b.t.Helper()
	b.faults = map[string]int{}
	kinds := []struct {
		name string
		make func(i int) (mend func())
	}{
		{"kill", b.crash},
		{"kill", b.crash},
		{"kill two", func(i int) func() { return both(b.crash(i), b.crash((i+1)%len(b.nodes))) }},
		{"pause", b.pause},
		{"pause", b.pause},
		{"isolate", b.isolate},
		{"isolate", b.isolate},
		{"cut one way", b.cutOneWay},
		{"pause one, kill another", func(i int) func() { return both(b.pause(i), b.crash((i+1)%len(b.nodes))) }},
		{"restart", b.restart},
	}
	for end := time.Now().Add(length); time.Now().Before(end) && !b.t.Failed(); {
		kind := kinds[b.rand.IntN(len(kinds))]
		b.faults[kind.name]++
		mend := kind.make(b.rand.IntN(len(b.nodes)))
		b.let(longestFault)
		mend()
		b.let(longestCalm)
	}
}

// let lets the cluster run for some time.
func (b *bank) let(most time.Duration) {
	<-time.NewTimer(time.Duration(b.rand.Int64N(int64(most)))).C
}

func both(one, other func()) func() {
	return func() { one(); other() }
}

func (b *bank) crash(i int) func() {
	b.kill(i)
	return func() { b.start(i) }
}

func (b *bank) restart(i int) func() {
	b.signal(i, syscall.SIGTERM)
	return func() {
		if err := b.nodes[i].process.wait(); err != nil {
			b.t.Errorf("node %d: %v", i+1, err)
		}
		b.start(i)
	}
}

func (b *bank) pause(i int) func() {
	b.signal(i, syscall.SIGSTOP)
	return func() { b.signal(i, syscall.SIGCONT) }
}

func (b *bank) isolate(i int) func() {
	for j := range b.nodes {
		b.relays.cut(way{i, j})
		b.relays.cut(way{j, i})
	}
	return b.relays.heal
}

func (b *bank) cutOneWay(i int) func() {
	b.relays.cut(way{i, (i + 1 + b.rand.IntN(len(b.nodes)-1)) % len(b.nodes)})
	return b.relays.heal
}

// watch reads through any node: at every moment the balances and what is on its
// way are zero together. It counts the sums that were.
func (b *bank) watch(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		try, cancel := context.WithTimeout(ctx, watchTry)
		judged, err := b.checkTotals(try, i%len(b.nodes), false)
		if errors.Is(err, errUnbalanced) {
			b.t.Error(err)
		}
		b.judged.Add(int64(judged))
		cancel()
	}
}

var errUnbalanced = errors.New("money was made or lost")

// checkTotals compares the sum that a node gives with zero, and with ended what is
// on its way too. It says how many sums it could judge: those of one moment.
func (b *bank) checkTotals(ctx context.Context, i int, ended bool) (judged int, err error) {
	totals, settled, err := b.nodes[i].clients.Load().http.Totals(ctx)
	if err != nil {
		return 0, err
	}
	for _, total := range totals {
		sum := total.Sum
		if total.InFlight != nil {
			if ended && total.InFlight.Sign() != 0 {
				return judged, fmt.Errorf("node %d: %v in flight", i+1, total.InFlight)
			}
			sum = sum.Add(sum, total.InFlight)
		} else if !ended {
			continue // it does not say
		}
		if !settled {
			continue
		}
		if sum.Sign() != 0 {
			return judged, fmt.Errorf("%w: node %d: balances and money in flight are %v", errUnbalanced, i+1, sum)
		}
		judged++
	}
	if ended && !settled {
		return judged, fmt.Errorf("node %d: not settled", i+1)
	}
	return judged, nil
}
