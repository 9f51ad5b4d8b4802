package walletpebble

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// nextID returns a transaction id that was not used.
func (w *world) nextID() wallet.TransactionID {
	w.ids++
	return wallet.TransactionID{1, byte(w.ids >> 16), byte(w.ids >> 8), byte(w.ids)}
}

// hold commands something about a hold, in the form of docs/format/wallet.md: 1 place,
// 2 capture, 3 release, 4 extend.
func (w *world) hold(action byte, of wallet.TransactionID, from, to wallet.AccountID, a money.Amount, expires wallet.Millis, final bool) wallet.TransactionID {
	id := w.nextID()
	var c money.Currency
	if action != 4 {
		c = usd
	}
	results := w.apply(wallet.Header{Kind: wallet.KindHolds, Count: 1}, func(b []byte) []byte {
		b = append(append(b, id[:]...), of[:]...)
		b = binary.LittleEndian.AppendUint64(b, uint64(a))
		b = binary.LittleEndian.AppendUint64(b, uint64(expires))
		b = binary.LittleEndian.AppendUint64(b, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(c))
		flag := byte(0)
		if final {
			flag = 1
		}
		b = append(b, action, flag, 0, byte(len(from)), byte(len(to)))
		return append(append(b, from...), to...)
	})
	if action == 2 && wallet.Result(results[0]) == wallet.Result(wallet.Applied) {
		w.sides(id, slices.Index(w.names, from), slices.Index(w.names, to), a, usd)
	}
	return id
}

// transact makes a transaction of two postings.
func (w *world) transact(from, to int, a money.Amount, reference string) {
	id := w.nextID()
	w.made = append(w.made, id)
	t := &wallet.Transaction{ID: id, Reference: reference, Postings: []wallet.Posting{{Account: w.names[from], Amount: -a, Currency: usd}, {Account: w.names[to], Amount: a, Currency: usd}}}
	results := w.apply(wallet.Header{Kind: wallet.KindTransactions, Count: 1}, func(b []byte) []byte { return wallet.AppendTransaction(b, t) })
	if wallet.Result(results[0]) == wallet.Result(wallet.Applied) && from != to {
		w.sides(id, from, to, a, usd)
	}
}

// reverse takes back a part of the first transaction, which had the reference order-4711.
func (w *world) reverse(from, to int, of, a money.Amount) wallet.TransactionID {
	id := w.nextID()
	first := &wallet.Transaction{ID: w.made[0], Reference: "order-4711", Postings: []wallet.Posting{{Account: w.names[from], Amount: -of, Currency: usd}, {Account: w.names[to], Amount: of, Currency: usd}}}
	t := &wallet.Transaction{ID: id, Reverses: first.Original(), Postings: []wallet.Posting{{Account: w.names[to], Amount: -a, Currency: usd}, {Account: w.names[from], Amount: a, Currency: usd}}}
	results := w.apply(wallet.Header{Kind: wallet.KindTransactions, Count: 1}, func(b []byte) []byte { return wallet.AppendTransaction(b, t) })
	if wallet.Result(results[0]) == wallet.Result(wallet.Applied) {
		w.sides(id, to, from, a, usd)
	}
	return id
}

// events returns all events of the log up to an entry, but for those that the history
// has not, with their accounts.
func (w *world) events(t tb, upTo rsm.Index) (all []wallet.PastEvent) {
	t.Helper()
	handles := map[string]wallet.Handle{}
	for _, d := range w.log.entries[:upTo] {
		err := wallet.EntryEvents(&d, func(number uint32, e *wallet.Event) error {
			if e.Kind == wallet.TransferFailed || e.Kind == wallet.TenantMade {
				return nil
			}
			v := wallet.PastEvent{LineKey: wallet.LineKey{Time: d.Time, Index: d.Index, Number: number}, Event: *e}
			v.Content, v.Command = slices.Clone(e.Content), 0
			if e.Kind == wallet.AccountOpened {
				handles[e.Name] = e.Account
			} else if v.Account == 0 {
				v.Account = handles[e.Name]
			}
			all = append(all, v)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// compareEvents reads all pages of a tenant's events, of an account's, and of
// the transactions with a reference.
func (w *world) compareEvents(t *rapid.T, s *Store, at rsm.Index) {
	all := w.events(t, at)
	limit := rapid.IntRange(2, 9).Draw(t, "events in a page")
	account := rapid.SampledFrom(w.accounts).Draw(t, "account of events")
	from := w.now - rapid.Int64Range(0, 6).Draw(t, "events from")
	if rapid.Bool().Draw(t, "events of the tenant") {
		account = 0
	}
	for _, q := range []wallet.EventQuery{{Account: account, Limit: limit}, {Account: account, Limit: limit, From: from}} {
		var want, got []wallet.PastEvent
		for _, e := range all {
			other := q.Account != 0 && e.Kind == wallet.AssetMade
			if e.Time >= q.From && (q.Account == 0 || e.Account == q.Account) && !other {
				want = append(want, e)
			}
		}
		for {
			page, err := s.Events(&q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Events) > limit || page.Next != (wallet.LineKey{}) && len(page.Events) == 0 {
				t.Fatalf("%d events, limit %d", len(page.Events), limit)
			}
			got = append(got, page.Events...)
			if page.Next == (wallet.LineKey{}) {
				break
			}
			q.After = page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("events of %+v: %s", q, diff)
		}
	}
	w.compareReferences(t, s, all, limit)
}

func (w *world) compareReferences(t *rapid.T, s *Store, all []wallet.PastEvent, limit int) {
	reference := rapid.SampledFrom([]string{"a", "aa"}).Draw(t, "reference")
	var want, got []wallet.PastTransaction
	for _, e := range all {
		if e.Kind != wallet.TransactionMade {
			continue
		}
		if sent, ok := wallet.ParseTransaction(e.Content); !ok || sent.Reference == reference {
			want = append(want, wallet.PastTransaction{LineKey: e.LineKey, Content: e.Content, Code: wallet.Applied})
		}
	}
	for q := (wallet.ReferenceQuery{Reference: reference, Limit: limit}); ; {
		page, err := s.Transactions(&q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page.Transactions...)
		if page.Next == (wallet.LineKey{}) {
			break
		}
		q.After = page.Next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("transactions with %q: %s", reference, diff)
	}
}

// TestManyEvents reads a large entry, whose events are in many rows, in pages of any
// size, and from any place in it.
func TestManyEvents(t *testing.T) {
	w := newWorld()
	transfers(w, 1)
	for range 5 * feedEvents {
		w.transfer(0, 1, 5, usd, false)
	}
	w.commit(1)
	transfers(w, 1)
	s := newTestStore(t, w)
	catchUp(t, s, w.log.len())
	want := w.events(t, rsm.Index(w.log.len()))
	w.compareIDs(t, s, rsm.Index(w.log.len())) // some of which have a row's last event and the next one's first
	for _, limit := range []int{7, feedEvents, wallet.MaxEvents} {
		for _, begin := range []int{0, 3, 4, 3 + feedEvents, 4 + feedEvents, 5 + feedEvents, len(want) - 1} {
			q := wallet.EventQuery{Limit: limit, After: want[begin].LineKey}
			var got []wallet.PastEvent
			for {
				page, err := s.Events(&q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page.Events...)
				if q.After = page.Next; page.Next == (wallet.LineKey{}) {
					break
				}
			}
			if diff := cmp.Diff(want[begin+1:], got, cmp.Transformer("none", func(e []wallet.PastEvent) int { return len(e) })); diff != "" {
				t.Errorf("limit %d, after %d: %s", limit, begin, diff)
			}
			for i := range got {
				if diff := cmp.Diff(want[begin+1+i], got[i]); diff != "" {
					t.Fatalf("limit %d, after %d: %s", limit, begin, diff)
				}
			}
		}
	}
}

// TestEndOfEvents asks where the log ends, of which the history has not taken up the last entries: they are behind all that it has
// now, and before what is decided later.
func TestEndOfEvents(t *testing.T) {
	w := newWorld()
	w.open("a", usd)
	w.open("b", usd)
	w.commit(5)
	for range 3 {
		w.transfer(0, 1, 1, usd, false)
		w.commit(5)
	}
	last := w.log.entries[w.log.len()-1]
	w.log.give(last.Index - 2) // to those who follow
	s, err := Open("history", &Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p := w.log.partition()
	follows := p.Open
	p.Applied = func() rsm.Index { return last.Index }
	p.Open = func(from rsm.Index) (Source, error) {
		if from == last.Index {
			whole := newDecidedLog()
			whole.entries = w.log.entries
			return &source{whole, from}, nil
		}
		return follows(from)
	}
	if err := s.Follow(p); err != nil {
		t.Fatal(err)
	}
	for _, upTo := range []rsm.Index{last.Index - 2, last.Index} {
		w.log.give(upTo)
		catchUp(t, s, int(upTo))
		page, err := s.Events(&wallet.EventQuery{Tenant: 0, Limit: 1, From: math.MaxInt64, End: true})
		if want := wallet.Behind(last.Time, last.Index); err != nil || page.Mark.Index != upTo || page.End != want {
			t.Errorf("at %d: it ends at %+v, %v, want %+v", page.Mark.Index, page.End, err, want)
		}
	}
	w.log.cut(last.Index + 1)
	p.Applied, p.Open = func() rsm.Index { return last.Index + 1 }, follows
	s.Leave(0)
	if err := s.Follow(p); err != nil {
		t.Fatal(err)
	}
	if page, err := s.Events(&wallet.EventQuery{Limit: 1, From: math.MaxInt64, End: true}); !errors.Is(err, wallet.ErrHistoryBehind) {
		t.Errorf("without the last entry: %+v, %v", page.End, err)
	}
}
