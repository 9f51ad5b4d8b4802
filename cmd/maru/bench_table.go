package main

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// tableCallers are the numbers of callers that a table compares.
var tableCallers = []int{1, 16, 64, 256, 1024}

// benchTableRow is the result of one number of callers.
type benchTableRow struct {
	API       benchAPI `json:"api"`
	Callers   int      `json:"callers"`
	PerSecond float64  `json:"transfers_per_second"`
	P50       float64  `json:"p50_ms"`
	P99       float64  `json:"p99_ms"`
	P999      float64  `json:"p999_ms"`
	Max       float64  `json:"max_ms"`
}

// measureTable measures every number of callers over HTTP and through the
// client package, one after the other on one server. The report's own figures
// are those of the last.
func (b *bench) measureTable(ctx context.Context) error {
	for _, api := range []benchAPI{benchHTTP, benchClient} {
		for _, n := range tableCallers {
			loaded, err := b.timed(ctx, api, n)
			if err != nil {
				return fmt.Errorf("%s with %d callers: %w", api, n, err)
			}
			var one benchReport
			one.Results = map[string]uint64{}
			one.setLoaded(loaded)
			b.report.addAnswers(loaded)
			b.report.Seconds += one.Seconds
			b.report.Table = append(b.report.Table, benchTableRow{
				API:       api,
				Callers:   n,
				PerSecond: one.PerSecond,
				P50:       one.P50,
				P99:       one.P99,
				P999:      one.P999,
				Max:       one.Max,
			})
		}
	}
	return nil
}

// printTable writes a table in Markdown and, below it, what it was measured on.
func (r *benchReport) printTable(w io.Writer) error {
	var s strings.Builder
	s.WriteString("| callers | HTTP: transfers/s | p50 ms | p99 ms | client package: transfers/s | p50 ms | p99 ms |\n")
	s.WriteString("|--:|--:|--:|--:|--:|--:|--:|\n")
	for i, n := range tableCallers {
		http, client := r.Table[i], r.Table[len(tableCallers)+i]
		fmt.Fprintf(&s, "| %s | %s | %.2f | %.2f | %s | %.2f | %.2f |\n", count(n),
			count(uint64(http.PerSecond)), http.P50, http.P99,
			count(uint64(client.PerSecond)), client.P50, client.P99)
	}
	s.WriteByte('\n')
	for _, p := range r.resources() {
		fmt.Fprintf(&s, "- %s: %s\n", p[0], p[1])
	}
	_, err := io.WriteString(w, s.String())
	return err
}
