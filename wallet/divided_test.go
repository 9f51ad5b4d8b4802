package wallet_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/vfs"
	"maru.example/wallet"
)

// divided opens a wallet of several partitions on one node.
func divided(t testing.TB, fs vfs.FS, partitions uint16, protocol wallet.Protocol) (*wallet.Service, *rsmraft.Host) {
	t.Helper()
	return dividedBy(t, fs, partitions, &wallet.ServiceOptions{Protocol: protocol})
}

func dividedBy(t testing.TB, fs vfs.FS, partitions uint16, o *wallet.ServiceOptions) (*wallet.Service, *rsmraft.Host) {
	t.Helper()
	return dividedOn(t, fs, partitions, o, func(g *rsmraft.Group) wallet.PartitionLog { return g })
}

// dividedOn is dividedBy with a log made of each group.
func dividedOn(t testing.TB, fs vfs.FS, partitions uint16, o *wallet.ServiceOptions, log func(*rsmraft.Group) wallet.PartitionLog) (*wallet.Service, *rsmraft.Host) {
	t.Helper()
	parts := make([]*wallet.Partition, partitions)
	for i := range parts {
		parts[i] = wallet.NewPartition(uint16(i), partitions, rand.Uint64)
	}
	host, err := rsmraft.Open("data", 1, &rsmraft.Options{
		FS: fs, SnapshotBytes: -1,
		Machine: func(id rsmraft.GroupID) rsm.Machine { return parts[id-1].Machine },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, p := range parts {
		g, err := host.Begin(rsmraft.GroupID(i + 1))
		if err == nil {
			err = g.WaitLeader()
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Log = log(g)
	}
	return wallet.NewDividedService(parts, o), host
}

// TestDivided moves money between accounts of four partitions, by each protocol,
// from several goroutines: each transfer is done, and the sum is zero.
func TestDivided(t *testing.T) {
	for _, protocol := range []wallet.Protocol{wallet.TCC, wallet.Saga, wallet.TwoPhase} {
		t.Run(protocol.String(), func(t *testing.T) {
			s, _ := divided(t, vfs.NewMem(), 4, protocol)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			usd, _ := money.ParseCurrency("USD")
			const accounts, callers, each = 20, 4, 25
			for i := range accounts {
				o, err := s.OpenAccount(ctx, wallet.DefaultTenant, wallet.NewAccount{ID: wallet.AccountID(fmt.Sprint("a", i)), Currency: usd, Min: wallet.Unlimited})
				if err != nil || o.Code != wallet.Applied {
					t.Fatalf("open: %v, %v", o.Code, err)
				}
			}
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(1, uint64(c)))
					for i := range each {
						from, to := r.IntN(accounts), r.IntN(accounts-1)
						if to >= from {
							to++
						}
						tr := wallet.Transfer{
							ID:   wallet.TransactionID{1, byte(c), byte(i)},
							From: wallet.AccountID(fmt.Sprint("a", from)), To: wallet.AccountID(fmt.Sprint("a", to)), Amount: 5, Currency: usd,
						}
						code, err := s.Transfer(ctx, wallet.DefaultTenant, tr)
						ok := code == wallet.Result(wallet.Applied) || protocol == wallet.TwoPhase && code == wallet.Result(wallet.AccountLocked)
						if err != nil || !ok {
							t.Errorf("transfer %d of %d: %v, %v", i, c, code.Code(), err)
							return
						}
						again, err := s.Transfer(ctx, wallet.DefaultTenant, tr)
						if err != nil || again.Code() != code.Code() && code.Code() != wallet.AccountLocked {
							t.Errorf("again: %v, %v, first %v", again.Code(), err, code.Code())
						}
					}
				})
			}
			wg.Wait()
			totals, settled, err := s.Totals(ctx, wallet.DefaultTenant)
			if err != nil || !settled || len(totals) != 1 || totals[0].Sum.Sign() != 0 || totals[0].InFlight.Sign() != 0 {
				t.Errorf("totals: %+v, %v, %v", totals, settled, err)
			}
		})
	}
}

// TestPendingThenNoLeader begins a transfer whose end is not seen; when it is asked
// for again, the paying partition has no leader. The payer has paid: it is pending.
func TestPendingThenNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, from, to, ways, stop := openCutBoth(t)
		defer stop()
		ways[1].Store(true)
		time.AfterFunc(3*time.Second, func() { ways[0].Store(true) })
		r, err := s.Transfer(t.Context(), wallet.DefaultTenant, wallet.Transfer{ID: wallet.TransactionID{1}, From: from, To: to, Amount: 5, Currency: usd})
		if err != nil || r.Code() != wallet.Pending {
			t.Errorf("got %v, %v, want pending", r.Code(), err)
		}
	})
}
