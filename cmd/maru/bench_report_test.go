package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet"
)

// testLoaded returns what came of 1,000,000 transfers in 2 seconds, three of
// them not applied.
func testLoaded() *benchLoaded {
	var h benchHistogram
	for i := range 100 {
		h.observe(time.Duration(i+1) * time.Millisecond)
	}
	l := &benchLoaded{
		numbers:   benchRange{0, 1_000_000},
		elapsed:   2 * time.Second,
		latency:   &counted{},
		perSecond: []float64{600_000.04, 400_000},
		busy:      9,
		exceptions: map[uint64]wallet.Result{
			4: wallet.Result(wallet.InsufficientFunds),
			5: wallet.Result(wallet.InsufficientFunds),
			6: appliedRepeated,
		},
	}
	h.copyTo(l.latency)
	return l
}

// TestBenchReportKeys checks that the object has exactly the keys that the help
// promises, in a fresh report too.
func TestBenchReportKeys(t *testing.T) {
	t.Parallel()
	b := bench{config: benchConfig{api: benchStream, check: checkAuto}}
	b.describe()
	text, err := json.Marshal(&b.report)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(object))
	want := slices.Sorted(slices.Values(strings.Fields(`
		api accounts transfers clients connections batch hot_percent seed nodes partitions cross_percent protocol route leader_changes seconds
		transfers_per_second transfers_per_second_min transfers_per_second_median latency_of
		p50_ms p99_ms p999_ms max_ms results busy errors fsyncs log_bytes log_bytes_per_transfer
		snapshots snapshot_pause_max_ms server_peak_bytes server_cpu_seconds_per_million
		client_cpu_seconds_per_million setup_seconds recovery_seconds check table machine command date`)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, key := range want {
		if !strings.Contains(benchWalletHelp, key) {
			t.Errorf("the help does not name %s", key)
		}
	}
	for _, key := range []string{"server_peak_bytes", "recovery_seconds", "server_cpu_seconds_per_million"} {
		if string(object[key]) != "null" {
			t.Errorf("%s of a server elsewhere: got %s, want null", key, object[key])
		}
	}
}

func TestBenchReportFigures(t *testing.T) {
	t.Parallel()
	b := bench{config: benchConfig{api: benchHTTP, clients: 64, connections: 1, hot: 3}}
	b.describe()
	r := &b.report
	r.setLoaded(testLoaded())
	peak := uint64(512 << 20)
	cpu1, cpu2 := time.Second, 2500*time.Millisecond
	r.setUsage(
		&benchUsage{metrics: serverMetrics{metricLogBytes: 1000, metricLogSyncs: 5, metricSnapshots: 1}, serverCPU: &cpu1},
		&benchUsage{metrics: serverMetrics{metricLogBytes: 64_001_000, metricLogSyncs: 305, metricSnapshots: 3, metricSnapshotPause: 0.0125}, serverCPU: &cpu2, peakBytes: &peak, clientCPU: time.Second},
	)
	type figures struct {
		API                      benchAPI
		LatencyOf                string
		Transfers                uint64
		Connections, Batch       int
		PerSecond, Slow, Median  float64
		P50, P99, P999, Max      float64
		Busy, Errors             uint64
		Fsyncs, Bytes, Snapshots uint64
		PerTransfer, Pause       float64
		Server, Client           float64
		Results                  map[string]uint64
	}
	got := figures{
		r.API, r.LatencyOf, r.Transfers, r.Connections, r.Batch, r.PerSecond, *r.Slowest, *r.Median,
		r.P50, r.P99, r.P999, r.Max, r.Busy, r.Errors, r.Fsyncs, r.LogBytes, r.Snapshots,
		r.LogBytesPerTransfer, r.SnapshotPause, *r.ServerCPU, r.ClientCPU, r.Results,
	}
	want := figures{
		benchHTTP, "call", 1_000_000, 64, 1, 500_000, 400_000, 600_000,
		r.P50, r.P99, r.P999, 100, 9, 3, 300, 64_000_000, 2, 64, 12.5, 1.5, 1,
		map[string]uint64{"applied": 999_997, "applied (repeated)": 1, "insufficient_funds": 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	for _, q := range []struct{ got, want float64 }{{r.P50, 50}, {r.P99, 99}, {r.P999, 100}} {
		if q.got < q.want || q.got > q.want*1.01 {
			t.Errorf("quantile: got %v ms, want %v", q.got, q.want)
		}
	}
}

func TestBenchVerdict(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	tests := []struct {
		name   string
		report benchReport
		want   string // of the error; empty for none
	}{
		{"all well", benchReport{Check: benchCheck{Mode: checkFull, Transfers: 5, SumZero: &yes}}, ""},
		{"the sum is not known", benchReport{Check: benchCheck{Mode: checkFull}}, ""},
		{"missing", benchReport{Check: benchCheck{Mode: checkFull, Missing: 1}}, "not kept"},
		{"different", benchReport{Check: benchCheck{Mode: checkFull, Different: 1}}, "not kept"},
		{"wrong balance", benchReport{Check: benchCheck{Mode: checkFull, BalancesWrong: 1}}, "not kept"},
		{"wrong sum", benchReport{Check: benchCheck{Mode: checkFull, SumZero: &no}}, "not kept"},
		{"refused", benchReport{Errors: 1234}, "1,234 transfers were not applied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.report.verdict()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if failed := strings.Contains(test.report.Check.String(), "FAILED"); failed != (test.want == "not kept") && failed {
				t.Errorf("the text says %s", test.report.Check.String())
			}
		})
	}
}

func TestBenchReportText(t *testing.T) {
	t.Parallel()
	b := bench{config: benchConfig{api: benchStream, clients: 8, connections: 1, batch: 8192}}
	b.describe()
	b.report.setLoaded(testLoaded())
	b.report.Check = benchCheck{Mode: checkFull, Transfers: 1_000_000, Balances: 1001}
	var out bytes.Buffer
	if err := b.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"transfers per second", "500,000\n", "400,000 slowest, 600,000 median", "latency of a batch",
		"max 100.00 ms", "passed: 1,000,000 transfers made again, 1,001 balances\n", "through stream with 8 at once, 8,192 in a call",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the text has no %q:\n%s", want, out.String())
		}
	}
}

func TestBenchTable(t *testing.T) {
	t.Parallel()
	r := benchReport{Command: "maru bench wallet --table"}
	for _, api := range []benchAPI{benchHTTP, benchClient} {
		for i, n := range tableCallers {
			r.Table = append(r.Table, benchTableRow{API: api, Callers: n, PerSecond: 1000 * float64(n), P50: float64(i), P99: 2.345})
		}
	}
	var out strings.Builder
	if err := r.printTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| callers | HTTP: transfers/s |", "| 1 | 1,000 | 0.00 | 2.35 | 1,000 | 0.00 | 2.35 |\n",
		"| 1,024 | 1,024,000 | 4.00 | 2.35 | 1,024,000 | 4.00 | 2.35 |\n", "- command: maru bench wallet --table\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, out.String())
		}
	}
}

func TestBenchParseMetrics(t *testing.T) {
	t.Parallel()
	const page = `# HELP a_total What there is.
# TYPE a_total counter
a_total{code="x",path="/{id}"} 3
a_total{code="} 9"} 4.5 1700000000000
b 1e+06

c{} +Inf
`
	got, err := parseMetrics(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	if got["a_total"] != 7.5 || got["b"] != 1e6 || got["c"] <= 1e300 || len(got) != 3 {
		t.Errorf("got %v", got)
	}
	for _, bad := range []string{"a", "a{x=\"1\"}", "a b", "a{x=\"1\"} y"} {
		if got, err := parseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("parseMetrics(%q): got %v, want an error", bad, got)
		}
	}
	if _, err := parseMetrics(failingReader{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}

var errBroken = errors.New("broken")

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errBroken }
