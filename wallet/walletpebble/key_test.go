package walletpebble

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/wallet"
)

var update = flag.Bool("update", false, "write the golden file anew")

// goldenWorld has something of everything.
func goldenWorld() *world {
	w := newWorld()
	transfers(w, 2)
	w.add(0, eur)
	w.transfer(1, 0, 300, usd, true)
	w.commit(1)
	w.hold(1, wallet.TransactionID{}, "a", "b", 7, wallet.Millis(w.now/1e6)+1, false)
	w.transact(0, 1, 20, "order-4711")
	w.commit(1)
	hold := w.hold(1, wallet.TransactionID{}, "b", "", 50, wallet.Millis(w.now/1e6)+9, false)
	w.hold(2, hold, "b", "a", 10, 0, false)
	w.hold(3, hold, "b", "", 5, 0, false)
	w.hold(4, hold, "b", "", 0, wallet.Millis(w.now/1e6)+8, false)
	w.commit(1)
	w.hold(2, hold, "b", "a", 20, 0, true)
	w.reverse(0, 1, 20, 4)
	w.reverse(0, 1, 20, 20)
	w.reverse(0, 1, 20, 16)
	w.commit(1)
	return w
}

// allRows returns every row of a store, in hexadecimal digits.
func allRows(t *testing.T, s *Store) string {
	t.Helper()
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&rows, "%x %x\n", it.Key(), it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return rows.String()
}

// TestGolden compares every row of a small store with those that an earlier program wrote.
func TestGolden(t *testing.T) {
	w := goldenWorld()
	s := newTestStore(t, w)
	catchUp(t, s, w.log.len())
	rows := allRows(t, s)
	const name = "testdata/store.golden"
	if *update {
		if err := os.WriteFile(name, []byte(rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), rows); diff != "" {
		t.Errorf("rows (-want +got): with another format the version has to change\n%s", diff)
	}
}

// FuzzRows reads any rows: as what they are, or as corrupt.
func FuzzRows(f *testing.F) {
	k := wallet.LineKey{Time: 5, Index: 6, Number: 7}
	f.Add(lineKey(nil, 1<<48+2, usd, k), appendLine(nil, &wallet.Event{Kind: wallet.Debit, Other: 9, ID: wallet.TransactionID{1}, Amount: -5, Balance: 7}))
	f.Add(turnoverKey(nil, 1, 2, usd), appendTurnover(nil, &wallet.CurrencyTurnover{Balances: 1}))
	held := &wallet.Event{Kind: wallet.HoldPlaced, Account: 3, Hold: wallet.TransactionID{2}, Amount: 5, Held: 5, Left: 5, Expires: 9, Currency: usd, Name: "b"}
	f.Add(feedKey(nil, 1, 2, k), appendEvent([]byte{0}, held, &wallet.Event{}))
	f.Add(noteKey(nil, 3, k), appendEvent(nil, held, &wallet.Event{}))
	f.Add(appendPlace(referencePrefix(nil, 1, 2, "order"), k), make([]byte, 40))
	f.Add(idKey(1, 2, wallet.TransactionID{3}), appendWhere(nil, k))
	f.Add(appendPlace(reversalPrefix(nil, 1, 2, wallet.TransactionID{3}), k), make([]byte, 40))
	f.Add([]byte{keyMark, 0, 1}, appendMark(nil, &wallet.HistoryMark{First: 3}))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if l, err := parseLine(key, value); err == nil {
			again := appendLine(nil, &wallet.Event{Kind: l.Kind, Other: l.Other, ID: l.ID, Amount: l.Amount, Balance: l.Balance})
			same, err := parseLine(lineKey(nil, l.Account, l.Currency, l.LineKey), again)
			if diff := cmp.Diff(l, same); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		} else if !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
		if all, err := parseFeed(key, value); err == nil {
			before := &wallet.Event{}
			for i := range all {
				p := eventParser{b: appendEvent(nil, &all[i].Event, before)}
				if diff := cmp.Diff(all[i].Event, p.event(before)); diff != "" || p.bad || len(p.b) > 0 {
					t.Error(diff)
				}
				before = &all[i].Event
			}
		} else if !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
		if _, err := parseNote(key, value); err != nil && !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
		if _, err := parseReference(key, value); err != nil && !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
		if _, err := parseTurnover(key, value); err != nil && !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
		if k, err := parseWhere(value); err == nil {
			if again, err := parseWhere(appendWhere(nil, k)); again != k || err != nil {
				t.Errorf("%+v became %+v, %v", k, again, err)
			}
		} else if !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
		if _, err := parseMark(1, value); err != nil && !errors.Is(err, errCorrupt) {
			t.Error(err)
		}
	})
}
