package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Resolution of a benchHistogram: each power of two is cut in histogramSteps
// equal buckets, so that a quantile is too high by less than 1/128, 0.8 %. A
// time.Duration that is not negative has 63 bits.
const (
	histogramStepBits = 7
	histogramSteps    = 1 << histogramStepBits
	histogramBuckets  = (63 - histogramStepBits + 1) * histogramSteps
)

// benchHistogram counts durations. It is safe for concurrent use; the zero value
// is empty.
type benchHistogram struct {
	counts [histogramBuckets]atomic.Uint64
	max    atomic.Int64
}

// observe counts d; a negative d counts as zero.
func (h *benchHistogram) observe(d time.Duration) {
	d = max(d, 0)
	h.counts[histogramBucket(uint64(d))].Add(1)
	for {
		seen := h.max.Load()
		if int64(d) <= seen || h.max.CompareAndSwap(seen, int64(d)) {
			return
		}
	}
}

// counted is a copy of a histogram's counts.
type counted struct {
	counts [histogramBuckets]uint64
	total  uint64
	max    time.Duration
}

// copyTo makes c what h holds now.
func (h *benchHistogram) copyTo(c *counted) {
	c.total = 0
	for i := range h.counts {
		c.counts[i] = h.counts[i].Load()
		c.total += c.counts[i]
	}
	c.max = time.Duration(h.max.Load())
}

// since takes away what was counted in an earlier copy. The maximum stays that
// of the whole time.
func (c *counted) since(earlier *counted) {
	for i := range c.counts {
		c.counts[i] -= earlier.counts[i]
	}
	c.total -= earlier.total
}

// quantile returns a duration that at least the share q of all counted ones do
// not exceed, too high by less than 0.8 %; zero if nothing was counted.
func (c *counted) quantile(q float64) time.Duration {
	if c.total == 0 {
		return 0
	}
	rank := max(uint64(q*float64(c.total)+0.999999), 1)
	var seen uint64
	for i, n := range c.counts {
		if seen += n; seen >= rank {
			return min(histogramUpper(i), c.max)
		}
	}
	return c.max
}

// histogramBucket returns the bucket of v: the values below histogramSteps have
// one each, and above, the leading 1+histogramStepBits bits select it.
func histogramBucket(v uint64) int {
	shift := max(bits.Len64(v)-1-histogramStepBits, 0)
	return shift<<histogramStepBits + int(v>>shift)
}

// histogramUpper returns the largest value of a bucket.
func histogramUpper(bucket int) time.Duration {
	shift := max(bucket>>histogramStepBits-1, 0)
	leading := uint64(bucket - shift<<histogramStepBits)
	return time.Duration((leading+1)<<shift - 1)
}
