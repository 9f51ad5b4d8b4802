package walletpebble

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/wallet"
)

// found returns what an index by transaction id has to say: the first event of each id,
// and those of the entry that follow it with the same id.
func found(all []wallet.PastEvent) map[wallet.TransactionID][]wallet.PastEvent {
	ids := map[wallet.TransactionID][]wallet.PastEvent{}
	for _, e := range all {
		of := ids[e.ID]
		if e.ID != (wallet.TransactionID{}) && (len(of) == 0 || of[0].Index == e.Index && of[len(of)-1].Number+1 == e.Number) {
			ids[e.ID] = append(of, e)
		}
	}
	return ids
}

// compareIDs asks for every id that there was, refused ones too, and for the reversals of one.
func (w *world) compareIDs(t tb, s *Store, at rsm.Index) {
	t.Helper()
	all := w.events(t, at)
	want := found(all)
	for n := max(0, w.ids-feedEvents*6); n < w.ids; n += 1 + n%3 {
		id := wallet.TransactionID{1, byte((n + 1) >> 16), byte((n + 1) >> 8), byte(n + 1)}
		got, err := s.Find(&wallet.IDQuery{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[id], got.Events); diff != "" || got.Mark.Index != at {
			t.Fatalf("%v, up to %d: %s", id, got.Mark.Index, diff)
		}
	}
	if len(w.made) == 0 {
		return
	}
	var reversals []wallet.PastTransaction
	for _, e := range all {
		if made, ok := wallet.ParseTransaction(e.Content); ok && made.Reverses != nil && made.Reverses.ID == w.made[0] {
			reversals = append(reversals, wallet.PastTransaction{LineKey: e.LineKey, Content: e.Content, Code: wallet.Applied})
		}
	}
	page, err := s.Transactions(&wallet.ReferenceQuery{Reverses: w.made[0], Limit: wallet.MaxEvents})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reversals, page.Transactions[:min(len(page.Transactions), len(reversals)+1)]); diff != "" && len(reversals)+len(page.Transactions) > 0 {
		t.Fatalf("reversals: %s", diff)
	}
}

// TestDamagedIndex finds ids whose places are not those of their events.
func TestDamagedIndex(t *testing.T) {
	w := newWorld()
	transfers(w, 3)
	s := newTestStore(t, w)
	catchUp(t, s, w.log.len())
	id := wallet.TransactionID{1, 0, 0, 2}
	for name, value := range map[string][]byte{
		"cut short":       {1, 2, 3},
		"behind all":      appendWhere(nil, wallet.LineKey{Time: w.now, Index: 99}),
		"before all":      appendWhere(nil, wallet.LineKey{Index: 1}),
		"another's":       appendWhere(nil, wallet.LineKey{Time: 1e18 + 1, Index: 2}),
		"something after": append(appendWhere(nil, wallet.LineKey{Time: 1e18 + 2, Index: 3}), 0),
	} {
		if err := s.db.Set(idKey(0, 0, id), value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if found, err := s.Find(&wallet.IDQuery{ID: id}); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: got %+v, %v", name, found, err)
		}
	}
	if _, err := s.Find(&wallet.IDQuery{Partition: 7, ID: id}); !errors.Is(err, wallet.ErrHistoryUnavailable) {
		t.Errorf("another partition: got %v", err)
	}
}
