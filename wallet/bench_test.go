package wallet

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/vfs"
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

var oldIDsOption = flag.Int("old", 8_000_000, "transaction ids on the disk in BenchmarkApplyOld")

// BenchmarkApplyOld applies full batches of transfers between a million accounts to
// three machines in turn: one with a bounded number of ids in memory and -old more on a
// disk, one as bounded without any on the disk, and one with as many, all in memory. It
// reports the medians. The work of the disk's loop is left out.
func BenchmarkApplyOld(b *testing.B) {
	const accounts = 1_000_000
	r := rand.New(rand.NewPCG(5, 6))
	disk, bare := &handDisk{fs: vfs.OS(), dir: b.TempDir()}, NewMachine(nil)
	machines := []*Machine{disk.machine(b, nil), bare, NewMachine(nil)}
	for _, m := range machines {
		openMany(b, m, accounts)
	}
	var data, dst []byte
	for range *oldIDsOption / MaxBatch {
		data = randomTransfers(data[:0], r, accounts)
		machines[0].Apply(dst[:0], rsm.Batch{Data: data})
		machines[2].Apply(dst[:0], rsm.Batch{Data: data})
		disk.loop.run(1 << 20)
	}
	before := machines[0].Metrics().Old
	took := make([][]float64, len(machines))
	b.ResetTimer()
	for n := 0; n < b.N; n += MaxBatch {
		data = randomTransfers(data[:0], r, accounts)
		for i, m := range machines {
			begin := time.Now()
			dst = m.Apply(dst[:0], rsm.Batch{Data: data})
			took[i] = append(took[i], float64(time.Since(begin))/MaxBatch)
		}
		disk.loop.run(1 << 20)
	}
	after := machines[0].Metrics().Old
	for i, unit := range []string{"ns/disk", "ns/bare", "ns/memory"} {
		slices.Sort(took[i])
		b.ReportMetric(took[i][len(took[i])/2], unit)
	}
	b.ReportMetric(float64(after.FalsePositives-before.FalsePositives)/float64(b.N), "false/op")
	b.ReportMetric(float64(after.Runs), "runs")
	b.ReportMetric(float64(after.Bytes)/float64(max(1, after.IDs)), "B/old")
}

// randomTransfers appends a full batch of transfers between accounts drawn at random.
func randomTransfers(batch []byte, r *rand.Rand, accounts int) []byte {
	batch = AppendHeader(batch, Header{Kind: KindTransfers, Count: MaxBatch})
	for range MaxBatch {
		t := HandleTransfer{From: Handle(1 + r.IntN(accounts)), To: Handle(1 + r.IntN(accounts)), Amount: 1, Currency: usd}
		binary.LittleEndian.PutUint64(t.ID[:], r.Uint64())
		binary.LittleEndian.PutUint64(t.ID[8:], r.Uint64())
		batch = AppendHandleTransfer(batch, &t)
	}
	return batch
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
