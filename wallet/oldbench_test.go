package wallet

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/vfs"
)

var pastIDsOption = flag.Int("past-ids", 2_000_000, "transaction ids on the disk in BenchmarkOldIDs")

// BenchmarkOldIDs moves -past-ids to a disk while they are decided, and then opens them as a start does, and looks for old ids and
// fresh ones. For the figures of wallet/DESIGN.md: -past-ids 50000000.
func BenchmarkOldIDs(b *testing.B) {
	const accounts = 100_000
	r := rand.New(rand.NewPCG(11, 12))
	disk := &handDisk{fs: vfs.OS(), dir: b.TempDir()}
	m := disk.machine(b, nil)
	openMany(b, m, accounts)
	var (
		data, dst           []byte
		known               []TransactionID
		deciding, inBetween time.Duration
	)
	for m.Metrics().Old.IDs < uint64(*pastIDsOption) {
		data = randomTransfers(data[:0], r, accounts)
		known = append(known, TransactionID(data[HeaderBytes:]))
		began := time.Now()
		dst = m.Apply(dst[:0], rsm.Batch{Data: data})
		decided := time.Now()
		disk.loop.run(4) // as much as it gets on meanwhile; it is late otherwise
		deciding, inBetween = deciding+decided.Sub(began), inBetween+time.Since(decided)
	}
	for disk.loop.run(1 << 20) {
	}
	all := m.Metrics()
	b.Logf("%d ids, %d of them old in %d runs, written %.1f times; %.0f ns each to decide, %.0f ns to move; %.3f bytes of memory an old id; %.2g of the fresh ones were looked for on the disk",
		all.Transactions, all.Old.IDs, all.Old.Runs, float64(all.Old.Written)/float64(all.Old.IDs),
		float64(deciding)/float64(all.Transactions), float64(inBetween)/float64(all.Transactions),
		float64(all.Old.Bytes)/float64(all.Old.IDs), float64(all.Old.Lookups)/float64(all.Transactions))
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			o := &oldIDs{files: m.old.files}
			for _, k := range m.Held() {
				run, err := openRun(o.files, k, m.old.seed)
				if err != nil {
					b.Fatal(err)
				}
				o.runs = append(o.runs, run)
			}
			if err := o.makeFilter(); err != nil {
				b.Fatal(err)
			}
			closeRuns(o.runs)
		}
	})
	known = known[:len(known)/2]
	b.Run("old", func(b *testing.B) {
		var took []time.Duration
		before := m.Metrics().Old
		for b.Loop() {
			id := known[r.IntN(len(known))]
			began := time.Now()
			if m.decision(0, id) == Undecided {
				b.Fatalf("the id %v is forgotten", id)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.ReportMetric(float64(m.Metrics().Old.PagesRead-before.PagesRead)/float64(len(took)), "pages/op")
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
	})
	b.Run("fresh", func(b *testing.B) {
		before := m.Metrics().Old
		var id TransactionID
		n := 0
		for ; b.Loop(); n++ {
			binary.LittleEndian.PutUint64(id[:], r.Uint64())
			binary.LittleEndian.PutUint64(id[8:], r.Uint64())
			if m.decision(0, id) != Undecided {
				b.Fatalf("the fresh id %v is known", id)
			}
		}
		after := m.Metrics().Old
		b.ReportMetric(1000*float64(after.Lookups-before.Lookups)/float64(n), "lookups/1000")
	})
}
