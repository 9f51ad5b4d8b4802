package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// progress shows how far something long is. The nil progress shows nothing.
type progress struct {
	out      io.Writer
	terminal bool // one line that is written over; otherwise a line now and then
	every    time.Duration
	last     time.Duration
	shown    bool
}

func newProgress(out io.Writer, terminal bool) *progress {
	p := &progress{out: out, terminal: terminal, every: 5 * time.Second}
	if terminal {
		p.every = 200 * time.Millisecond
	}
	return p
}

// show writes a line of progress, if it is time.
func (p *progress) show(elapsed time.Duration, line func() string) {
	if p == nil || elapsed-p.last < p.every {
		return
	}
	p.last = elapsed
	if !p.terminal {
		fmt.Fprintln(p.out, line())
		return
	}
	fmt.Fprint(p.out, "\r\x1b[K", line())
	p.shown = true
}

// clear removes the line from a terminal.
func (p *progress) clear() {
	if p != nil && p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}

// follow shows how far something is, which line says, until stop is called.
func follow(cmd *cobra.Command, line func() string) (stop func()) {
	p, started := newProgress(cmd.ErrOrStderr(), isTerminal(os.Stderr)), time.Now()
	ended, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for tick := time.NewTicker(p.every); ; {
			select {
			case <-ended:
				tick.Stop()
				p.clear()
				return
			case <-tick.C:
				p.show(time.Since(started), line)
			}
		}
	}()
	return func() {
		close(ended)
		<-over
	}
}

// share returns how much of something is done, in per cent.
func share[T int64 | uint64](done, of T, what string) string {
	return fmt.Sprintf("%d %% %s", 100*done/max(of, 1), what)
}
