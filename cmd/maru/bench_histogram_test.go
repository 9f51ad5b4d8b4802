package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBenchHistogramBuckets checks that the buckets cover all durations without gap
// or overlap, in order.
func TestBenchHistogramBuckets(t *testing.T) {
	t.Parallel()
	previous := time.Duration(-1)
	for bucket := range histogramBuckets {
		lower, upper := previous+1, histogramUpper(bucket)
		if upper < lower {
			t.Fatalf("bucket %d: from %d to %d", bucket, lower, upper)
		}
		for _, d := range []time.Duration{lower, upper} {
			if got := histogramBucket(uint64(d)); got != bucket {
				t.Fatalf("histogramBucket(%d): got %d, want %d", d, got, bucket)
			}
		}
		if width := upper - lower + 1; width > 1 && float64(width) > float64(lower)/histogramSteps {
			t.Fatalf("bucket %d: %d wide at %d: more than 1/%d", bucket, width, lower, histogramSteps)
		}
		previous = upper
	}
	if previous != math.MaxInt64 {
		t.Errorf("the last bucket ends at %d, want %d", previous, int64(math.MaxInt64))
	}
}

func TestBenchHistogramQuantiles(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	tests := []struct {
		name string
		draw func() time.Duration
		n    int
	}{
		{"one", func() time.Duration { return 12_345 }, 1},
		{"small", func() time.Duration { return time.Duration(r.IntN(100)) }, 1000},
		{"uniform", func() time.Duration { return time.Duration(r.Int64N(int64(time.Second))) }, 10_000},
		{"long tail", func() time.Duration { return time.Duration(1e6 * r.ExpFloat64() * r.ExpFloat64()) }, 100_000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var h benchHistogram
			all := make([]time.Duration, test.n)
			for i := range all {
				all[i] = test.draw()
				h.observe(all[i])
			}
			slices.Sort(all)
			var c counted
			h.copyTo(&c)
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
				exact := all[max(int(math.Ceil(q*float64(test.n))), 1)-1]
				got := c.quantile(q)
				if got < exact || float64(got) > float64(exact)*(1+1.0/histogramSteps) {
					t.Errorf("quantile(%v): got %d, want %d or at most 1/%d more", q, got, exact, histogramSteps)
				}
			}
			if want := all[test.n-1]; c.max != want {
				t.Errorf("max: got %d, want %d", c.max, want)
			}
		})
	}
}

func TestBenchHistogramEdges(t *testing.T) {
	t.Parallel()
	var h benchHistogram
	var empty counted
	h.copyTo(&empty)
	if got := empty.quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing: got %v, want 0", got)
	}
	h.observe(-5)
	h.observe(math.MaxInt64)
	var c counted
	h.copyTo(&c)
	if got := c.quantile(0.5); got != 0 {
		t.Errorf("a negative duration: got %v, want 0", got)
	}
	if got := c.quantile(1); got != math.MaxInt64 {
		t.Errorf("the longest duration: got %v, want %v", got, time.Duration(math.MaxInt64))
	}
	h.observe(7)
	var later counted
	h.copyTo(&later)
	later.since(&c)
	if later.total != 1 || later.quantile(0.5) != 7 {
		t.Errorf("since: got %d counted with median %v, want one of 7ns", later.total, later.quantile(0.5))
	}
}
