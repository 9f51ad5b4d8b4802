package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"maru.example/money"
	"maru.example/wallet"
)

// Bounds of a round.
const (
	crashLongestLoad = 400 * time.Millisecond
	crashCallTimeout = 30 * time.Second // no call may hang, whatever becomes of the server
)

// crashWorker makes calls until the server is gone. It has random numbers of its
// own, drawn from the test's; how the workers interleave is up to the system.
type crashWorker struct {
	*crashTest
	rand *rand.Rand
	made []crashTransfer
}

// loadAndKill makes transfers in every way at once, kills the server in the
// midst of them, and keeps what was answered.
func (c *crashTest) loadAndKill() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), crashCallTimeout)
	defer cancel()
	var workers []*crashWorker
	var running sync.WaitGroup
	for _, kind := range []struct {
		n   int
		run func(*crashWorker, context.Context) error
	}{
		{crashStreams, (*crashWorker).batches},
		{crashSingles, (*crashWorker).singles},
		{crashHTTP, (*crashWorker).requests},
		{crashTwins, (*crashWorker).twins},
		{1, (*crashWorker).openings},
		{1, (*crashWorker).limiting},
	} {
		for range kind.n {
			w := &crashWorker{crashTest: c, rand: rand.New(rand.NewPCG(c.rand.Uint64(), 0))}
			workers = append(workers, w)
			running.Go(func() {
				if err := kind.run(w, ctx); !c.killed.Load() {
					c.t.Errorf("before the kill: %v", err)
				}
			})
		}
	}
	moment := time.NewTimer(time.Duration(c.rand.Int64N(int64(crashLongestLoad))))
	<-moment.C
	c.killed.Store(true)
	c.server.kill()
	c.kills++
	running.Wait()
	if ctx.Err() != nil {
		c.t.Errorf("calls did not end within %v of the kill", crashCallTimeout)
	}
	_ = c.stream.Close() // its connection is broken
	c.http.Close()
	for _, w := range workers {
		c.made = append(c.made, w.made...)
	}
}

// draw returns a new transfer. One in fifty is from an account to itself.
func (w *crashWorker) draw() crashTransfer {
	tr := crashTransfer{
		n:      w.next.Add(1),
		from:   uint8(w.rand.IntN(crashAccounts)),
		to:     uint8(w.rand.IntN(crashAccounts)),
		amount: uint8(1 + w.rand.IntN(crashMaxPayment)),
	}
	if tr.from == tr.to && w.rand.IntN(2) == 0 {
		tr.to = (tr.to + 1) % crashAccounts
	}
	return tr
}

// byHandle returns the transfer as the stream takes it.
func (c *crashTest) byHandle(tr crashTransfer) wallet.HandleTransfer {
	return wallet.HandleTransfer{
		ID:       c.plan.id(tr.n),
		From:     c.plan.handles[tr.from],
		To:       c.plan.handles[tr.to],
		Amount:   money.Amount(tr.amount),
		Currency: c.plan.currency,
	}
}

// byName returns the transfer as HTTP takes it.
func (c *crashTest) byName(tr crashTransfer) wallet.Transfer {
	return wallet.Transfer{
		ID:       c.plan.id(tr.n),
		From:     c.plan.account(uint64(tr.from)),
		To:       c.plan.account(uint64(tr.to)),
		Amount:   money.Amount(tr.amount),
		Currency: c.plan.currency,
	}
}

// keep remembers a transfer that was made for the first time, and its answer.
func (w *crashWorker) keep(tr crashTransfer, r wallet.Result, err error) error {
	if err == nil {
		tr.code = r.Code()
		if r.Repeated() {
			err = fmt.Errorf("transfer %d is answered as a repetition", tr.n)
		}
	}
	w.made = append(w.made, tr)
	return err
}

// batches sends batches: new transfers, one of them twice, and some that were
// answered before.
func (w *crashWorker) batches(ctx context.Context) error {
	for {
		size := 1 + w.rand.IntN(64)
		if w.rand.IntN(20) == 0 {
			size = 1 + w.rand.IntN(2000)
		}
		before := len(w.made)
		for range size {
			w.made = append(w.made, w.draw())
		}
		again := []int{before + w.rand.IntN(size)} // positions in made
		for range min(3, before) {
			again = append(again, w.rand.IntN(before))
		}
		batch := make([]wallet.HandleTransfer, 0, size+len(again))
		for _, tr := range w.made[before:] {
			batch = append(batch, w.byHandle(tr))
		}
		for _, i := range again {
			batch = append(batch, w.byHandle(w.made[i]))
		}
		results, err := w.stream.Transfers(ctx, nil, batch)
		if err != nil {
			return err
		}
		for i := range w.made[before:] {
			w.made[before+i].code = results[i].Code()
			if results[i].Repeated() {
				w.t.Errorf("transfer %d is answered as a repetition", w.made[before+i].n)
			}
		}
		for i, r := range results[size:] {
			w.wantRepeated(w.made[again[i]], r)
		}
	}
}

// wantRepeated checks the answer to a transfer that was made before.
func (c *crashTest) wantRepeated(tr crashTransfer, r wallet.Result) {
	c.t.Helper()
	if r.Code() != tr.code || !r.Repeated() {
		c.t.Errorf("transfer %d made again: got %v (repeated: %v), want %v (repeated: true)", tr.n, r.Code(), r.Repeated(), tr.code)
	}
}

// singles makes one transfer at a time through the client package, by handles
// and by names in turn.
func (w *crashWorker) singles(ctx context.Context) error {
	for i := 0; ; i++ {
		tr := w.draw()
		var r wallet.Result
		var err error
		if i%2 == 0 {
			r, err = w.stream.TransferByHandle(ctx, w.byHandle(tr))
		} else {
			r, err = w.stream.Transfer(ctx, w.byName(tr))
		}
		if err := w.keep(tr, r, err); err != nil {
			return err
		}
	}
}

// requests makes one transfer at a time over HTTP, and now and then asks what
// was decided for the last one.
func (w *crashWorker) requests(ctx context.Context) error {
	for {
		tr := w.draw()
		r, err := w.http.Transfer(ctx, w.byName(tr))
		if err := w.keep(tr, r, err); err != nil {
			return err
		}
		if w.rand.IntN(4) > 0 {
			continue
		}
		code, err := w.http.Decision(ctx, w.plan.id(tr.n))
		if err != nil {
			return err
		}
		if code != r.Code() {
			w.t.Errorf("transfer %d was answered %v, and %v when asked for", tr.n, r.Code(), code)
		}
	}
}

// twins makes each transfer through the stream and over HTTP at the same time:
// one of the answers must be a repetition of the other.
func (w *crashWorker) twins(ctx context.Context) error {
	for {
		tr := w.draw()
		var one, other wallet.Result
		var oneErr, otherErr error
		var both sync.WaitGroup
		both.Go(func() { one, oneErr = w.stream.TransferByHandle(ctx, w.byHandle(tr)) })
		both.Go(func() { other, otherErr = w.http.Transfer(ctx, w.byName(tr)) })
		both.Wait()
		switch {
		case oneErr == nil && otherErr == nil:
			tr.code = one.Code()
			if one.Code() != other.Code() || one.Repeated() == other.Repeated() {
				w.t.Errorf("transfer %d made twice at once: got %v (repeated: %v) and %v (repeated: %v)",
					tr.n, one.Code(), one.Repeated(), other.Code(), other.Repeated())
			}
		case oneErr == nil:
			tr.code = one.Code()
		case otherErr == nil:
			tr.code = other.Code()
		}
		w.made = append(w.made, tr)
		if err := errors.Join(oneErr, otherErr); err != nil {
			return err
		}
	}
}

// openings opens accounts.
func (w *crashWorker) openings(ctx context.Context) error {
	for i := 0; ; i++ {
		a := wallet.NewAccount{ID: wallet.AccountID(fmt.Sprintf("new-%d-%d", w.round, i)), Currency: w.plan.currency}
		opened, code, err := w.http.OpenAccount(ctx, a)
		if err != nil {
			return err
		}
		if code != wallet.Applied {
			w.t.Errorf("open %s: %v", a.ID, code)
		}
		w.opened[a.ID] = opened.Handle
	}
}

// limiting lowers the limit of account 0, one minor unit at a time.
func (w *crashWorker) limiting(ctx context.Context) error {
	for {
		w.limits.tried = w.limits.answered - 1
		_, code, err := w.http.SetLimit(ctx, w.plan.account(0), w.plan.currency, w.limits.tried)
		if err != nil {
			return err
		}
		if code != wallet.Applied {
			w.t.Errorf("set limit: %v", code)
		}
		w.limits.answered = w.limits.tried
	}
}
