package rsm_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"maru.example/rsm"
)

// counts is the cheapest machine: it answers 8 bytes and snapshots nothing.
type counts struct {
	list
	n uint64
}

func (c *counts) Apply(dst []byte, b rsm.Batch) []byte {
	c.n += uint64(len(b.Data))
	return append(dst, 1, 2, 3, 4, 5, 6, 7, 8)
}

func openOnDisk(b *testing.B, m rsm.Machine, o *rsm.Options) *rsm.Node {
	b.Helper()
	n, err := rsm.Open(b.TempDir(), m, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	return n
}

// BenchmarkPropose measures small proposals of many callers, each of which
// waits for its answer.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			n := openOnDisk(b, &counts{}, &rsm.Options{SnapshotBytes: -1, ReserveBytes: -1})
			data := make([]byte, 150)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					for left.Add(-1) >= 0 {
						if _, _, err := n.Propose(ctx, data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			m := n.Metrics()
			b.ReportMetric(float64(m.Proposals)/float64(m.Log.Syncs), "proposals/sync")
			b.ReportMetric(float64(m.Proposals)/b.Elapsed().Seconds(), "proposals/s")
		})
	}
}

// transfers is a machine that does for each record of 64 bytes what a transfer
// costs at the least: two balances in a large table.
type transfers struct {
	list
	balances []int64
}

func (m *transfers) Apply(dst []byte, b rsm.Batch) []byte {
	for data := b.Data; len(data) >= 64; data = data[64:] {
		from, to := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		m.balances[int(from)%len(m.balances)]--
		m.balances[int(to)%len(m.balances)]++
		dst = append(dst, 0)
	}
	return dst
}

// BenchmarkSubmit measures large proposals: 8,192 records of 64 bytes, filled by
// the client each time.
func BenchmarkSubmit(b *testing.B) {
	for _, tt := range []struct {
		name    string
		machine rsm.Machine
	}{
		{"machine=none", &counts{}},
		{"machine=transfers", &transfers{balances: make([]int64, 2<<20)}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			benchmarkSubmit(b, tt.machine)
		})
	}
}

func benchmarkSubmit(b *testing.B, m rsm.Machine) {
	n := openOnDisk(b, m, &rsm.Options{SnapshotBytes: -1, ReserveBytes: -1})
	const underWay = 16
	free := make(chan *rsm.Proposal, underWay)
	for range underWay {
		p := &rsm.Proposal{Data: make([]byte, 512<<10)}
		p.Done = func(_ []byte, _ rsm.Position, err error) {
			if err != nil {
				b.Error(err)
			}
			free <- p
		}
		free <- p
	}
	r := rand.New(rand.NewPCG(1, 2))
	b.SetBytes(512 << 10)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		p := <-free
		for data := p.Data; len(data) > 0; data = data[64:] {
			binary.LittleEndian.PutUint64(data, r.Uint64())
		}
		if err := n.Submit(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
	for range underWay {
		<-free
	}
	b.ReportMetric(float64(b.N)*8192/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkRecover measures the replay of a log of 256 MiB, 4 million records.
func BenchmarkRecover(b *testing.B) {
	m := &transfers{balances: make([]int64, 2<<20)}
	o := &rsm.Options{SnapshotBytes: -1, ReserveBytes: -1}
	home := b.TempDir()
	n, err := rsm.Open(home, m, o)
	if err != nil {
		b.Fatal(err)
	}
	const proposals = 512
	data := make([]byte, 512<<10)
	for range proposals {
		if _, _, err := n.Propose(b.Context(), data); err != nil {
			b.Fatal(err)
		}
	}
	closeNode(b, n)
	b.SetBytes(proposals * int64(len(data)))
	for b.Loop() {
		if n, err = rsm.Open(home, m, o); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		closeNode(b, n)
		b.StartTimer()
	}
}

// BenchmarkRead measures linearizable reads of an idle node.
func BenchmarkRead(b *testing.B) {
	n := openOnDisk(b, &counts{}, &rsm.Options{SnapshotBytes: -1, ReserveBytes: -1})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if err := n.Read(ctx, func() {}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkProposeLatency measures how long 64 callers wait, with and without
// one snapshot of 256 MiB after the other being written meanwhile.
func BenchmarkProposeLatency(b *testing.B) {
	const size = 32 << 20 // cells
	for _, snapshots := range []bool{false, true} {
		b.Run(fmt.Sprint("snapshots=", snapshots), func(b *testing.B) {
			n := openOnDisk(b, newCells(size), &rsm.Options{SnapshotBytes: -1, ReserveBytes: -1})
			ctx, cancel := context.WithCancel(context.Background())
			var background sync.WaitGroup
			if snapshots {
				background.Go(func() {
					for ctx.Err() == nil {
						_, _, _ = n.Propose(ctx, appendAdd(nil, 0, 1)) // ends with ctx
						_ = n.Snapshot(ctx)
					}
				})
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			var mu sync.Mutex
			var all []time.Duration
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range uint64(64) {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(g, 3))
					var took []time.Duration
					for left.Add(-1) >= 0 {
						start := time.Now()
						if _, _, err := n.Propose(ctx, appendAdd(nil, r.Uint32N(size), 1)); err != nil {
							b.Error(err)
							return
						}
						took = append(took, time.Since(start))
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, took...)
				})
			}
			wg.Wait()
			b.StopTimer()
			m := n.Metrics()
			cancel()
			background.Wait()
			slices.Sort(all)
			b.ReportMetric(all[len(all)/2].Seconds()*1e3, "p50-ms")
			b.ReportMetric(all[len(all)*99/100].Seconds()*1e3, "p99-ms")
			b.ReportMetric(all[len(all)-1].Seconds()*1e3, "max-ms")
			b.ReportMetric(m.SnapshotPause.Seconds()*1e3, "pause-ms")
			b.ReportMetric(float64(m.Snapshots)*float64(m.SnapshotBytes)/1e6/b.Elapsed().Seconds(), "snapshot-MB/s")
		})
	}
}
