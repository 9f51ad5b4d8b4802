package rsmraft_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
)

// counts is the cheapest machine: it answers 8 bytes and snapshots nothing.
type counts struct {
	rsmtest.List
	n uint64
}

func (c *counts) Apply(dst []byte, b rsm.Batch) []byte {
	c.n += uint64(len(b.Data))
	return append(dst, 1, 2, 3, 4, 5, 6, 7, 8)
}

func openOnDisk(b *testing.B, m rsm.Machine, o *rsmraft.Options) *rsmraft.Group {
	b.Helper()
	n, err := rsmraft.OpenAlone(b.TempDir(), m, o)
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
			n := openOnDisk(b, &counts{}, &rsmraft.Options{SnapshotBytes: -1, ReserveBytes: -1})
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
			m, log := n.Metrics(), n.Host().Metrics().Log
			b.ReportMetric(float64(m.Batches)/float64(log.Syncs), "proposals/sync")
			b.ReportMetric(float64(m.Batches)/b.Elapsed().Seconds(), "proposals/s")
		})
	}
}

// transfers is a machine that does for each record of 64 bytes what a transfer
// costs at the least: two balances in a large table.
type transfers struct {
	rsmtest.List
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
	n := openOnDisk(b, m, &rsmraft.Options{SnapshotBytes: -1, ReserveBytes: -1})
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
