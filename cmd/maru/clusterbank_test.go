package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"maru.example/wallet"
)

// known says that a code is an answer that stays.
func known(c wallet.Code) bool { return c != wallet.Undecided && c != wallet.Pending }

// teller makes transfers through any node. What has no answer is tried again,
// through another, until it has one or the load ends.
type teller struct {
	*bank
	rand *rand.Rand
	made []crashTransfer
}

// any returns the clients of a random node.
func (b *bank) any(r *rand.Rand) *testClients { return b.nodes[r.IntN(len(b.nodes))].clients.Load() }

// draw returns a new transfer.
func (w *teller) draw() crashTransfer {
	from := w.rand.IntN(crashAccounts)
	to := (from + 1 + w.rand.IntN(crashAccounts-1)) % crashAccounts
	return crashTransfer{n: w.next.Add(1), from: uint8(from), to: uint8(to), amount: uint8(1 + w.rand.IntN(crashMaxPayment))}
}

// batches sends batches through the stream: new transfers, and some that were
// answered before.
func (w *teller) batches(ctx context.Context) {
	for ctx.Err() == nil {
		var places []int // in made
		for range min(2, len(w.made)) {
			places = append(places, w.rand.IntN(len(w.made)))
		}
		for range 1 + w.rand.IntN(clusterBatch) {
			places = append(places, len(w.made))
			w.made = append(w.made, w.draw())
		}
		for ctx.Err() == nil && !w.send(ctx, places) {
		}
	}
}

// send sends the transfers at places once and says whether all have an answer.
func (w *teller) send(ctx context.Context, places []int) bool {
	batch := make([]wallet.HandleTransfer, len(places))
	for i, place := range places {
		batch[i] = w.byHandle(w.made[place])
	}
	try, cancel := context.WithTimeout(ctx, clusterTry)
	defer cancel()
	results, err := w.any(w.rand).stream.Transfers(try, nil, batch)
	if err != nil {
		return false
	}
	all := true
	for i, place := range places {
		all = w.answer(&w.made[place], results[i]) && all
	}
	return all
}

// answer takes an answer to a transfer and says whether it stays. It must be the
// one that was given before, if there is one.
func (b *bank) answer(tr *crashTransfer, r wallet.Result) bool {
	switch code := r.Code(); {
	case known(tr.code) && (code != tr.code || !r.Repeated()):
		b.t.Errorf("transfer %d made again: got %v (repeated: %v), want %v (repeated: true)", tr.n, code, r.Repeated(), tr.code)
	case code == wallet.TooManyInFlight || code == wallet.AccountLocked:
		return false // not remembered
	default:
		tr.code = code
	}
	return known(tr.code)
}

// requests makes one transfer at a time over HTTP, and now and then asks what was
// decided for the last one.
func (w *teller) requests(ctx context.Context) {
	for ctx.Err() == nil {
		tr := w.draw()
		for ctx.Err() == nil && !known(tr.code) {
			try, cancel := context.WithTimeout(ctx, clusterTry)
			if r, err := w.any(w.rand).http.Transfer(try, w.byName(tr)); err == nil {
				w.answer(&tr, r)
			}
			cancel()
		}
		w.made = append(w.made, tr)
		if !known(tr.code) || w.rand.IntN(4) > 0 {
			continue
		}
		try, cancel := context.WithTimeout(ctx, clusterTry)
		code, err := w.any(w.rand).http.Decision(try, w.plan.id(tr.n))
		if cancel(); err == nil && code != tr.code {
			w.t.Errorf("transfer %d was answered %v, and %v when asked for", tr.n, tr.code, code)
		}
	}
}

// byHandle returns the transfer as the stream takes it.
func (b *bank) byHandle(tr crashTransfer) wallet.HandleTransfer {
	return (&crashTest{plan: b.plan}).byHandle(tr)
}

// byName returns the transfer as HTTP takes it.
func (b *bank) byName(tr crashTransfer) wallet.Transfer {
	return (&crashTest{plan: b.plan}).byName(tr)
}

// settle waits until the cluster has got over the faults and what was begun has
// ended, which the coordinators see to: what has no answer is not made again before.
func (b *bank) settle() {
	b.t.Helper()
	b.wait("the cluster gets over the faults", b.asWanted)
	b.wait("no money is on its way", func(ctx context.Context) error {
		for i := range b.nodes {
			if _, err := b.checkTotals(ctx, i, true); err != nil {
				return err
			}
		}
		return nil
	})
}

// check makes all transfers again, through any node, and compares the balances
// that each node gives with what the transfers make.
func (b *bank) check() {
	b.t.Helper()
	for tr := range slices.Values(b.made) {
		if known(tr.code) || b.rand.IntN(4) > 0 {
			continue
		}
		// Nobody asked for these again: they are there in full, or not at all.
		if code, err := b.any(b.rand).http.Decision(b.t.Context(), b.plan.id(tr.n)); err != nil || code == wallet.Pending {
			b.t.Errorf("transfer %d after the faults: %v, %v", tr.n, code, err)
		}
	}
	for part := range slices.Chunk(b.made, 1000) {
		b.repeat(part)
	}
	want := b.balances()
	for _, tr := range b.made {
		if tr.code != wallet.Applied {
			b.refused++
		}
	}
	for node := range b.nodes {
		for i, w := range want {
			a, code, err := b.nodes[node].clients.Load().http.Account(b.t.Context(), b.plan.account(uint64(i)))
			if err != nil || code != wallet.Applied || len(a.Balances) != 1 || a.Balances[0].Amount != w {
				b.t.Errorf("account %d of node %d: got %+v, %v, %v, want the balance %d", i, node+1, a, code, err, w)
			}
		}
		b.wait(fmt.Sprintf("node %d: no money is on its way", node+1), func(ctx context.Context) error {
			_, err := b.checkTotals(ctx, node, true)
			return err
		})
	}
}

// repeat makes transfers again until all have an answer.
func (b *bank) repeat(made []crashTransfer) {
	b.t.Helper()
	w := &teller{bank: b, rand: b.rand, made: made}
	places := make([]int, len(made))
	for i := range places {
		places[i] = i
	}
	b.wait("all transfers have an answer", func(ctx context.Context) error {
		if b.t.Failed() || w.send(ctx, places) {
			return nil
		}
		return fmt.Errorf("%d transfers: not all were answered", len(made))
	})
}
