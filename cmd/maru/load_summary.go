package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"maru.example/wallet"
)

// loadSummary counts what a load did.
type loadSummary struct {
	problems *problemList
	progress *progress // nil for none
	size     int64     // of the file in bytes, 0 if unknown
	started  time.Time
	protocol wallet.Protocol // that was asked for

	counts loadCounts
	final  bool // a transfer was refused for ever
	locked bool // a transfer met an account that another one had locked
}

// loadCounts is the summary for programs.
type loadCounts struct {
	Complete       bool    `json:"complete"`        // the whole file was read and answered
	LastLine       int64   `json:"last_line"`       // everything up to it was answered
	Opened         int64   `json:"opened"`          // accounts opened now
	AlreadyOpened  int64   `json:"already_opened"`  // accounts that had been opened before
	Applied        int64   `json:"applied"`         // transfers made now
	AlreadyApplied int64   `json:"already_applied"` // transfers that had been made before
	Refused        int64   `json:"refused"`         // accounts and transfers
	Pending        int64   `json:"pending"`         // transfers under way between partitions
	Malformed      int64   `json:"malformed"`       // lines
	Seconds        float64 `json:"seconds"`
	PerSecond      float64 `json:"per_second"` // accounts and transfers
}

// records returns how many accounts and transfers were answered.
func (c *loadCounts) records() int64 {
	return c.Opened + c.AlreadyOpened + c.Applied + c.AlreadyApplied + c.Refused + c.Pending
}

// add counts a window and lists its problems.
func (s *loadSummary) add(w *window) error {
	c := &s.counts
	c.LastLine = w.lastLine
	c.Opened += w.opened
	c.AlreadyOpened += w.alreadyOpened
	for _, r := range w.results {
		switch {
		case r.Code() != wallet.Applied:
			locked := r.Code() == wallet.AccountLocked
			s.locked = s.locked || locked
			s.final = s.final || remembered(r.Code()) || locked && r.Repeated()
		case r.Repeated():
			c.AlreadyApplied++
		default:
			c.Applied++
		}
	}
	w.sortProblems()
	for _, p := range w.problems {
		switch {
		case p.kind == "":
			c.Malformed++
		case p.code == wallet.Pending:
			c.Pending++
		default:
			c.Refused++
		}
		s.progress.clear()
		if err := s.problems.add(p); err != nil {
			return failed(fmt.Errorf("list the refusals: %w", err), "--refusals needs a disk with room; load the file again")
		}
	}
	elapsed := time.Since(s.started)
	s.progress.show(elapsed, func() string { return c.progress(elapsed, w.bytes, s.size) })
	return nil
}

// finish prints the summary and returns how the load ended.
func (s *loadSummary) finish(cmd *cobra.Command, asJSON bool, err error) error {
	s.progress.clear()
	c := &s.counts
	c.Complete = err == nil
	c.Seconds = time.Since(s.started).Seconds()
	c.PerSecond = float64(c.records()) / max(c.Seconds, 1e-9)
	if printErr := s.print(cmd.OutOrStdout(), asJSON); printErr != nil && err == nil {
		return printErr
	}
	switch {
	case errors.Is(err, context.Canceled):
		return failed(fmt.Errorf("interrupted: everything up to line %s is answered", count(c.LastLine)), loadAgain)
	case err != nil:
		return failed(fmt.Errorf("stopped behind line %s: %w", count(c.LastLine), err), s.hint(err))
	case c.Refused+c.Malformed+c.Pending > 0:
		hint := "--refusals FILE lists them all; the other lines were applied"
		if s.locked {
			hint += "; for what was locked, load the same file again with --protocol tcc or saga, which lock no accounts: what is refused then too was decided before"
		}
		if s.final || s.locked {
			hint += "; a refused transfer stays refused: once it is corrected, it needs a new transaction_id"
		}
		text, status := fmt.Sprintf("%s refused, %s malformed", several(c.Refused, "line", "lines"), count(c.Malformed)), exitRefused
		if c.Pending > 0 {
			text += ", " + count(c.Pending) + " pending"
			hint += "; what is pending will be done or refused: load the same file again to learn it"
			if c.Refused+c.Malformed == 0 {
				status = exitPending
			}
		}
		return &failure{err: errors.New(text), hint: hint, status: status}
	}
	return nil
}

// loadAgain is the hint for a load that did not get to the end of its file.
const loadAgain = "load the same file again, from its beginning: what was applied moves nothing"

// hint says what to do about an error that stopped the load.
func (s *loadSummary) hint(err error) string {
	if !errors.Is(err, context.DeadlineExceeded) {
		return loadAgain
	}
	hint := loadAgain + " and counts as already applied, also what of that batch was; --timeout gives each batch more time"
	if s.protocol == wallet.NoProtocol || s.protocol == wallet.TwoPhase {
		hint += "; by 2pc, transfers between partitions wait for accounts that others have locked, and are refused in the end: --protocol tcc or saga locks none"
	}
	return hint
}

func (s *loadSummary) print(w io.Writer, asJSON bool) error {
	c := &s.counts
	if asJSON {
		return printJSON(w, c)
	}
	return printPairs(w,
		[2]string{"accounts", fmt.Sprintf("%s opened, %s already opened", count(c.Opened), count(c.AlreadyOpened))},
		[2]string{"transfers", fmt.Sprintf("%s applied, %s already applied", count(c.Applied), count(c.AlreadyApplied))},
		[2]string{"refused", count(c.Refused)},
		[2]string{"pending", count(c.Pending)},
		[2]string{"malformed", count(c.Malformed)},
		[2]string{"time", fmt.Sprintf("%.1f s, %s records a second", c.Seconds, count(int64(c.PerSecond)))},
	)
}

// progress returns the line that says how far a load is.
func (c *loadCounts) progress(elapsed time.Duration, done, size int64) string {
	line := fmt.Sprintf("%s, %s a second", several(c.records(), "record", "records"), count(int64(float64(c.records())/elapsed.Seconds())))
	if size > 0 {
		line += fmt.Sprintf(", %d %%", 100*done/size)
	}
	if n := c.Refused + c.Pending + c.Malformed; n > 0 {
		line += ", " + count(n) + " refused, pending or malformed"
	}
	return line
}
