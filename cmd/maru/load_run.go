package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"maru.example/wallet"
	"maru.example/wallet/walletgrpc"
)

// batchStream is what a load needs of the server.
type batchStream interface {
	// Start sends a batch of transfers, to be decided after those that were
	// sent before; if one of them is lost, so are all that follow.
	Start(ctx context.Context, ts []wallet.HandleTransfer) (pendingBatch, error)
	// StartTransactions is Start for transactions, whose first postings are of these accounts.
	StartTransactions(ctx context.Context, ts []*wallet.Transaction, payers []wallet.Handle) (pendingBatch, error)
	OpenAccounts(ctx context.Context, as []wallet.NewAccount) ([]wallet.Opened, error)
	Lookup(ctx context.Context, ids []wallet.AccountID) ([]wallet.Handle, error)
}

// pendingBatch is a batch under way: walletgrpc.Pending is one.
type pendingBatch interface {
	Wait(ctx context.Context, dst []wallet.Result) ([]wallet.Result, error)
}

// orderedStream is a batchStream of a client.
type orderedStream struct {
	*walletgrpc.Client
	sequence *walletgrpc.Sequence
}

// Start implements batchStream.
func (s orderedStream) Start(ctx context.Context, ts []wallet.HandleTransfer) (pendingBatch, error) {
	return s.sequence.Start(ctx, ts)
}

// StartTransactions implements [batchStream].
func (s orderedStream) StartTransactions(ctx context.Context, ts []*wallet.Transaction, payers []wallet.Handle) (pendingBatch, error) {
	return s.sequence.StartTransactions(ctx, ts, payers)
}

// windowsUnderWay bounds the windows in memory, from being read to being
// counted, at about 3 MiB each.
const windowsUnderWay = 16

// loader sends the records of a file to a server, in the order of the file: a
// transfer may spend what an earlier line brought. Goroutines pass windows on:
// one reads, one opens accounts and looks up names, one sends the transfers, one
// waits for the answers. run itself counts.
type loader struct {
	stream  batchStream
	timeout time.Duration // of one batch, once those before it are answered
	read    func() int64  // bytes of the file so far; of the reading goroutine

	// counted gets every window that is done, in order.
	counted func(w *window) error
}

// run loads the file and returns when every batch that was sent is answered, or
// one of them is lost. When ctx ends it sends no more and returns the cause.
func (l *loader) run(ctx context.Context, in recordReader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	free := make(chan *window, windowsUnderWay)
	for range windowsUnderWay {
		free <- new(window)
	}
	full, resolved := make(chan *window), make(chan *window)
	// The steps behind these need not be waited for: there is room for every window.
	sent, answered := make(chan *window, windowsUnderWay), make(chan *window, windowsUnderWay)
	// A read of standard input cannot be interrupted: this goroutine alone is
	// not waited for. It ends with its next read, or the process.
	go func() {
		defer close(full)
		if err := l.fill(ctx, in, free, full); err != nil {
			cancel(err)
		}
	}()
	var group sync.WaitGroup
	defer group.Wait()
	names := newResolver(l.stream)
	group.Go(func() {
		defer close(resolved)
		for w := range windowsOf(ctx, full) {
			if err := l.within(ctx, w, names.resolve); err != nil {
				cancel(err)
				return
			}
			select {
			case resolved <- w:
			case <-ctx.Done():
			}
		}
	})
	group.Go(func() {
		defer close(sent)
		for w := range windowsOf(ctx, resolved) {
			if err := l.within(ctx, w, l.send); err != nil {
				cancel(err)
				return
			}
			sent <- w
		}
	})
	group.Go(func() {
		defer close(answered)
		for w := range sent { // also after ctx ended
			if err := l.within(ctx, w, l.await); err != nil {
				cancel(err)
				return
			}
			answered <- w
		}
	})
	for w := range answered {
		if err := l.counted(w); err != nil {
			cancel(err)
			continue
		}
		w.reset()
		free <- w
	}
	return context.Cause(ctx)
}

// windowsOf gives the windows of a channel until it is closed or ctx ends.
func windowsOf(ctx context.Context, from <-chan *window) func(yield func(*window) bool) {
	return func(yield func(*window) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case w, ok := <-from:
				if !ok || ctx.Err() != nil || !yield(w) {
					return
				}
			}
		}
	}
}

// fill reads windows until the end of the file.
func (l *loader) fill(ctx context.Context, in recordReader, free <-chan *window, full chan<- *window) error {
	source := &recordSource{recordReader: in}
	for {
		var w *window
		select {
		case w = <-free:
		case <-ctx.Done():
			return nil
		}
		err := fillWindow(w, source)
		w.bytes = l.read()
		if w.lastLine > 0 {
			select {
			case full <- w:
			case <-ctx.Done():
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the file: %w", err)
		}
	}
}

// recordSource reads records, and gives the last one again if a window did not take it.
type recordSource struct {
	recordReader

	last  record
	again bool
}

// next returns the next record, which is valid until the one after it.
func (s *recordSource) next() (*record, error) {
	if s.again {
		s.again = false
		return &s.last, nil
	}
	s.last = record{}
	return &s.last, s.read(&s.last)
}

// fillWindow reads records into w until it is full or the file ends.
func fillWindow(w *window, in *recordSource) error {
	for !w.full() {
		r, err := in.next()
		var bad *lineError
		switch {
		case errors.As(err, &bad):
			w.addMalformed(bad)
		case err != nil:
			return err
		case !w.takes(r):
			in.again = true
			return nil
		default:
			w.add(r)
		}
	}
	return nil
}

// within runs a step with the deadline of a batch. An interrupt does not end it:
// its outcome would be unknown. What the deadline ended wraps
// context.DeadlineExceeded.
func (l *loader) within(ctx context.Context, w *window, do func(context.Context, *window) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	err := do(ctx, w)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", l.timeout, err)
	}
	return err
}

// send sends the transfers of a window.
func (l *loader) send(ctx context.Context, w *window) (err error) {
	switch {
	case len(w.resolved) > 0:
		w.pending, err = l.stream.Start(ctx, w.resolved)
	case len(w.noted) > 0:
		w.pending, err = l.stream.StartTransactions(ctx, w.noted, w.payers)
	}
	if err != nil {
		return fmt.Errorf("make transfers: %w", err)
	}
	return nil
}

// await waits for the results of a window's transfers.
func (l *loader) await(ctx context.Context, w *window) (err error) {
	if w.pending == nil {
		return nil
	}
	if w.results, err = w.pending.Wait(ctx, w.results); err != nil {
		return fmt.Errorf("make transfers: %w", err)
	}
	for i, r := range w.results {
		if code := r.Code(); code != wallet.Applied {
			w.refuseTransfer(w.source[i], code, explain(code).text)
		}
	}
	return nil
}
