package walletpebble

import (
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
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

// putRows makes a store of rows in hexadecimal digits.
func putRows(t *testing.T, fs *vfs.MemFS, rows string, but ...byte) {
	t.Helper()
	db, err := pebble.Open("history", &pebble.Options{FS: fs, Logger: logger{}, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(rows) {
		first, second, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, err := hex.DecodeString(first)
		value, err2 := hex.DecodeString(second)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(but, key[0]) {
			continue
		}
		if err := db.Set(key, value, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOlderStore opens the store of a program that had no index by transaction id, whose log is gone: the index is
// made of what the store has, whether that is tried for the first time or was interrupted.
func TestOlderStore(t *testing.T) {
	old, err := os.ReadFile("testdata/store-3.golden")
	want, err2 := os.ReadFile("testdata/store.golden")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, begun := range []bool{false, true} {
		fs, w := vfs.NewMem(), goldenWorld()
		last := w.log.len()
		w.log.cut(rsm.Index(last + 1))
		if begun {
			putRows(t, fs, string(want))
		}
		putRows(t, fs, string(old))
		s := openStore(t, fs, w)
		w.commit(1) // when it is taken up, the index is there
		catchUp(t, s, w.log.len())
		w.compareIDs(t, s, rsm.Index(w.log.len()))
		mark := func(rows string) string { // which has moved
			return strings.Join(slices.DeleteFunc(strings.Split(rows, "\n"), func(row string) bool { return strings.HasPrefix(row, "6d") }), "\n")
		}
		if diff := cmp.Diff(mark(string(want)), mark(allRows(t, s))); diff != "" {
			t.Errorf("begun before: %v; rows (-want +got)\n%s", begun, diff)
		}
		if m := s.Metrics(); m.Wiped != 0 || m.Rebuilt != 0 {
			t.Errorf("it was made anew: %+v", m)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIndexBeingMade asks before the index of an older store is there, and lets such a store be made anew.
func TestIndexBeingMade(t *testing.T) {
	old, err := os.ReadFile("testdata/store-3.golden")
	if err != nil {
		t.Fatal(err)
	}
	fs, w := vfs.NewMem(), goldenWorld()
	putRows(t, fs, string(old))
	s, err := Open("history", &Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	value, err := s.markValue(0)
	if err != nil || marked(value) {
		t.Fatalf("mark %x, %v", value, err)
	}
	f := &follower{s: s, p: Partition{}, ended: make(chan struct{})} // it does not run
	s.followers[0] = f
	for name, ask := range map[string]func() error{
		"an id": func() error { _, err := s.Find(&wallet.IDQuery{ID: w.made[0]}); return err },
		"reversals": func() error {
			_, err := s.Transactions(&wallet.ReferenceQuery{Reverses: w.made[0], Limit: 1})
			return err
		},
	} {
		if err := ask(); !errors.Is(err, wallet.ErrHistoryUnavailable) || !strings.Contains(err.Error(), "is being made") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	delete(s.followers, 0)
	if err := s.Follow(w.log.partition()); err != nil {
		t.Fatal(err)
	}
	if err := s.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	catchUp(t, s, w.log.len())
	w.compareIDs(t, s, rsm.Index(w.log.len()))
	if err := s.Close(); err != nil {
		t.Fatal(err)
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
