package walletpebble

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/wallet"
)

// transfers makes two accounts and entries with a transfer each, one nanosecond apart.
func transfers(w *world, n int) {
	if len(w.accounts) == 0 {
		w.open("a", usd)
		w.open("b", usd)
		w.commit(1)
	}
	for range n {
		w.transfer(0, 1, 5, usd, false)
		w.commit(1)
	}
}

func countLines(t *testing.T, s *Store, h wallet.Handle) (n int) {
	t.Helper()
	page, err := s.Lines(&wallet.LineQuery{Account: h, Limit: wallet.MaxHistoryLines})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Lines)
}

// TestGap follows a log whose beginning is gone.
func TestGap(t *testing.T) {
	w := newWorld()
	transfers(w, 10)
	w.log.cut(6) // the sixth entry is the fifth transfer
	s := newTestStore(t, w)
	catchUp(t, s, w.log.len())
	begin := w.log.entries[5].Time
	for name, ask := range map[string]func() error{
		"lines":             func() error { _, err := s.Lines(&wallet.LineQuery{Account: 1, Limit: 1}); return err },
		"lines just before": func() error { _, err := s.Lines(&wallet.LineQuery{Account: 1, Limit: 1, From: begin - 1}); return err },
		// What is missing may have happened at the same time.
		"lines of that time":  func() error { _, err := s.Lines(&wallet.LineQuery{Account: 1, Limit: 1, From: begin}); return err },
		"events of that time": func() error { _, err := s.Events(&wallet.EventQuery{Account: 1, Limit: 1, From: begin}); return err },
		"events behind what is missing": func() error {
			_, err := s.Events(&wallet.EventQuery{Limit: 1, After: wallet.LineKey{Time: begin, Index: 5}})
			return err
		},
		"statement of that time": func() error {
			_, err := s.Statement(&wallet.LineQuery{Account: 1, Limit: 1, Currency: usd, From: begin})
			return err
		},
		"balances": func() error { _, err := s.BalancesAt(1, begin-1); return err },
		"statement": func() error {
			_, err := s.Statement(&wallet.LineQuery{Account: 1, Limit: 1, Currency: usd})
			return err
		},
		"turnover":        func() error { _, err := s.Turnover(0, 0); return err },
		"events":          func() error { _, err := s.Events(&wallet.EventQuery{Limit: 1}); return err },
		"events of one":   func() error { _, err := s.Events(&wallet.EventQuery{Account: 1, Limit: 1}); return err },
		"an id of before": func() error { _, err := s.Find(&wallet.IDQuery{ID: wallet.TransactionID{1, 0, 0, 4}}); return err },
		"reversals": func() error {
			_, err := s.Transactions(&wallet.ReferenceQuery{Reverses: wallet.TransactionID{1}, Limit: 1})
			return err
		},
		"transactions": func() error { _, err := s.Transactions(&wallet.ReferenceQuery{Reference: "a", Limit: 1}); return err },
	} {
		if err := ask(); !errors.Is(err, wallet.ErrHistoryUnavailable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	got, err := s.BalancesAt(1, begin)
	if err != nil || len(got.Balances) != 1 || got.Balances[0].Amount != -25 || !got.Partial {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := s.BalancesAt(3, begin); !errors.Is(err, wallet.ErrHistoryUnavailable) {
		t.Errorf("an account that has not changed: got %+v, %v", got, err)
	}
	if st, err := s.Statement(&wallet.LineQuery{Account: 1, Limit: 1, Currency: eur, From: begin + 1}); !errors.Is(err, wallet.ErrHistoryUnavailable) {
		t.Errorf("a statement of a currency that has not changed: got %+v, %v", st, err)
	}
	w.open("c", usd)
	w.commit(1)
	catchUp(t, s, w.log.len())
	opened := w.accounts[2]
	got, err = s.BalancesAt(opened, w.now)
	if err != nil || len(got.Balances) != 1 || got.Balances[0].Amount != 0 || got.Partial {
		t.Errorf("opened since: got %+v, %v", got, err)
	}
	st, err := s.Statement(&wallet.LineQuery{Account: 1, Limit: 100, Currency: usd, From: begin + 1})
	if err != nil || st.Opening != -25 || st.Closing != -50 || len(st.Lines) != 5 || st.Lines[0].Balance != -30 {
		t.Errorf("got %+v, %v", st, err)
	}
	events, err := s.Events(&wallet.EventQuery{Account: 1, Limit: 100, After: wallet.LineKey{Time: begin, Index: 6}})
	if err != nil || len(events.Events) != 5 {
		t.Errorf("events behind the first entry: got %+v, %v", events, err)
	}
	if found, err := s.Find(&wallet.IDQuery{ID: wallet.TransactionID{1, 0, 0, 5}}); err != nil || len(found.Events) != 2 {
		t.Errorf("the id of the first transfer that there is: got %+v, %v", found, err)
	}
	if m := s.Metrics(); m.Rebuilt != 1 || m.Partitions[0].First != 6 {
		t.Errorf("got %+v", m)
	}
}

// TestAnotherVersion opens what another program wrote, and what is damaged.
func TestAnotherVersion(t *testing.T) {
	w := newWorld()
	transfers(w, 3)
	for name, spoil := range map[string]func(t *testing.T, fs *vfs.MemFS){
		"older":            func(t *testing.T, fs *vfs.MemFS) { putVersion(t, fs, formatVersion-1) },
		"newer":            func(t *testing.T, fs *vfs.MemFS) { putVersion(t, fs, formatVersion+1) },
		"damaged manifest": func(t *testing.T, fs *vfs.MemFS) { spoilFiles(t, fs, "MANIFEST") },
		"wiped": func(t *testing.T, fs *vfs.MemFS) {
			if err := fs.RemoveAll("history"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := openStore(t, fs, w)
			catchUp(t, s, w.log.len())
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			spoil(t, fs)
			s = openStore(t, fs, w)
			catchUp(t, s, w.log.len())
			if n := countLines(t, s, 1); n != 3 {
				t.Errorf("got %d lines", n)
			}
			if m := s.Metrics(); (m.Wiped == 1) != (name != "wiped") {
				t.Errorf("got %+v", m)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// putVersion makes a store one of another version.
func putVersion(t *testing.T, fs *vfs.MemFS, version byte) {
	t.Helper()
	db, err := pebble.Open("history", &pebble.Options{FS: fs, Logger: logger{}, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte{keyVersion}, []byte{0, 0, 0, version}, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// spoilFiles overwrites the files whose names begin so.
func spoilFiles(t *testing.T, fs *vfs.MemFS, begin string) {
	t.Helper()
	names, err := fs.List("history")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, begin) {
			continue
		}
		f, err := fs.Create(fs.PathJoin("history", name), vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.Write([]byte("this is no manifest, and long enough to be read as one"))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWait waits for what is not there yet, and is told how far behind it is.
func TestWait(t *testing.T) {
	w := newWorld()
	transfers(w, 3)
	w.log.give(2)
	s := newTestStore(t, w)
	catchUp(t, s, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Wait(ctx, wallet.HistoryPosition{Index: 4})
	if !errors.Is(err, wallet.ErrHistoryBehind) || !strings.Contains(err.Error(), "at 0:2, 2 entries before 0:4") {
		t.Errorf("got %v", err)
	}
	if err := s.Wait(ctx, wallet.HistoryPosition{Partition: 3, Index: 1}); !errors.Is(err, wallet.ErrHistoryUnavailable) {
		t.Errorf("another partition: got %v", err)
	}
	done := make(chan error)
	go func() { done <- s.Wait(t.Context(), wallet.HistoryPosition{Index: 4}) }()
	w.log.give(4)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPagesWhileItGrows reads by cursor while lines are added: none is missed or comes twice.
func TestPagesWhileItGrows(t *testing.T) {
	for name, newest := range map[string]bool{"oldest first": false, "newest first": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			transfers(w, 20)
			s := newTestStore(t, w)
			catchUp(t, s, w.log.len())
			q := wallet.LineQuery{Account: 2, Limit: 3, Newest: newest}
			var seen []wallet.Line
			for {
				page, err := s.Lines(&q)
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, page.Lines...)
				if page.Next == (wallet.LineKey{}) {
					break
				}
				q.After = page.Next
				if w.log.len() < 30 {
					transfers(w, 1)
					catchUp(t, s, w.log.len())
				}
			}
			want := 20
			if !newest {
				want = 29
			}
			if len(seen) != want {
				t.Fatalf("got %d lines, want %d", len(seen), want)
			}
			for i := 1; i < len(seen); i++ {
				if (seen[i].Compare(seen[i-1].LineKey) > 0) == newest {
					t.Errorf("line %d is out of order", i)
				}
			}
		})
	}
}

// TestBalancesInFiles asks for what was at each moment and just before it, once the lines are in several files and many blocks: no
// block is passed over that has the answer.
func TestBalancesInFiles(t *testing.T) {
	const lines, batch = 3000, 500
	w := newWorld()
	s := newTestStore(t, w)
	for range lines / batch {
		transfers(w, batch)
		catchUp(t, s, w.log.len())
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range w.log.entries[1:] {
		want := money.Amount(5 * i)
		for at, want := range map[int64]money.Amount{e.Time - 1: want, e.Time: want + 5} {
			got, err := s.BalancesAt(2, at)
			if err != nil || len(got.Balances) != 1 || got.Balances[0].Amount != want {
				t.Fatalf("after entry %d, at %d: got %+v, %v, want %d", e.Index, at, got, err, want)
			}
		}
	}
	if past, err := s.BalancesAt(2, w.log.entries[0].Time-1); err != nil || len(past.Balances) != 0 {
		t.Errorf("before it was opened: got %+v, %v", past, err)
	}
	tables, err := s.db.SSTables(pebble.WithProperties())
	if err != nil {
		t.Fatal(err)
	}
	blocks := uint64(0)
	for _, level := range tables {
		for _, table := range level {
			blocks += table.Properties.NumDataBlocks
		}
	}
	if blocks < 5 {
		t.Errorf("the lines are in %d blocks: too few to pass over one", blocks)
	}
}

// TestBusy makes the store hold back while the wallet is busy; it still gets on.
func TestBusy(t *testing.T) {
	w := newWorld()
	transfers(w, 50)
	var asked sync.Map
	s, err := Open("history", &Options{FS: vfs.NewMem(), Share: 0.9, Busy: func() bool { asked.Store(true, true); return true }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Follow(w.log.partition()); err != nil {
		t.Fatal(err)
	}
	catchUp(t, s, w.log.len())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := asked.Load(true); !ok {
		t.Error("nobody asked whether the wallet is busy")
	}
}

// TestClosed asks a closed store.
func TestClosed(t *testing.T) {
	w := newWorld()
	transfers(w, 1)
	s := openStore(t, vfs.NewMem(), w)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BalancesAt(1, math.MaxInt64); !errors.Is(err, wallet.ErrHistoryUnavailable) {
		t.Errorf("got %v", err)
	}
	if m := s.Metrics(); m.Bytes != 0 {
		t.Errorf("got %+v", m)
	}
	if err := s.Follow(w.log.partition()); err == nil {
		t.Error("a closed store follows")
	}
}

// TestKeep tells the source what it has to keep: never more than is safe.
func TestKeep(t *testing.T) {
	w := newWorld()
	transfers(w, 5)
	kept := make(chan rsm.Index, 100)
	s, err := Open("history", &Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	p := w.log.partition()
	p.Keep = func(from rsm.Index) { kept <- from }
	if err := s.Follow(p); err != nil {
		t.Fatal(err)
	}
	catchUp(t, s, w.log.len())
	if from := <-kept; from != 1 {
		t.Errorf("before anything is safe: kept from %d", from)
	}
	f, err := s.follower(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if at, err := f.durable(); at != rsm.Index(w.log.len()) || err != nil {
		t.Errorf("after a flush: got %d, %v", at, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkFollow measures how fast a store that is asked for nothing takes up transfers.
func BenchmarkFollow(b *testing.B) {
	w := newWorld()
	transfers(w, 0)
	for range 20_000 {
		for range 10 {
			w.transfer(0, 1, 5, usd, false)
		}
		w.commit(1)
	}
	b.ResetTimer()
	for b.Loop() {
		s := openStore(b, vfs.NewMem(), w)
		began := time.Now()
		catchUp(b, s, w.log.len())
		b.ReportMetric(200_000/time.Since(began).Seconds(), "transfers/s")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDecided asks a store that is behind, whose answers say of what.
func TestDecided(t *testing.T) {
	w := newWorld()
	transfers(w, 3)
	w.log.give(2)
	s, err := Open("history", &Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	p := w.log.partition()
	p.Applied = func() rsm.Index { return rsm.Index(w.log.len()) }
	if err := s.Follow(p); err != nil {
		t.Fatal(err)
	}
	catchUp(t, s, 2)
	past, err := s.BalancesAt(1, w.now)
	if err != nil || past.Mark.Index != 2 || int(past.Decided) != w.log.len() {
		t.Errorf("balances: got %+v, %v, want it at 2 of %d", past, err, w.log.len())
	}
	st, err := s.Statement(&wallet.LineQuery{Account: 1, Limit: 1, Currency: usd, To: w.now})
	if err != nil || st.Mark.Index != 2 || int(st.Decided) != w.log.len() {
		t.Errorf("statement: got %+v, %v, want it at 2 of %d", st, err, w.log.len())
	}
}
