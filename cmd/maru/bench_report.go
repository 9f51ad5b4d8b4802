package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"maru.example/cluster"
	"maru.example/wallet"
)

// benchReport is the result of a benchmark. The keys are fixed: programs compare
// runs by them. A figure that is not to be had is null.
type benchReport struct {
	API         benchAPI `json:"api"`
	Accounts    uint64   `json:"accounts"`
	Transfers   uint64   `json:"transfers"` // answered
	Clients     int      `json:"clients"`
	Connections int      `json:"connections"`
	Batch       int      `json:"batch"` // transfers in one call
	HotPercent  int      `json:"hot_percent"`
	Seed        uint64   `json:"seed"`

	Nodes         int        `json:"nodes"`
	Partitions    int        `json:"partitions"`
	Cross         int        `json:"cross_percent"`
	Protocol      string     `json:"protocol"`
	Route         benchRoute `json:"route"`
	LeaderChanges uint64     `json:"leader_changes"` // of partitions, in the run

	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"transfers_per_second"`
	Slowest   *float64 `json:"transfers_per_second_min"`
	Median    *float64 `json:"transfers_per_second_median"`
	LatencyOf string   `json:"latency_of"`
	P50       float64  `json:"p50_ms"`
	P99       float64  `json:"p99_ms"`
	P999      float64  `json:"p999_ms"`
	Max       float64  `json:"max_ms"`

	Results map[string]uint64 `json:"results"`
	Busy    uint64            `json:"busy"`
	Errors  uint64            `json:"errors"`

	Fsyncs              uint64   `json:"fsyncs"`
	LogBytes            uint64   `json:"log_bytes"`
	LogBytesPerTransfer float64  `json:"log_bytes_per_transfer"`
	Snapshots           uint64   `json:"snapshots"`
	SnapshotPause       float64  `json:"snapshot_pause_max_ms"` // in the server's whole life
	ServerPeakBytes     *uint64  `json:"server_peak_bytes"`
	ServerCPU           *float64 `json:"server_cpu_seconds_per_million"`
	ClientCPU           float64  `json:"client_cpu_seconds_per_million"`
	SetupSeconds        float64  `json:"setup_seconds"`
	RecoverySeconds     *float64 `json:"recovery_seconds"`

	Check   benchCheck      `json:"check"`
	Table   []benchTableRow `json:"table"`
	Machine benchMachine    `json:"machine"`
	Command string          `json:"command"`
	Date    string          `json:"date"` // RFC 3339
}

// describe fills in what is known before the run.
func (b *bench) describe() {
	c, r := &b.config, &b.report
	r.API = c.api
	r.Accounts = c.accounts
	r.Clients = c.clients
	r.Connections = min(c.connections, c.clients)
	r.Batch = 1
	r.HotPercent = c.hot
	r.Seed = b.plan.seed
	r.Nodes, r.Partitions, r.Cross = c.nodes, c.partitions, c.cross
	r.Protocol, r.Route = c.protocol, benchRoute(c.route)
	r.LatencyOf = "call"
	r.Results = map[string]uint64{}
	switch c.api {
	case benchStream:
		r.Batch = c.batch
		r.LatencyOf = "batch"
	case benchHTTP:
		r.Connections = c.clients
	case benchClient:
	}
	if b.dir == "" {
		r.Machine = describeMachine("")
	}
	r.Command = commandLine(os.Args)
	r.Date = time.Now().UTC().Format(time.RFC3339)
}

// setLoaded fills in what one load gave.
func (r *benchReport) setLoaded(l *benchLoaded) {
	r.addAnswers(l)
	r.Seconds = round(l.elapsed.Seconds(), 3)
	r.PerSecond = round(float64(l.numbers.count())/l.elapsed.Seconds(), 1)
	if slowest, median, ok := slowestAndMedian(l.perSecond); ok {
		slowest, median = round(slowest, 1), round(median, 1)
		r.Slowest, r.Median = &slowest, &median
	}
	r.P50 = round(millis(l.latency.quantile(0.50)), 3)
	r.P99 = round(millis(l.latency.quantile(0.99)), 3)
	r.P999 = round(millis(l.latency.quantile(0.999)), 3)
	r.Max = round(millis(l.latency.max), 3)
}

// addAnswers counts the answers of a load.
func (r *benchReport) addAnswers(l *benchLoaded) {
	n := l.numbers.count()
	r.Transfers += n
	r.Busy += l.busy
	for _, was := range l.exceptions {
		name := was.Code().String()
		if was.Repeated() {
			name += " (repeated)"
		}
		r.Results[name]++
	}
	r.Errors += uint64(len(l.exceptions))
	r.Results[wallet.Applied.String()] += n - uint64(len(l.exceptions))
}

// benchUsage is what server and load have used up to a moment.
type benchUsage struct {
	metrics   serverMetrics
	serverCPU *time.Duration // nil where it is not known
	peakBytes *uint64        // the same
	clientCPU time.Duration
}

// usage reads what server and load have used.
func (b *bench) usage(ctx context.Context) (*benchUsage, error) {
	u := &benchUsage{metrics: serverMetrics{}, clientCPU: ownCPU()}
	for _, s := range b.servers {
		m, err := s.metrics(ctx, b.config.key)
		if err != nil {
			return nil, err
		}
		u.add(m)
		if !s.own() {
			continue
		}
		pid := s.process.Process.Pid
		if cpu, ok := processCPU(pid); ok {
			u.serverCPU = plus(u.serverCPU, cpu)
		}
		if peak, ok := processPeakBytes(pid); ok {
			u.peakBytes = plus(u.peakBytes, peak)
		}
	}
	return u, nil
}

// add adds a server's metrics. Of a pause the longest counts.
func (u *benchUsage) add(m serverMetrics) {
	for name, value := range m {
		if name == metricSnapshotPause {
			u.metrics[name] = max(u.metrics[name], value)
		} else {
			u.metrics[name] += value
		}
	}
}

// plus returns a sum, of which nothing was known if it is nil.
func plus[T time.Duration | uint64](sum *T, value T) *T {
	if sum != nil {
		value += *sum
	}
	return &value
}

// setUsage fills in what was used between two moments.
func (r *benchReport) setUsage(before, after *benchUsage) {
	grown := func(name string) uint64 { return uint64(after.metrics[name] - before.metrics[name]) }
	millions := float64(max(r.Transfers, 1)) / 1e6
	r.Fsyncs = grown(metricLogSyncs)
	r.LogBytes = grown(metricLogBytes)
	r.LogBytesPerTransfer = round(float64(r.LogBytes)/1e6/millions, 2)
	r.Snapshots = grown(metricSnapshots)
	r.SnapshotPause = round(after.metrics[metricSnapshotPause]*1e3, 3)
	r.ServerPeakBytes = after.peakBytes
	if before.serverCPU != nil && after.serverCPU != nil {
		perMillion := round((*after.serverCPU-*before.serverCPU).Seconds()/millions, 4)
		r.ServerCPU = &perMillion
	}
	r.ClientCPU = round((after.clientCPU-before.clientCPU).Seconds()/millions, 4)
}

// verdict returns an error if the run shows that something was refused or lost.
func (r *benchReport) verdict() error {
	switch {
	case !r.Check.passed():
		return errors.New("the check found answers that are not kept: see above")
	case r.Errors > r.locked():
		return fmt.Errorf("%s transfers were not applied", count(r.Errors))
	}
	return nil
}

// locked returns how many transfers met an account that another one had locked. That
// is an error of the run only where nothing is locked.
func (r *benchReport) locked() uint64 {
	if r.Protocol != string(cluster.TwoPhases) {
		return 0
	}
	return r.Results[wallet.AccountLocked.String()]
}

// print writes the result in the form that was asked for.
func (b *bench) print(w io.Writer) error {
	switch {
	case b.config.json:
		return printJSON(w, &b.report)
	case b.config.table:
		return b.report.printTable(w)
	default:
		return b.report.printText(w)
	}
}

// printText writes the result as people read it.
func (r *benchReport) printText(w io.Writer) error {
	ms := func(v float64) string { return fmt.Sprintf("%.2f ms", v) }
	pairs := [][2]string{
		{"transfers per second", count(uint64(math.Round(r.PerSecond)))},
		{"transfers", fmt.Sprintf("%s in %.2f s, through %s with %d at once, %s in a call, %d%% hot",
			count(r.Transfers), r.Seconds, r.API, r.Clients, count(r.Batch), r.HotPercent)},
	}
	if r.Nodes > 1 || r.Partitions > 1 {
		pairs = append(pairs, [2]string{"cluster", fmt.Sprintf("%d nodes, %d partitions, %d%% between them by %s, calls to %s, %d leader changes",
			r.Nodes, r.Partitions, r.Cross, r.Protocol, r.Route, r.LeaderChanges)})
	}
	if r.Slowest != nil {
		pairs = append(pairs, [2]string{"by second", fmt.Sprintf("%s slowest, %s median",
			count(uint64(*r.Slowest)), count(uint64(*r.Median)))})
	}
	pairs = append(pairs,
		[2]string{"latency of a " + r.LatencyOf, fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, max %s", ms(r.P50), ms(r.P99), ms(r.P999), ms(r.Max))},
		[2]string{"errors", count(r.Errors)},
	)
	pairs = append(pairs, r.resources()...)
	return printPairs(w, pairs...)
}

// resources returns the pairs that both forms for people end with.
func (r *benchReport) resources() [][2]string {
	pairs := [][2]string{
		{"log", fmt.Sprintf("%s fsyncs, %s bytes, %.1f bytes a transfer", count(r.Fsyncs), count(r.LogBytes), r.LogBytesPerTransfer)},
		{"snapshots", fmt.Sprintf("%d in the run; longest pause for one %.2f ms", r.Snapshots, r.SnapshotPause)},
	}
	if r.ServerPeakBytes != nil {
		pairs = append(pairs, [2]string{"server memory, peak", fmt.Sprintf("%s MiB", count(*r.ServerPeakBytes>>20))})
	}
	if r.ServerCPU != nil {
		pairs = append(pairs, [2]string{"CPU for a million", fmt.Sprintf("server %.2f s, load %.2f s", *r.ServerCPU, r.ClientCPU)})
	}
	if r.RecoverySeconds != nil {
		pairs = append(pairs, [2]string{"recovery after a kill", fmt.Sprintf("%.2f s", *r.RecoverySeconds)})
	}
	m := &r.Machine
	return append(pairs,
		[2]string{"check", r.Check.String()},
		[2]string{"machine", fmt.Sprintf("%s, %d cores, %d MiB, %s, %s", m.CPU, m.Cores, m.MemoryBytes>>20, m.Kernel, m.FileSystem)},
		[2]string{"program", m.Maru},
		[2]string{"command", r.Command},
		[2]string{"date", r.Date},
	)
}

// String returns one line for people.
func (c *benchCheck) String() string {
	if c.Mode == checkNone {
		return "none"
	}
	if c.passed() {
		s := fmt.Sprintf("passed: %s transfers made again, %s balances", count(c.Transfers), count(c.Balances))
		if c.SumZero != nil {
			s += ", sum zero"
		}
		if c.InFlightZero != nil {
			s += ", nothing in flight"
		}
		return s
	}
	sum := ""
	if c.SumZero != nil && !*c.SumZero {
		sum = ", the sum of all balances is not zero"
	}
	if !isOrUnknown(c.InFlightZero) {
		sum += ", money stays in flight"
	}
	return fmt.Sprintf("FAILED: of %s transfers %s missing and %s different, of %d balances %d wrong%s",
		count(c.Transfers), count(c.Missing), count(c.Different), c.Balances, c.BalancesWrong, sum)
}

// round returns v with so many decimal places.
func round(v float64, places int) float64 {
	unit := math.Pow10(places)
	return math.Round(v*unit) / unit
}
