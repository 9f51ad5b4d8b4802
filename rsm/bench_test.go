package rsm_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

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

// BenchmarkSubmit measures large proposals: 8,192 records of 64 bytes. The
// machine takes no time.
func BenchmarkSubmit(b *testing.B) {
	n := openOnDisk(b, &counts{}, &rsm.Options{SnapshotBytes: -1, ReserveBytes: -1})
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
	b.SetBytes(512 << 10)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := n.Submit(context.Background(), <-free); err != nil {
			b.Fatal(err)
		}
	}
	for range underWay {
		<-free
	}
	b.ReportMetric(float64(b.N)*8192/b.Elapsed().Seconds(), "records/s")
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
