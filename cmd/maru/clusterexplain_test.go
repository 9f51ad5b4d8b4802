package main

import (
	"errors"
	"slices"
	"testing"

	"maru.example/cluster"
	"maru.example/internal/httpd"
)

func TestExplainCluster(t *testing.T) {
	for _, c := range cluster.Codes() {
		if slices.Contains([]cluster.Code{cluster.Undecided, cluster.Applied, cluster.Malformed, cluster.Outdated}, c) {
			continue // nobody is answered with it
		}
		t.Run(c.String(), func(t *testing.T) {
			got := viewFailure(explainCluster(httpd.NewProblem(409, c.String(), "why")))
			want := failureView{Status: "refused", Code: c.String(), Error: c.String() + ": why", Hint: got.Hint}
			if got != want || got.Hint == "" {
				t.Errorf("got %+v, want %+v with a hint", got, want)
			}
		})
	}
	const again = "repeat the command: nothing is done twice"
	for _, tt := range []struct {
		name   string
		err    error
		status int
		hint   string
	}{
		{"a leader that went away", httpd.NewProblem(503, "outcome_unknown", ""), exitFailed, again},
		{"too late", httpd.NewProblem(504, "deadline_exceeded", ""), exitFailed, again},
		{"malformed", httpd.NewProblem(422, "invalid_request", ""), exitUsage, "see the examples of `maru cluster --help`"},
		{"full", httpd.NewProblem(507, "disk_full", ""), exitFailed, "make room on the server's disk"},
		{"another server", httpd.NewProblem(404, "", ""), exitFailed, "is --addr the address of maru's HTTP API?"},
		{"no problem", errors.New("broken"), exitFailed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := failureOf(explainCluster(tt.err)); got.status != tt.status || got.hint != tt.hint {
				t.Errorf("got %d %q, want %d %q", got.status, got.hint, tt.status, tt.hint)
			}
		})
	}
}
