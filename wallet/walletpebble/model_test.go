package walletpebble

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// TestStoreAgainstModel lets a store follow a machine through crashes, restarts and
// rebuilding, and compares every kind of answer with lists.
func TestStoreAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, fs := newWorld(), vfs.NewCrashableMem()
		w.open("a", usd)
		w.open("b", usd)
		w.commit(1)
		s := openStore(t, fs, w)
		steps := map[string]func(*rapid.T){
			"entry": func(t *rapid.T) { w.random(t) },
			"restart": func(t *rapid.T) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, fs, w)
			},
			"crash": func(t *rapid.T) {
				keep := rapid.IntRange(0, 100).Draw(t, "kept of what was not synced, in per cent")
				flush := rapid.Bool().Draw(t, "flush before")
				if flush {
					catchUp(t, s, w.log.len())
					if err := s.db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				before := w.log.len()
				crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))})
				_ = s.Close() // the other one goes on
				fs = crashed
				w.log.give(0)
				s = openStore(t, fs, w)
				if at := w.compare(t, s); flush && int(at) < before {
					t.Fatalf("the store was flushed at %d, and is at %d", before, at)
				}
				w.log.give(1 << 62)
			},
			"rebuild": func(t *rapid.T) {
				if err := s.Rebuild(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			"compare": func(t *rapid.T) {
				catchUp(t, s, w.log.len())
				w.compare(t, s)
			},
			"": func(*rapid.T) {},
		}
		t.Repeat(steps)
		catchUp(t, s, w.log.len())
		w.compare(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// random makes an entry.
func (w *world) random(t *rapid.T) {
	for range rapid.IntRange(0, 5).Draw(t, "commands") {
		account := func(label string) int { return rapid.IntRange(0, len(w.accounts)-1).Draw(t, label) }
		c := rapid.SampledFrom([]money.Currency{usd, eur}).Draw(t, "currency")
		switch rapid.IntRange(0, 14).Draw(t, "command") {
		case 0:
			w.open(wallet.AccountID(rapid.StringMatching("[a-f]").Draw(t, "name")), c)
		case 1:
			w.add(account("account"), c)
		case 2, 3:
			expires := wallet.Millis(w.now/1e6) + 1 + wallet.Millis(rapid.IntRange(0, 1).Draw(t, "expires later"))
			w.holds = append(w.holds, w.hold(1, wallet.TransactionID{}, w.names[account("holder")], "", money.Amount(rapid.Int64Range(1, 1000).Draw(t, "held")), expires, false))
		case 4, 5:
			w.randomHold(t, w.names[account("holder")], w.names[account("payee")])
		case 6:
			if len(w.made) > 0 {
				w.reverse(account("from"), account("to"), 1, 1)
				continue
			}
			fallthrough
		case 7:
			w.transact(account("from"), account("to"), money.Amount(rapid.Int64Range(1, 1000).Draw(t, "amount")), rapid.SampledFrom([]string{"", "a", "aa"}).Draw(t, "reference"))
		default:
			a := money.Amount(rapid.Int64Range(0, 1000).Draw(t, "amount"))
			w.transfer(account("from"), account("to"), a, c, rapid.Bool().Draw(t, "by name"))
		}
	}
	w.commit(rapid.SampledFrom([]int64{0, 1, 2, 1e6}).Draw(t, "time"))
}

// randomHold captures, releases or extends a hold, if there is one.
func (w *world) randomHold(t *rapid.T, holder, payee wallet.AccountID) {
	if len(w.holds) == 0 {
		return
	}
	of, a := rapid.SampledFrom(w.holds).Draw(t, "hold"), money.Amount(rapid.Int64Range(0, 500).Draw(t, "of the hold"))
	switch action := byte(rapid.IntRange(2, 4).Draw(t, "action")); action {
	case 2:
		w.hold(action, of, holder, payee, a, 0, rapid.Bool().Draw(t, "final"))
	case 3:
		w.hold(action, of, holder, "", a, 0, false)
	case 4:
		w.hold(action, of, holder, "", 0, wallet.Millis(w.now/1e6)+3, false)
	}
}

// compare compares a store's answers with the lists, as they were at the entry at
// which the store is.
func (w *world) compare(t *rapid.T, s *Store) rsm.Index {
	f, err := s.follower(0)
	if err != nil {
		t.Fatal(err)
	}
	mark, _ := f.state()
	upTo := func(k wallet.LineKey) bool { return k.Index <= mark.Index }
	from := w.now - rapid.Int64Range(0, 6).Draw(t, "from")
	to := from + rapid.Int64Range(0, 6).Draw(t, "to")
	newest, limit := rapid.Bool().Draw(t, "newest first"), rapid.IntRange(1, 4).Draw(t, "limit")
	some := rapid.IntRange(0, len(w.accounts)-1).Draw(t, "account")
	for _, h := range w.accounts[some:min(some+2, len(w.accounts))] {
		q := wallet.LineQuery{Account: h, Limit: limit, Newest: newest}
		w.compareLines(t, s, q, upTo)
		q.From, q.To, q.Currency = from, to, usd
		w.compareLines(t, s, q, upTo)
		w.compareStatement(t, s, q, upTo)
		q = wallet.LineQuery{Account: h, Limit: limit, Newest: newest, Other: w.accounts[0], Direction: wallet.Outgoing}
		w.compareLines(t, s, q, upTo)
		for _, at := range []int64{from, to, math.MaxInt64} {
			w.compareBalances(t, s, h, at, upTo)
		}
	}
	w.compareTurnover(t, s, upTo)
	w.compareEvents(t, s, mark.Index)
	w.compareIDs(t, s, mark.Index)
	return mark.Index
}

// compareLines reads all pages.
func (w *world) compareLines(t *rapid.T, s *Store, q wallet.LineQuery, upTo func(wallet.LineKey) bool) {
	var want, got []wallet.Line
	for _, l := range w.lines {
		if l.Account == q.Account && upTo(l.LineKey) && l.Time >= q.From && (q.To == 0 || l.Time < q.To) &&
			(q.Currency == 0 || l.Currency == q.Currency) && (q.Other == 0 || l.Other == q.Other) && (q.Direction != wallet.Outgoing || l.Amount < 0) {
			want = append(want, l)
		}
	}
	if q.Newest {
		slices.Reverse(want)
	}
	for {
		page, err := s.Lines(&q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Lines) > q.Limit {
			t.Fatalf("%d lines, limit %d", len(page.Lines), q.Limit)
		}
		got = append(got, page.Lines...)
		if page.Next == (wallet.LineKey{}) {
			break
		}
		q.After = page.Next
	}
	for i := range got {
		got[i].Number = 0 // the model does not number events
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("lines of %+v: %s", q, diff)
	}
}

// balance returns what the lists say that an account held.
func (w *world) balance(h wallet.Handle, c money.Currency, at int64, upTo func(wallet.LineKey) bool) (a money.Amount) {
	for _, l := range w.lines {
		if l.Account == h && l.Currency == c && l.Time <= at && upTo(l.LineKey) {
			a += l.Amount
		}
	}
	return a
}

func (w *world) compareBalances(t *rapid.T, s *Store, h wallet.Handle, at int64, upTo func(wallet.LineKey) bool) {
	var want []wallet.PastBalance
	for _, held := range w.held {
		if held.account == h && held.since.Time <= at && upTo(held.since) {
			want = append(want, wallet.PastBalance{Currency: held.currency, Amount: w.balance(h, held.currency, at, upTo)})
		}
	}
	slices.SortFunc(want, func(a, b wallet.PastBalance) int { return int(a.Currency) - int(b.Currency) })
	got, err := s.BalancesAt(h, at)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Balances); diff != "" {
		t.Fatalf("balances of %d at %d: %s", h, at, diff)
	}
}

func (w *world) compareStatement(t *rapid.T, s *Store, q wallet.LineQuery, upTo func(wallet.LineKey) bool) {
	q.Newest, q.Limit = false, wallet.MaxHistoryLines
	got, err := s.Statement(&q)
	if err != nil {
		t.Fatal(err)
	}
	opening, closing := w.balance(q.Account, usd, q.From-1, upTo), w.balance(q.Account, usd, max(q.To-1, q.From-1), upTo)
	if got.Opening != opening || got.Closing != closing {
		t.Fatalf("statement of %+v: from %d to %d, want %d, %d", q, got.Opening, got.Closing, opening, closing)
	}
	sum := got.Opening
	for _, l := range got.Lines {
		if sum += l.Amount; sum != l.Balance {
			t.Fatalf("statement of %+v: %d at %+v", q, sum, l)
		}
	}
	if sum != got.Closing || got.Complete && got.Mark.Time < q.To {
		t.Fatalf("statement of %+v: the lines end at %d, it at %d; complete %v", q, sum, got.Closing, got.Complete)
	}
}

func (w *world) compareTurnover(t *rapid.T, s *Store, upTo func(wallet.LineKey) bool) {
	want := map[money.Currency]*wallet.CurrencyTurnover{}
	for _, held := range w.held {
		if upTo(held.since) {
			if want[held.currency] == nil {
				want[held.currency] = &wallet.CurrencyTurnover{Currency: held.currency}
			}
			want[held.currency].Balances++
			if a := w.balance(held.account, held.currency, math.MaxInt64, upTo); a < 0 {
				want[held.currency].Issued = sum(want[held.currency].Issued, a)
			}
		}
	}
	for _, l := range w.lines {
		if upTo(l.LineKey) {
			t := want[l.Currency]
			t.Lines++
			if l.Amount < 0 {
				t.Debited = sum(t.Debited, l.Amount)
			}
		}
	}
	got, err := s.Turnover(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[money.Currency]*wallet.CurrencyTurnover{}
	for i := range got.Currencies {
		all[got.Currencies[i].Currency] = &got.Currencies[i]
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Fatal(diff)
	}
}

// sum adds a small amount to a small sum.
func sum(s wallet.Sum, a money.Amount) wallet.Sum {
	n := int64(s.Lo) + int64(a)
	return wallet.Sum{Hi: uint64(n >> 63), Lo: uint64(n)}
}
