package walletpebble

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"maru.example/rsm"
	"maru.example/wallet"
)

// BenchmarkIngest measures what it costs to take transfers up, -events changes of
// balances, and how much room a transfer needs when all is merged: with ids that begin
// with a time, as those of this program's clients, and with random ones.
func BenchmarkIngest(b *testing.B) {
	for _, random := range []bool{false, true} {
		b.Run(fmt.Sprintf("random-ids=%v", random), func(b *testing.B) {
			for b.Loop() {
				benchIngest(b, random)
			}
		})
	}
}

func benchIngest(b *testing.B, random bool) {
	b.StopTimer()
	s, err := Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	keeper := newBookkeeper()
	keeper.randomIDs = random
	open := make(chan struct{}) // when the transfers may begin
	err = s.Follow(Partition{Open: func(from rsm.Index) (Source, error) {
		if from > 1 {
			return nil, fmt.Errorf("from %d", from)
		}
		return &heldBack{keeper, open}, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	wait := func(at rsm.Index) {
		if err := s.Wait(b.Context(), wallet.HistoryPosition{Index: at}); err != nil {
			b.Fatal(err)
		}
	}
	wait(keeper.opening)
	before := room(b, s)
	cpu, began := processorTime(b), time.Now()
	b.StartTimer()
	close(open)
	wait(keeper.last)
	b.StopTimer()
	transfers := float64(keeper.last-keeper.opening) * benchBatch
	b.ReportMetric(2*transfers/time.Since(began).Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-cpu).Microseconds())/transfers, "cpu-µs/transfer")
	b.ReportMetric(float64(room(b, s)-before)/transfers, "B/transfer")
	b.ReportMetric(float64((processorTime(b)-cpu).Microseconds())/transfers, "cpu-µs/transfer-merged")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
}

// heldBack gives a bookkeeper's transfers when it may.
type heldBack struct {
	*bookkeeper

	open chan struct{}
}

func (h *heldBack) Close() error { return nil }

// Next implements Source.
func (h *heldBack) Next(ctx context.Context) (rsm.Decided, error) {
	if h.next > h.opening {
		select {
		case <-h.open:
		case <-ctx.Done():
			return rsm.Decided{}, ctx.Err()
		}
	}
	return h.bookkeeper.Next(ctx)
}

// room returns how much a store has on the disk when all is merged.
func room(b *testing.B, s *Store) uint64 {
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Compact(b.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		b.Fatal(err)
	}
	m := s.db.Metrics()
	return uint64(m.Total().TablesSize)
}

// processorTime returns how long the process has worked.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
