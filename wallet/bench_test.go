package wallet

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/rsm"
)

var usd = money.MustParseCurrency("USD")

// BenchmarkApply decides full batches of transfers between accounts drawn at
// random: the cost of the machine alone. new is with ids never seen, repeated
// with ids all seen, hot with one account on one side of each transfer.
func BenchmarkApply(b *testing.B) {
	seed := map[bool]uint64{true: 1}
	for _, accounts := range []int{10_000, 1_000_000, 10_000_000} {
		m := NewMachine(nil)
		openMany(b, m, accounts)
		for _, hot := range []bool{false, true} {
			b.Run(fmt.Sprintf("accounts=%d/hot=%v", accounts, hot), func(b *testing.B) {
				r := rand.New(rand.NewPCG(uint64(b.N), uint64(accounts)+seed[hot]))
				var dst []byte
				b.ReportAllocs()
				for n := 0; n < b.N; n += MaxBatch {
					b.StopTimer()
					batch := AppendHeader(nil, Header{Kind: KindTransfers, Count: MaxBatch})
					for range MaxBatch {
						t := HandleTransfer{From: Handle(1 + r.IntN(accounts)), To: Handle(1 + r.IntN(accounts)), Amount: 1, Currency: usd}
						if hot {
							t.From = 1
						}
						for i := range t.ID {
							t.ID[i] = byte(r.Uint32())
						}
						batch = AppendHandleTransfer(batch, &t)
					}
					b.StartTimer()
					dst = m.Apply(dst[:0], rsm.Batch{Data: batch})
				}
			})
		}
	}
}

// openMany opens accounts 1 to n, without limit.
func openMany(tb testing.TB, m *Machine, n int) {
	tb.Helper()
	for at := 0; at < n; {
		count := min(MaxBatch, n-at)
		batch := AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: count})
		for range count {
			at++
			batch = AppendAccount(batch, &NewAccount{ID: AccountID(fmt.Sprintf("acct-%d", at)), Currency: usd, Min: Unlimited})
		}
		for out := m.Apply(nil, rsm.Batch{Data: batch}); len(out) > 0; out = out[OpenedBytes:] {
			if Code(out[0]) != Applied {
				tb.Fatalf("open: %v", Code(out[0]))
			}
		}
	}
}

// BenchmarkSnapshotPause applies full batches while a snapshot of ten million
// accounts is taken in steps of 256 KiB, and reports the longest hold of the
// machine by Snapshot, by a step, and by a batch before and meanwhile.
func BenchmarkSnapshotPause(b *testing.B) {
	const accounts = 10_000_000
	m := NewMachine(nil)
	openMany(b, m, accounts)
	r := rand.New(rand.NewPCG(3, 4))
	batch := func() time.Duration {
		data := AppendHeader(nil, Header{Kind: KindTransfers, Count: MaxBatch})
		for range MaxBatch {
			t := HandleTransfer{From: Handle(1 + r.IntN(accounts)), To: Handle(1 + r.IntN(accounts)), Amount: 1, Currency: usd}
			binary.LittleEndian.PutUint64(t.ID[:], r.Uint64())
			binary.LittleEndian.PutUint64(t.ID[8:], r.Uint64())
			data = AppendHandleTransfer(data, &t)
		}
		begin := time.Now()
		m.Apply(nil, rsm.Batch{Data: data})
		return time.Since(begin)
	}
	for b.Loop() {
		var before, during, step time.Duration
		for range 100 {
			before = max(before, batch())
		}
		begin := time.Now()
		s := m.Snapshot()
		freeze := time.Since(begin)
		var buf []byte
		for more := true; more; {
			begin := time.Now()
			buf, more = s.Next(buf[:0], 256<<10)
			step = max(step, time.Since(begin))
			if r.IntN(8) == 0 {
				during = max(during, batch())
			}
		}
		s.Close()
		for unit, d := range map[string]time.Duration{"ms-snapshot": freeze, "ms-step": step, "ms-batch-before": before, "ms-batch-during": during} {
			b.ReportMetric(float64(d.Microseconds())/1000, unit)
		}
	}
}
