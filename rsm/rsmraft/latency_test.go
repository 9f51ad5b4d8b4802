package rsmraft

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	const ms = time.Millisecond
	type some struct {
		took      time.Duration
		proposals int
	}
	for _, tt := range []struct {
		name     string
		took     []some
		p50, p99 time.Duration
	}{
		{"none", nil, 0, 0},
		{"one takes up to the end of its bucket", []some{{4 * ms, 1}}, 4 * ms, 4980 * time.Microsecond},
		{"a bound is in the bucket that it ends", []some{{5 * ms, 100}}, 4 * ms, 4980 * time.Microsecond},
		{"an entry counts as its proposals", []some{{ms, 98}, {time.Second, 2}}, 755 * time.Microsecond, 750 * ms},
		{"longer than any bound", []some{{time.Minute, 1}}, 10 * time.Second, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l latency
			var sum time.Duration
			count := uint64(0)
			for _, s := range tt.took {
				l.observe(s.took, s.proposals)
				sum += s.took * time.Duration(s.proposals)
				count += uint64(s.proposals)
			}
			h := l.load()
			if h.Sum != sum || h.Count() != count {
				t.Errorf("%d proposals took %v, want %d and %v", h.Count(), h.Sum, count, sum)
			}
			if near := func(a, b time.Duration) bool { return (a - b).Abs() <= b/10 }; !near(h.Quantile(0.5), tt.p50) || !near(h.Quantile(0.99), tt.p99) {
				t.Errorf("p50 %v, p99 %v, want %v and %v", h.Quantile(0.5), h.Quantile(0.99), tt.p50, tt.p99)
			}
		})
	}
}

func TestRecentLatencies(t *testing.T) {
	var l latency
	for i, want := range []uint64{1, 2, 2, 2} {
		l.observe(time.Millisecond, 1)
		if h := l.recent(); h.Count() != want || h.Sum != time.Duration(want)*time.Millisecond {
			t.Errorf("in window %d: %d proposals, %v, want %d", i, h.Count(), h.Sum, want)
		}
		for range 10 {
			l.tick(latencyWindow / 10)
		}
	}
	for range 20 {
		l.tick(latencyWindow / 10)
	}
	if h := l.recent(); h.Count() != 0 || h.Sum != 0 {
		t.Errorf("after two idle windows: %d proposals, %v", h.Count(), h.Sum)
	}
	if h := l.load(); h.Count() != 4 {
		t.Errorf("%d proposals at all", h.Count())
	}
}

func BenchmarkLatency(b *testing.B) {
	var l latency
	b.ReportAllocs()
	for b.Loop() {
		l.observe(3*time.Millisecond, 8)
	}
}
