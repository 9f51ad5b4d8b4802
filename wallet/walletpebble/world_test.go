package walletpebble

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

var usd, eur = money.MustParseCurrency("USD"), money.MustParseCurrency("EUR")

// world is a machine, its log of decided entries, and what a naive book-keeper
// knows of it.
type world struct {
	machine  *wallet.Machine
	now      int64
	batches  []*rsm.Proposal
	decided  []rsm.DecidedBatch
	pending  []wallet.Line // of the entry that is being made
	ids      int
	accounts []wallet.Handle
	names    []wallet.AccountID
	balances map[string]money.Amount
	lines    []wallet.Line
	held     []heldSince
	holds    []wallet.TransactionID
	made     []wallet.TransactionID // transactions, whatever was decided
	log      *decidedLog
}

type heldSince struct {
	account  wallet.Handle
	currency money.Currency
	since    wallet.LineKey // without a number
}

func newWorld() *world {
	return &world{machine: wallet.NewMachine(nil), now: 1e18, balances: map[string]money.Amount{}, log: newDecidedLog()}
}

// apply applies a batch as a part of the entry that is being made.
func (w *world) apply(h wallet.Header, body func([]byte) []byte) []byte {
	data := body(wallet.AppendHeader(nil, h))
	index := rsm.Index(w.log.len() + 1)
	results := w.machine.Apply(nil, rsm.Batch{Index: index, Time: w.now, Data: data})
	w.batches = append(w.batches, &rsm.Proposal{Data: data})
	w.decided = append(w.decided, rsm.DecidedBatch{Data: data, Results: results, Effects: append([]byte(nil), w.machine.Effects()...)})
	return results
}

func (w *world) key() wallet.LineKey {
	return wallet.LineKey{Time: w.now, Index: rsm.Index(w.log.len() + 1)}
}

// open opens an account; again, it is one that there is.
func (w *world) open(name wallet.AccountID, c money.Currency) {
	opened := wallet.ParseOpened(w.apply(wallet.Header{Kind: wallet.KindOpenAccounts, Count: 1}, func(b []byte) []byte {
		return wallet.AppendAccount(b, &wallet.NewAccount{ID: name, Currency: c, Min: wallet.Unlimited})
	}))
	if opened.Code == wallet.Applied && !opened.Before {
		w.accounts, w.names = append(w.accounts, opened.Handle), append(w.names, name)
		w.held = append(w.held, heldSince{opened.Handle, c, w.key()})
	}
}

func (w *world) add(account int, c money.Currency) {
	results := w.apply(wallet.Header{Kind: wallet.KindAddCurrency, Count: 1}, func(b []byte) []byte {
		return wallet.AppendAccount(b, &wallet.NewAccount{ID: w.names[account], Currency: c, Min: wallet.Unlimited})
	})
	if wallet.Code(results[0]) == wallet.Applied {
		for _, h := range w.held {
			if h.account == w.accounts[account] && h.currency == c {
				return
			}
		}
		w.held = append(w.held, heldSince{w.accounts[account], c, w.key()})
	}
}

// transfer moves money, by name or by handle.
func (w *world) transfer(from, to int, a money.Amount, c money.Currency, byName bool) {
	id := w.nextID()
	kind := wallet.KindTransfers
	body := func(b []byte) []byte {
		return wallet.AppendHandleTransfer(b, &wallet.HandleTransfer{ID: id, From: w.accounts[from], To: w.accounts[to], Amount: a, Currency: c})
	}
	if byName {
		kind = wallet.KindTransfersByName
		body = func(b []byte) []byte {
			return wallet.AppendTransfer(b, &wallet.Transfer{ID: id, From: w.names[from], To: w.names[to], Amount: a, Currency: c})
		}
	}
	results := w.apply(wallet.Header{Kind: kind, Count: 1}, body)
	if wallet.Result(results[0]) == wallet.Result(wallet.Applied) {
		w.sides(id, from, to, a, c)
	}
}

// sides notes both sides of a transfer that was applied.
func (w *world) sides(id wallet.TransactionID, from, to int, a money.Amount, c money.Currency) {
	side := func(kind wallet.EventKind, account, other wallet.Handle, a money.Amount) {
		name := fmt.Sprint(account, c)
		w.balances[name] += a
		w.pending = append(w.pending, wallet.Line{
			LineKey: w.key(), Kind: kind, Account: account, Other: other, ID: id, Currency: c, Amount: a, Balance: w.balances[name],
		})
	}
	side(wallet.Debit, w.accounts[from], w.accounts[to], -a)
	side(wallet.Credit, w.accounts[to], w.accounts[from], a)
}

// commit ends the entry. Without batches it is one of which nothing is to be decided.
func (w *world) commit(pass int64) {
	d := rsm.Decided{Index: rsm.Index(w.log.len() + 1), Term: 1, Time: w.now}
	if len(w.batches) > 0 {
		d.Entry, d.Decision = rsm.AppendEntry(nil, w.now, w.batches), rsm.AppendDecision(nil, w.decided)
	}
	w.log.append(d)
	w.lines = append(w.lines, w.pending...)
	w.batches, w.decided, w.pending = nil, nil, nil
	w.now += pass
}

// decidedLog is a log of decided entries that sources read.
type decidedLog struct {
	mu      sync.Mutex
	entries []rsm.Decided
	first   rsm.Index // that there still is
	given   rsm.Index // up to where sources give entries
	changed chan struct{}
}

func newDecidedLog() *decidedLog {
	return &decidedLog{first: 1, given: 1 << 62, changed: make(chan struct{})}
}

func (l *decidedLog) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *decidedLog) append(d rsm.Decided) { l.change(func() { l.entries = append(l.entries, d) }) }

// give lets sources give entries up to an index.
func (l *decidedLog) give(to rsm.Index) { l.change(func() { l.given = to }) }

// cut removes the entries before an index.
func (l *decidedLog) cut(first rsm.Index) { l.change(func() { l.first = first }) }

func (l *decidedLog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// source reads a decidedLog.
type source struct {
	log  *decidedLog
	next rsm.Index
}

func (s *source) Next(ctx context.Context) (rsm.Decided, error) {
	for {
		s.log.mu.Lock()
		changed := s.log.changed
		switch {
		case s.next < s.log.first:
			defer s.log.mu.Unlock()
			return rsm.Decided{}, fmt.Errorf("feed: %w", &rsm.GapError{At: s.next, Next: s.next + 1})
		case s.next <= min(s.log.given, rsm.Index(len(s.log.entries))):
			defer s.log.mu.Unlock()
			s.next++
			return s.log.entries[s.next-2], nil
		}
		s.log.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return rsm.Decided{}, ctx.Err()
		}
	}
}

func (s *source) Close() error { return nil }

// partition returns partition 0, whose entries are the log's.
func (l *decidedLog) partition() Partition {
	return Partition{Open: func(from rsm.Index) (Source, error) { return &source{l, from}, nil }}
}

// tb is what tests and rapid's have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func openStore(t tb, fs vfs.FS, w *world) *Store {
	t.Helper()
	s, err := Open("history", &Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Follow(w.log.partition()); err != nil {
		t.Fatal(err)
	}
	return s
}

// catchUp waits until the store has come to an entry.
func catchUp(t tb, s *Store, to int) {
	t.Helper()
	if err := s.Wait(context.Background(), wallet.HistoryPosition{Index: rsm.Index(to)}); err != nil {
		t.Fatal(err)
	}
}

func newTestStore(t *testing.T, w *world) *Store {
	t.Helper()
	s := openStore(t, vfs.NewMem(), w)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
