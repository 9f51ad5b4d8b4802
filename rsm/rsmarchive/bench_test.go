package rsmarchive

import (
	"testing"

	"maru.example/rsm"
)

// benchEntries are full batches of transfers: 64 bytes with 17 of decision each.
func benchEntries() (all []rsm.Decided, transfers int) {
	const n, size = 32, 8192
	for i := range n {
		d := decidedAt(9, rsm.Index(i+1), size)
		for seed := uint64(10); len(d.Entry) == 0; seed++ {
			d = decidedAt(seed, rsm.Index(i+1), size)
		}
		all = append(all, d)
		transfers += len(d.Entry) / 64
	}
	return all, transfers
}

// BenchmarkWrite archives transfers into memory: the CPU of it all.
func BenchmarkWrite(b *testing.B) {
	all, transfers := benchEntries()
	content, stored := int64(0), 0
	for i := range all {
		content += contentBytes(&all[i])
	}
	b.SetBytes(content)
	b.ReportAllocs()
	for b.Loop() {
		store := objects{}
		fill(b, store, 0, all)
		stored = 0
		for _, o := range store {
			stored += len(o)
		}
	}
	report(b, transfers)
	b.ReportMetric(float64(stored)/float64(transfers), "B/transfer")
	b.ReportMetric(float64(content)/float64(stored), "ratio")
}

// BenchmarkChain computes the links alone.
func BenchmarkChain(b *testing.B) {
	all, transfers := benchEntries()
	content := int64(0)
	for i := range all {
		content += contentBytes(&all[i])
	}
	b.SetBytes(content)
	b.ReportAllocs()
	for b.Loop() {
		c := NewChain(Position{})
		for i := range all {
			if err := c.Append(&all[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b, transfers)
}

// BenchmarkVerify reads and checks an archive in memory.
func BenchmarkVerify(b *testing.B) {
	all, transfers := benchEntries()
	store := objects{}
	fill(b, store, 0, all)
	content := int64(0)
	for i := range all {
		content += contentBytes(&all[i])
	}
	b.SetBytes(content)
	b.ReportAllocs()
	for b.Loop() {
		if r := verify(b, store, nil); r.Found > 0 {
			b.Fatal(described(r))
		}
	}
	report(b, transfers)
}

func report(b *testing.B, transfers int) {
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/float64(transfers)*1e6, "ms/Mtransfer")
}
