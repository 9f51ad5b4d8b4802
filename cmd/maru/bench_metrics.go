package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The server's metrics that a benchmark reports.
const (
	metricLogBytes      = "maru_log_bytes_total"
	metricLogSyncs      = "maru_log_syncs_total"
	metricSnapshots     = "maru_log_snapshots_total"
	metricSnapshotPause = "maru_log_snapshot_pause_seconds"
)

// serverMetrics are the sums of the server's metrics over their labels, by name.
type serverMetrics map[string]float64

// maxMetricsBytes bounds what is read of a page of metrics.
const maxMetricsBytes = 16 << 20

// metrics asks the server for its metrics. key is an API key, or empty.
func (s *benchServer) metrics(ctx context.Context, key string) (serverMetrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.httpTLS}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: %s", resp.Status)
	}
	m, err := parseMetrics(io.LimitReader(resp.Body, maxMetricsBytes))
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	for _, name := range []string{metricLogBytes, metricLogSyncs} {
		if _, ok := m[name]; !ok {
			return nil, fmt.Errorf("read metrics: %w: %s", errMetricMissing, name)
		}
	}
	return m, nil
}

// errMetricMissing says that the server does not have a metric that the report needs.
var errMetricMissing = errors.New("bench: missing metric")

// parseMetrics reads the Prometheus text format, version 0.0.4.
func parseMetrics(r io.Reader) (serverMetrics, error) {
	m := serverMetrics{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(line, "{ \t")
		if end < 0 {
			return nil, fmt.Errorf("metric %q without value", line)
		}
		name, rest := line[:end], line[end:]
		if rest[0] == '{' {
			rest = rest[strings.LastIndexByte(rest, '}')+1:]
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return nil, fmt.Errorf("metric %q without value", line)
		}
		value, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		m[name] += value
	}
	return m, lines.Err()
}
