package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"maru.example/internal/httpd"
)

func TestUntilLed(t *testing.T) {
	noLeader, unknown := httpd.NewProblem(503, "no_leader", ""), httpd.NewProblem(503, "outcome_unknown", "")
	conflict, broken := httpd.NewProblem(409, "last_node", ""), errors.New("broken")
	const waiting = "no leader of the cluster's metadata is known there yet: trying on\n"
	for _, tt := range []struct {
		name    string
		answers []error // the last one again and again
		timeout time.Duration
		want    error
		asked   int
		said    string
	}{
		{"done", []error{nil}, time.Minute, nil, 1, ""},
		{"done when a leader is known", []error{noLeader, unknown, noLeader, nil}, time.Minute, nil, 4, waiting},
		{"refused", []error{conflict}, time.Minute, conflict, 1, ""},
		{"broken when a leader is known", []error{noLeader, broken}, time.Minute, broken, 2, waiting},
		{"no majority", []error{noLeader}, time.Minute, noLeader, 41, waiting},
		{"less time", []error{unknown}, time.Second + time.Millisecond, unknown, 5, waiting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
				defer cancel()
				var said bytes.Buffer
				cmd := &cobra.Command{}
				cmd.SetErr(&said)
				asked := 0
				err := untilLed(ctx, cmd, func() error {
					asked++
					return tt.answers[min(asked, len(tt.answers))-1]
				})
				if !errors.Is(err, tt.want) || asked != tt.asked || said.String() != tt.said {
					t.Errorf("got %v after %d tries, said %q; want %v, %d, %q", err, asked, said.String(), tt.want, tt.asked, tt.said)
				}
			})
		})
	}
}
