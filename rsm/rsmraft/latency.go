package rsmraft

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper ends of the buckets of a histogram.
var latencyBounds = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 300 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second,
}

// LatencyBounds returns the upper ends of the buckets of [Latencies], in order.
func LatencyBounds() []time.Duration { return latencyBounds[:] }

// Latencies are a histogram of how long proposals took.
type Latencies struct {
	Counts [len(latencyBounds) + 1]uint64 // proposals by LatencyBounds; the last: those that took longer
	Sum    time.Duration
}

// Count returns how many proposals there were.
func (l *Latencies) Count() uint64 {
	n := uint64(0)
	for _, c := range l.Counts {
		n += c
	}
	return n
}

// Quantile returns the time within which a part of the proposals, above 0 and at
// most 1, had their answers: in proportion between the ends of a bucket, and at the
// most the last bound. It is 0 where there were none.
func (l *Latencies) Quantile(part float64) time.Duration {
	rank, below := part*float64(l.Count()), 0.0
	lower := time.Duration(0)
	for i, upper := range latencyBounds {
		n := float64(l.Counts[i])
		if n > 0 && below+n >= rank {
			return lower + time.Duration(float64(upper-lower)*(rank-below)/n)
		}
		below, lower = below+n, upper
	}
	if below == float64(l.Count()) {
		return 0
	}
	return lower
}

// latencyWindow is how long a proposal counts as recent at the least; at the most
// it is twice as long.
const latencyWindow = 10 * time.Second

// latency counts how long a group's proposals take. Its zero value is ready; it is
// safe for concurrent use, but for tick.
type latency struct {
	counts  [len(latencyBounds) + 1]atomic.Uint64
	sum     atomic.Int64
	earlier atomic.Pointer[Latencies] // as it was one to two windows ago; nil: empty

	// The rest is tick's.
	last  Latencies     // as it was at the end of the last window
	since time.Duration // then
}

// observe counts the proposals of an entry, the first of which waited so long.
func (l *latency) observe(took time.Duration, proposals int) {
	i := 0
	for i < len(latencyBounds) && took > latencyBounds[i] {
		i++
	}
	l.counts[i].Add(uint64(proposals))
	l.sum.Add(int64(took) * int64(proposals))
}

// tick lets time pass.
func (l *latency) tick(d time.Duration) {
	if l.since += d; l.since < latencyWindow {
		return
	}
	last := l.last
	l.earlier.Store(&last)
	l.last, l.since = l.load(), 0
}

// load returns the histogram.
func (l *latency) load() Latencies {
	var h Latencies
	for i := range l.counts {
		h.Counts[i] = l.counts[i].Load()
	}
	h.Sum = time.Duration(l.sum.Load())
	return h
}

// recent returns the histogram of the last one to two windows.
func (l *latency) recent() Latencies {
	earlier := l.earlier.Load() // before the rest, of which it is a part
	h := l.load()
	if earlier == nil {
		return h
	}
	for i, n := range earlier.Counts {
		h.Counts[i] -= n
	}
	h.Sum -= earlier.Sum
	return h
}
