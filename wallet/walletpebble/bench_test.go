package walletpebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

var (
	benchEvents   = flag.Int("events", 400_000, "changes of balances in BenchmarkPast, two of each transfer: a number")
	benchAccounts = flag.Int("accounts", 1_000_000, "accounts in BenchmarkPast")
	benchData     = flag.String("data", "", "directory of BenchmarkPast's store, which stays there; default: one that is removed")
)

const (
	benchBatch = 1000 // transfers in an entry
	benchHot   = 100  // each so many-th transfer is to the hot account
	benchStep  = 1e6  // nanoseconds between entries
)

// bookkeeper makes decided entries of transfers between random accounts, the first
// of which is hot, without a machine: so fast that a store is what is measured.
type bookkeeper struct {
	random   *rand.Rand
	balances []money.Amount
	next     rsm.Index
	opening  rsm.Index // entries that open accounts
	last     rsm.Index
	id       uint64
	// randomIDs says that ids do not begin with a time.
	randomIDs bool
}

func newBookkeeper() *bookkeeper {
	b := &bookkeeper{random: rand.New(rand.NewPCG(1, 2)), balances: make([]money.Amount, *benchAccounts), next: 1}
	b.opening = rsm.Index(*benchAccounts / benchBatch)
	b.last = b.opening + rsm.Index(*benchEvents/2/benchBatch)
	return b
}

// Next implements Source.
func (b *bookkeeper) Next(ctx context.Context) (rsm.Decided, error) {
	if b.next > b.last {
		<-ctx.Done()
		return rsm.Decided{}, ctx.Err()
	}
	d := rsm.Decided{Index: b.next, Term: 1, Time: benchTime(b.next)}
	var data, results, effects []byte
	if b.next <= b.opening {
		data, results = b.open()
	} else {
		data, results, effects = b.transfers()
	}
	d.Entry = rsm.AppendEntry(nil, d.Time, []*rsm.Proposal{{Data: data}})
	d.Decision = rsm.AppendDecision(nil, []rsm.DecidedBatch{{Results: results, Effects: effects}})
	b.next++
	return d, nil
}

// open opens accounts.
func (b *bookkeeper) open() (data, results []byte) {
	data = wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindOpenAccounts, Count: benchBatch})
	for i := range benchBatch {
		n := int(b.next-1)*benchBatch + i
		data = wallet.AppendAccount(data, &wallet.NewAccount{ID: wallet.AccountID(fmt.Sprint("account-", n)), Currency: usd, Min: wallet.Unlimited})
		results = wallet.AppendOpened(results, wallet.Opened{Handle: wallet.Handle(n + 1), Code: wallet.Applied})
	}
	return data, results
}

// transfers makes transfers between random accounts.
func (b *bookkeeper) transfers() (data, results, effects []byte) {
	data = wallet.AppendHeader(nil, wallet.Header{Kind: wallet.KindTransfers, Count: benchBatch})
	for i := range benchBatch {
		from, to := 1+b.random.IntN(len(b.balances)-2), 0
		if i%benchHot != 0 {
			to = 1 + (from+b.random.IntN(len(b.balances)-3))%(len(b.balances)-1)
		}
		amount := money.Amount(1 + b.random.IntN(100_000))
		b.balances[from] -= amount
		b.balances[to] += amount
		b.id++
		t := wallet.HandleTransfer{From: wallet.Handle(from + 1), To: wallet.Handle(to + 1), Amount: amount, Currency: usd}
		first := b.id // as ids that begin with a time
		if b.randomIDs {
			first = b.random.Uint64()
		}
		binary.BigEndian.PutUint64(t.ID[:], first)
		binary.BigEndian.PutUint64(t.ID[8:], b.random.Uint64())
		data = wallet.AppendHandleTransfer(data, &t)
		effects = binary.LittleEndian.AppendUint64(effects, uint64(b.balances[from]))
		effects = binary.LittleEndian.AppendUint64(effects, uint64(b.balances[to]))
	}
	return data, bytes.Repeat([]byte{byte(wallet.Applied)}, benchBatch), effects
}

func (b *bookkeeper) Close() error { return nil }

func benchTime(i rsm.Index) int64 { return 1e18 + int64(i)*benchStep }

// BenchmarkPast takes up -events and asks for the past among them. For the figures of
// wallet/walletpebble/DESIGN.md: -events 100000000 -benchtime 20000x.
func BenchmarkPast(b *testing.B) {
	dir := *benchData
	if dir == "" {
		dir = b.TempDir()
	}
	s, err := Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	keeper := newBookkeeper()
	err = s.Follow(Partition{Open: func(from rsm.Index) (Source, error) {
		if from > keeper.last { // all is there, and to make it again would take the processor from the questions
			keeper.next = from
		}
		for keeper.next < from {
			if _, err := keeper.Next(b.Context()); err != nil {
				return nil, err
			}
		}
		return keeper, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	benchFollow(b, s, keeper)
	benchMerged(b, s)
	begin, end := benchTime(keeper.opening), benchTime(keeper.last)
	random := rand.New(rand.NewPCG(3, 4))
	moment := func() int64 { return begin + random.Int64N(end-begin) }
	b.Run("balance", func(b *testing.B) {
		percentiles(b, s, func() error {
			past, err := s.BalancesAt(wallet.Handle(2+random.IntN(*benchAccounts-1)), moment())
			if err == nil && len(past.Balances) != 1 {
				err = fmt.Errorf("%d balances", len(past.Balances))
			}
			return err
		})
	})
	b.Run("hot-balance", func(b *testing.B) {
		percentiles(b, s, func() error {
			_, err := s.BalancesAt(1, moment())
			return err
		})
	})
	b.Run("hot-page", func(b *testing.B) {
		percentiles(b, s, func() error {
			page, err := s.Lines(&wallet.LineQuery{Account: 1, From: (moment() + begin) / 2, Limit: 100, Newest: random.IntN(2) == 0})
			if err == nil && len(page.Lines) == 0 {
				err = errors.New("no lines")
			}
			return err
		})
	})
}

// benchFollow waits until the store has taken all up.
func benchFollow(b *testing.B, s *Store, keeper *bookkeeper) {
	mark, err := s.markOf(0)
	if err != nil {
		b.Fatal(err)
	}
	began, left := time.Now(), keeper.last-min(mark.Index, keeper.last)
	for at := mark.Index; at < keeper.last; {
		at = min(at+keeper.last/10+1, keeper.last)
		last := time.Now()
		if err := s.Wait(b.Context(), wallet.HistoryPosition{Index: at}); err != nil {
			b.Fatal(err)
		}
		b.Logf("%d of %d entries after %v, the last tenth in %v; %d MiB", at, keeper.last, time.Since(began).Round(time.Second),
			time.Since(last).Round(time.Second), s.db.Metrics().DiskSpaceUsage()>>20)
	}
	if left > 0 {
		b.ReportMetric(float64(left)*benchBatch/time.Since(began).Seconds(), "transfers/s")
	}
}

// benchMerged waits until what was written has been merged.
func benchMerged(b *testing.B, s *Store) {
	began, at := time.Now(), time.Now()
	for time.Since(at) < 2*time.Second {
		if m := s.db.Metrics(); m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 {
			at = time.Now()
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Logf("merged after %v:\n%v", at.Sub(began).Round(time.Second), s.db.Metrics())
}

// percentiles measures single calls, and what they cost: so that a bound of the machine
// (other work on it, a cold page cache) can be told from one of the store.
func percentiles(b *testing.B, s *Store, f func() error) {
	took := make([]time.Duration, 0, 1<<16)
	before := costNow(b, s)
	for b.Loop() {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	after := costNow(b, s)
	slices.Sort(took)
	for _, p := range []struct {
		name  string
		share float64
	}{{"p50-µs", 0.5}, {"p99-µs", 0.99}, {"max-µs", 1}} {
		b.ReportMetric(float64(took[int(p.share*float64(len(took)-1))].Nanoseconds())/1e3, p.name)
	}
	for i, name := range costNames {
		b.ReportMetric((after[i]-before[i])/float64(len(took)), name)
	}
}

// cost is what a process has used so far.
type cost [5]float64

var costNames = [len(cost{})]string{"cpu-µs/op", "disk-KiB/op", "blocks/op", "misses/op", "opens/op"}

func costNow(b *testing.B, s *Store) cost {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	m := s.db.Metrics()
	cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return cost{
		float64(cpu.Nanoseconds()) / 1e3, float64(u.Inblock) / 2,
		float64(m.BlockCache.Hits + m.BlockCache.Misses), float64(m.BlockCache.Misses), float64(m.FileCache.Misses),
	}
}
