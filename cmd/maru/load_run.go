package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"maru.example/wallet"
)

// batchStream is what a load needs of the server: walletgrpc.Client is one.
type batchStream interface {
	Transfers(ctx context.Context, dst []wallet.Result, ts []wallet.HandleTransfer) ([]wallet.Result, error)
	OpenAccounts(ctx context.Context, as []wallet.NewAccount) ([]wallet.Opened, error)
	Lookup(ctx context.Context, ids []wallet.AccountID) ([]wallet.Handle, error)
}

// windowsUnderWay bounds the windows in memory, from being read to being counted.
const windowsUnderWay = 8

// loader sends the records of a file to a server, in the order of the file: a
// transfer may spend what an earlier line brought. Three goroutines pass windows
// on: one reads, one opens accounts and looks up names, one makes the transfers.
// run itself counts.
//
// Of the transfers one batch is under way at a time, as batches that are sent by
// several goroutines may overtake each other. That is no limit in practice: the
// stream makes 1.6 million transfers a second one batch at a time, and names are
// not looked up faster than that.
type loader struct {
	stream  batchStream
	timeout time.Duration // of one batch
	read    func() int64  // bytes of the file so far; of the reading goroutine

	// counted gets every window that is done, in order.
	counted func(w *window) error
}

// run loads the file and returns when every batch that was sent is answered.
// When ctx ends it sends no more and returns the cause.
func (l *loader) run(ctx context.Context, in recordReader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	free := make(chan *window, windowsUnderWay)
	for range windowsUnderWay {
		free <- new(window)
	}
	full, resolved, sent := make(chan *window), make(chan *window), make(chan *window)
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
			if err := l.within(ctx, w, l.transfer); err != nil {
				cancel(err)
				return
			}
			sent <- w
		}
	})
	for w := range sent {
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
	for {
		var w *window
		select {
		case w = <-free:
		case <-ctx.Done():
			return nil
		}
		err := fillWindow(w, in)
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

// fillWindow reads records into w until it is full or the file ends.
func fillWindow(w *window, in recordReader) error {
	var r record
	for !w.full() {
		err := in.read(&r)
		var bad *lineError
		switch {
		case errors.As(err, &bad):
			w.addMalformed(bad)
		case err != nil:
			return err
		default:
			w.add(&r)
		}
	}
	return nil
}

// within runs a step with the deadline of a batch. An interrupt does not end it:
// its outcome would be unknown.
func (l *loader) within(ctx context.Context, w *window, do func(context.Context, *window) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	return do(ctx, w)
}

// transfer makes the transfers of a window.
func (l *loader) transfer(ctx context.Context, w *window) (err error) {
	if len(w.resolved) == 0 {
		return nil
	}
	if w.results, err = l.stream.Transfers(ctx, w.results, w.resolved); err != nil {
		return fmt.Errorf("make transfers: %w", err)
	}
	for i, r := range w.results {
		if code := r.Code(); code != wallet.Applied {
			w.refuseTransfer(w.source[i], code, explain(code).text)
		}
	}
	return nil
}
