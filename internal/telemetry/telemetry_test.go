package telemetry_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/telemetry"
)

// scrape returns the lines of /metrics that begin with prefix, or, if it begins
// with a #, those and the comments on the same.
func scrape(t testing.TB, r *telemetry.Registry, prefix string) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	prefix, comments := strings.CutPrefix(prefix, "#")
	var lines strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) || comments && strings.HasPrefix(line, "# ") && strings.HasPrefix(line[len("# TYPE "):], prefix) {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// metrics is as the parts of the program have it.
type metrics struct {
	Written uint64
	Waiting int64
	Pause   time.Duration
	Decided [2]uint64
}

func (m metrics) decided() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i, n := range m.Decided {
			if !yield([...]string{"applied", "refused"}[i], n) {
				return
			}
		}
	}
}

func TestExpose(t *testing.T) {
	r := telemetry.NewRegistry()
	m := metrics{Written: 1<<53 + 2, Waiting: -3, Pause: 1500 * time.Millisecond, Decided: [2]uint64{5, 6}}
	reads := 0
	telemetry.Expose(r, "test", func() metrics { reads++; return m },
		telemetry.Counter("written_total", "Entries written.", func(m metrics) uint64 { return m.Written }),
		telemetry.Gauge("waiting_bytes", "Bytes that wait.", func(m metrics) int64 { return m.Waiting }),
		telemetry.Gauge("pause_seconds", "Longest pause.", func(m metrics) float64 { return m.Pause.Seconds() }),
		telemetry.CounterBy("decided_total", "Transfers by code.", "code", metrics.decided))
	want := `# HELP test_decided_total Transfers by code.
# TYPE test_decided_total counter
test_decided_total{code="applied"} 5
test_decided_total{code="refused"} 6
# HELP test_pause_seconds Longest pause.
# TYPE test_pause_seconds gauge
test_pause_seconds 1.5
# HELP test_waiting_bytes Bytes that wait.
# TYPE test_waiting_bytes gauge
test_waiting_bytes -3
# HELP test_written_total Entries written.
# TYPE test_written_total counter
test_written_total 9.007199254740994e+15
`
	if diff := cmp.Diff(want, scrape(t, r, "#test_")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if reads != 1 {
		t.Errorf("the struct was read %d times for one scrape", reads)
	}
	m.Waiting = 4
	if got := scrape(t, r, "test_waiting_bytes "); got != "test_waiting_bytes 4\n" {
		t.Errorf("got %q after a change", got)
	}
}

func TestExposeByLabels(t *testing.T) {
	r := telemetry.NewRegistry()
	telemetry.Expose(r, "test", func() int { return 4 },
		telemetry.GaugeByTwo("lag_entries", "Entries behind.", [2]string{"group", "node"}, func(n int) iter.Seq2[[2]string, int] {
			return func(yield func([2]string, int) bool) {
				_ = yield([2]string{"1", "2"}, n) && yield([2]string{"1", "3"}, 0)
			}
		}),
		telemetry.CounterByTwo("sent_total", "Messages.", [2]string{"node", "lane"}, func(n int) iter.Seq2[[2]string, int] {
			return maps.All(map[[2]string]int{{"2", "raft"}: 3 * n})
		}),
		telemetry.HistogramBy("wait_seconds", "How long it took.", "group", func(n int) iter.Seq2[string, telemetry.Histogram] {
			return maps.All(map[string]telemetry.Histogram{
				"1": {Bounds: []float64{0.5, 1}, Counts: []uint64{3, uint64(n), 1}, Sum: 7.5},
			})
		}))
	want := `# HELP test_lag_entries Entries behind.
# TYPE test_lag_entries gauge
test_lag_entries{group="1",node="2"} 4
test_lag_entries{group="1",node="3"} 0
# HELP test_sent_total Messages.
# TYPE test_sent_total counter
test_sent_total{lane="raft",node="2"} 12
# HELP test_wait_seconds How long it took.
# TYPE test_wait_seconds histogram
test_wait_seconds_bucket{group="1",le="0.5"} 3
test_wait_seconds_bucket{group="1",le="1"} 7
test_wait_seconds_bucket{group="1",le="+Inf"} 8
test_wait_seconds_sum{group="1"} 7.5
test_wait_seconds_count{group="1"} 8
`
	if diff := cmp.Diff(want, scrape(t, r, "#test_")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeReadHidesNothingElse(t *testing.T) {
	r := telemetry.NewRegistry()
	gauge := telemetry.Gauge("g", "A gauge.", func(v int) int { return v })
	telemetry.ExposeErr(r, "broken", func() (int, error) { return 0, errors.New("closed") }, gauge)
	telemetry.Expose(r, "whole", func() int { return 7 }, gauge)
	if got := scrape(t, r, "broken_g"); got != "" {
		t.Errorf("got %q", got)
	}
	if got := scrape(t, r, "whole_g "); got != "whole_g 7\n" {
		t.Errorf("got %q", got)
	}
}

func TestANameTakenPanics(t *testing.T) {
	r := telemetry.NewRegistry()
	gauge := telemetry.Gauge("g", "A gauge.", func(v int) int { return v })
	telemetry.Expose(r, "test", func() int { return 1 }, gauge)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	telemetry.Expose(r, "test", func() int { return 2 }, gauge)
}

func TestRuntimeAndProcess(t *testing.T) {
	r := telemetry.NewRegistry()
	for _, name := range []string{"go_goroutines ", "go_memstats_heap_alloc_bytes ", "process_resident_memory_bytes ", "process_start_time_seconds "} {
		if scrape(t, r, name) == "" {
			t.Errorf("no %s", name)
		}
	}
}

func TestHTTPObserver(t *testing.T) {
	r := telemetry.NewRegistry()
	observe := r.HTTPObserver()
	observe("POST /transfer", 200, 4*time.Millisecond)
	observe("POST /transfer", 201, 40*time.Millisecond)
	observe("POST /transfer", 422, time.Millisecond)
	observe("", 404, time.Millisecond)
	observe("/", 405, time.Millisecond)
	observe("GET /x", 503, time.Minute)
	observe("GET /x", 301, time.Minute)
	want := `maru_http_request_duration_seconds_count{route="GET /x",status="3xx"} 1
maru_http_request_duration_seconds_count{route="GET /x",status="5xx"} 1
maru_http_request_duration_seconds_count{route="POST /transfer",status="2xx"} 2
maru_http_request_duration_seconds_count{route="POST /transfer",status="4xx"} 1
maru_http_request_duration_seconds_count{route="other",status="4xx"} 2
`
	if diff := cmp.Diff(want, scrape(t, r, "maru_http_request_duration_seconds_count")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const bucket = `maru_http_request_duration_seconds_bucket{route="POST /transfer",status="2xx",le="0.005"} `
	if got := scrape(t, r, bucket); got != bucket+"1\n" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkHTTPObserver(b *testing.B) {
	observe := telemetry.NewRegistry().HTTPObserver()
	b.ReportAllocs()
	for b.Loop() {
		observe("POST /v1/wallet/balance_transfer", 200, time.Millisecond)
	}
}

func Example() {
	type stats struct {
		Opened uint64
		Moved  map[string]uint64
	}
	r := telemetry.NewRegistry()
	telemetry.Expose(r, "bank", func() stats { return stats{2, map[string]uint64{"USD": 3}} },
		telemetry.Counter("opened_total", "Accounts opened.", func(s stats) uint64 { return s.Opened }),
		telemetry.CounterBy("moved_total", "Transfers by currency.", "currency", func(s stats) iter.Seq2[string, uint64] { return maps.All(s.Moved) }))
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "bank_") {
			fmt.Print(line)
		}
	}
	// Output:
	// bank_moved_total{currency="USD"} 3
	// bank_opened_total 2
}
