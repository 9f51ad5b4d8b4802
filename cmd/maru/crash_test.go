package main

import (
	"context"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"maru.example/internal/racing"
	"maru.example/money"
	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
	"maru.example/wallet/wallethttp"
)

var (
	crashRounds = flag.Int("crash.rounds", racing.Rounds(20), "how many times TestCrash kills the server; -short makes it 2")
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of TestCrash; 0 draws one")
)

// The world of TestCrash.
const (
	crashAccounts   = 40
	crashFunds      = 2000 // minor units; little, so that some transfers are refused
	crashMaxPayment = 100
	crashStreams    = 3 // workers of each kind
	crashSingles    = 8
	crashHTTP       = 4
	crashTwins      = 2
)

// TestCrash kills a server (SIGKILL: a real process, on a real disk) at random
// moments under load, again and again on the same data. After each restart,
// every transfer that was answered must be there with its answer, none may have
// moved money twice, those without an answer are there or not, and the sum of
// all balances is zero. At the end archive and log, which was cut behind it, are verified.
//
// A killed process loses what it had in memory but not what the system holds
// for it: that which a power cut loses and tears is for the tests of wal and
// rsm, on a disk in memory.
func TestCrash(t *testing.T) {
	rounds := *crashRounds
	if testing.Short() {
		rounds = min(rounds, 2)
	}
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-crash.seed=%d", seed)
	c := &crashTest{
		t:      t,
		rand:   rand.New(rand.NewPCG(seed, 0)),
		plan:   benchPlan{seed: seed, accounts: crashAccounts, currency: money.MustParseCurrency("EUR")},
		opened: map[wallet.AccountID]wallet.Handle{},
		data:   t.TempDir(),
	}
	c.archive = filepath.Join(t.TempDir(), "archive")
	c.start()
	defer func() { c.server.kill() }()
	c.populate()
	for round := range rounds {
		c.round = round
		c.loadAndKill()
		c.start()
		c.check()
		if t.Failed() {
			t.Fatalf("round %d of -crash.seed=%d failed", round, seed)
		}
	}
	c.checkEverything()
	c.checkPast(rounds)
	t.Logf("%d kills, %d starts from a snapshot, %d with ids in files, %d transfers, %d of them refused, %d without an answer: of these %d were there",
		c.kills, c.fromSnapshot, c.fromFiles, len(c.made), c.refused, c.unknown, c.unknownThere)
	if rounds >= 10 && (c.fromSnapshot == 0 || c.fromFiles == 0 || c.refused == 0 || c.unknown == 0) {
		t.Error("the rounds did not come to everything that is to be tested")
	}
}

// crashTest is one run of TestCrash.
type crashTest struct {
	t       *testing.T
	rand    *rand.Rand
	data    string
	archive string
	history bool      // this round keeps it
	plan    benchPlan // makes the ids of transfers and accounts
	next    atomic.Uint64
	round   int

	server *benchServer
	stream *walletgrpc.Client
	http   *wallethttp.Client
	killed atomic.Bool // from now on calls may fail

	// What the server has answered, in all rounds.
	made    []crashTransfer
	checked int // so many of them have been checked after a restart
	opened  map[wallet.AccountID]wallet.Handle
	limits  crashLimits

	kills, refused, unknown, unknownThere int
	fromSnapshot                          int // starts that restored a snapshot
	fromFiles                             int // starts after which transaction ids were on the disk
}

// crashTransfer is a transfer and its answer.
type crashTransfer struct {
	n        uint64 // it has the plan's id with this number
	from, to uint8  // numbers of accounts
	amount   uint8
	code     wallet.Code // Undecided: there was no answer
}

// crashLimits is the limit of account 0, which one worker lowers all the time.
type crashLimits struct {
	answered money.Amount
	tried    money.Amount // answered, or one lower if that has no answer
}

// start starts the server and connects to it. Now and then it is killed first
// while it recovers.
func (c *crashTest) start() {
	c.t.Helper()
	ctx := c.t.Context()
	snapshots := []string{"64KiB", "256KiB", "1MiB", "none"}[c.rand.IntN(4)]
	recent := []string{"100", "2000", "8388608"}[c.rand.IntN(3)]
	flags := []string{"--snapshot-bytes", snapshots, "--recent-ids", recent, "--log-level", "warn"}
	flags = append(flags, "--archive", c.archive, "--archive-segment-bytes", "32KiB", "--log-segment-bytes", "64KiB")
	if c.history = c.rand.IntN(2) == 0; !c.history { // else the log is kept for a minute after each start
		flags = append(flags, "--history=false")
	}
	c.server = &benchServer{program: "maru", args: serveArgs(c.data, flags)}
	if c.kills > 0 && c.rand.IntN(3) == 0 {
		early, cancel := context.WithTimeout(ctx, time.Duration(c.rand.IntN(40))*time.Millisecond)
		if err := c.server.start(early); err == nil {
			c.server.kill()
		}
		cancel()
		c.kills++
	}
	if err := c.server.start(ctx); err != nil {
		c.t.Fatal(err)
	}
	c.killed.Store(false)
	metrics, err := c.server.metrics(ctx, "")
	if err != nil {
		c.t.Fatal(err)
	}
	if metrics["maru_log_snapshot_index"] > 0 {
		c.fromSnapshot++
	}
	if metrics["maru_wallet_old_ids"] > 0 {
		c.fromFiles++
	}
	if c.stream, err = walletgrpc.Dial(ctx, c.server.streamAddr, nil); err != nil {
		c.t.Fatal(err)
	}
	if c.http, err = wallethttp.NewClient(c.server.url, nil); err != nil {
		c.t.Fatal(err)
	}
}

// populate opens the accounts and funds them.
func (c *crashTest) populate() {
	c.t.Helper()
	ctx := c.t.Context()
	accounts := []wallet.NewAccount{{ID: c.plan.bankAccount(0), Currency: c.plan.currency, Min: wallet.Unlimited}}
	for i := range uint64(crashAccounts) {
		accounts = append(accounts, wallet.NewAccount{ID: c.plan.account(i), Currency: c.plan.currency})
	}
	opened, err := c.stream.OpenAccounts(ctx, accounts)
	if err != nil {
		c.t.Fatal(err)
	}
	for i, o := range opened {
		if o.Code != wallet.Applied {
			c.t.Fatalf("open %s: %v", accounts[i].ID, o.Code)
		}
		c.opened[accounts[i].ID] = o.Handle
		c.plan.handles = append(c.plan.handles, o.Handle)
	}
	c.plan.banks, c.plan.handles = c.plan.handles[:1:1], c.plan.handles[1:]
	funding := make([]wallet.HandleTransfer, crashAccounts)
	for i := range funding {
		funding[i] = c.plan.transfer(benchFunding | uint64(i))
		funding[i].Amount = crashFunds
	}
	results, err := c.stream.Transfers(ctx, nil, funding)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range results {
		if r != applied {
			c.t.Fatalf("funding: %v", r.Code())
		}
	}
}
