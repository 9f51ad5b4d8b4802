package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/wallet"
)

// benchRange is a span of transfer numbers, end not included.
type benchRange struct{ begin, end uint64 }

// count returns how many numbers the range has.
func (r benchRange) count() uint64 { return r.end - r.begin }

// benchLoad makes the transfers of a range, each once, by callers that work at
// the same time.
type benchLoad struct {
	numbers  benchRange    // what there is to do; the end may be out of reach
	duration time.Duration // after which no call is begun; 0: no limit
	batch    int           // transfers in a call
	repeated bool          // the transfers were made before: they must be answered as repetitions
	progress io.Writer     // one line a second; nil: none
	name     string        // of the load, in the progress

	next    atomic.Uint64 // the first number that nobody has taken
	stop    atomic.Bool
	done    atomic.Uint64 // transfers answered
	busy    atomic.Uint64
	latency benchHistogram

	mu         sync.Mutex
	exceptions map[uint64]wallet.Result // answers other than the expected one
}

// maxBenchExceptions bounds the answers that are remembered. A run with more is
// not worth understanding in detail.
const maxBenchExceptions = 1 << 20

// errBenchRefused says that nearly everything is refused.
var errBenchRefused = errors.New("bench: too many transfers are not answered as expected")

// benchLoaded is what came of a load.
type benchLoaded struct {
	numbers    benchRange // made, all of them
	elapsed    time.Duration
	latency    *counted
	perSecond  []float64 // transfers, in each whole second
	busy       uint64
	exceptions map[uint64]wallet.Result
}

// run makes the transfers. After an error, what was under way is unknown.
func (l *benchLoad) run(ctx context.Context, callers []benchCaller) (*benchLoaded, error) {
	l.next.Store(l.numbers.begin)
	l.exceptions = map[uint64]wallet.Result{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start := time.Now()
	if l.duration > 0 {
		timer := time.AfterFunc(l.duration, func() { l.stop.Store(true) })
		defer timer.Stop()
	}
	watched := make(chan []float64)
	finished := make(chan struct{})
	go func() { watched <- l.watch(finished) }()

	var workers sync.WaitGroup
	for _, c := range callers {
		workers.Go(func() {
			if err := l.work(ctx, c); err != nil {
				cancel(err)
			}
		})
	}
	workers.Wait()
	out := &benchLoaded{elapsed: time.Since(start), latency: &counted{}}
	close(finished)
	out.perSecond = <-watched
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	out.numbers = benchRange{l.numbers.begin, min(l.next.Load(), l.numbers.end)}
	out.busy = l.busy.Load()
	out.exceptions = l.exceptions
	l.latency.copyTo(out.latency)
	return out, nil
}

// work is one closed loop.
func (l *benchLoad) work(ctx context.Context, c benchCaller) error {
	size := uint64(l.batch)
	for !l.stop.Load() {
		first := l.next.Add(size) - size
		if first >= l.numbers.end {
			return nil
		}
		n := min(size, l.numbers.end-first)
		c.prepare(first, int(n))
		start := time.Now()
		results, err := l.call(ctx, c)
		if err != nil {
			return err
		}
		l.latency.observe(time.Since(start))
		if uint64(len(results)) != n {
			return fmt.Errorf("%d transfers were answered by %d results", n, len(results))
		}
		if err := l.record(first, results); err != nil {
			return err
		}
		l.done.Add(n)
	}
	return nil
}

// benchBusyPause is how long a caller waits that was told that the server is full.
const benchBusyPause = time.Millisecond

// call makes a call, again and again while the server is full.
func (l *benchLoad) call(ctx context.Context, c benchCaller) ([]wallet.Result, error) {
	for {
		results, err := c.call(ctx)
		if !errors.Is(err, errBenchBusy) {
			return results, err
		}
		l.busy.Add(1)
		pause := time.NewTimer(benchBusyPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// record remembers the answers that are not as expected.
func (l *benchLoad) record(first uint64, results []wallet.Result) error {
	for i, r := range results {
		if r.Code() == wallet.Applied && r.Repeated() == l.repeated {
			continue
		}
		l.mu.Lock()
		l.exceptions[first+uint64(i)] = r
		n := len(l.exceptions)
		l.mu.Unlock()
		if n > maxBenchExceptions {
			return fmt.Errorf("%w: the last one was %q", errBenchRefused, r.Code())
		}
	}
	return nil
}

// watch says every second how far the load is, until finished is closed, and
// returns the rates of the seconds.
func (l *benchLoad) watch(finished <-chan struct{}) []float64 {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var rates []float64
	var before, now counted
	var doneBefore uint64
	start := time.Now()
	for last := start; ; {
		var t time.Time
		select {
		case <-finished:
			return rates
		case t = <-ticker.C:
		}
		done := l.done.Load()
		rate := float64(done-doneBefore) / t.Sub(last).Seconds()
		rates = append(rates, rate)
		if l.progress != nil {
			l.latency.copyTo(&now)
			second := now
			second.since(&before)
			before = now
			fmt.Fprintf(l.progress, "%s %3.0f s  %15s done %13s/s  p99 %8.2f ms\n", l.name,
				t.Sub(start).Seconds(), count(done), count(uint64(math.Round(rate))), millis(second.quantile(0.99)))
		}
		doneBefore, last = done, t
	}
}

// slowestAndMedian returns the slowest and the median of the seconds' rates; ok
// is false if there was no whole second.
func slowestAndMedian(rates []float64) (slowest, median float64, ok bool) {
	if len(rates) == 0 {
		return 0, 0, false
	}
	sorted := slices.Sorted(slices.Values(rates))
	return sorted[0], sorted[len(sorted)/2], true
}

// millis returns d in milliseconds.
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
