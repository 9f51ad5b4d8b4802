package rsmarchive

import (
	"errors"
	"testing"

	"maru.example/rsm"
)

// TestAdd makes segments for somebody else, who checks them and puts them into a store.
func TestAdd(t *testing.T) {
	store, at := newDir(), Position{Link: of.Origin()}
	all := decidedBy(1, 1, 60, 5)
	var last []byte
	for from := 0; from < len(all); from += 20 {
		taken := &Taken{}
		w := NewWriter(taken, of, at, nil)
		write(t, w, all[from:from+20])
		if err := w.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), taken.Content...)
		bad[headerBytes+40] ^= 1
		if _, err := Add(t.Context(), store, of, at, bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("damaged: %v", err)
		}
		if _, err := Add(t.Context(), store, Chained{"other", 1}, at, taken.Content); !errors.Is(err, ErrConflict) {
			t.Errorf("of another cluster: %v", err)
		}
		if last != nil {
			if _, err := Add(t.Context(), store, of, at, last); !errors.Is(err, ErrDamaged) {
				t.Errorf("the segment before: %v", err)
			}
		}
		forked := at
		forked.Link[0] ^= 1
		if _, err := Add(t.Context(), store, of, forked, taken.Content); !errors.Is(err, ErrConflict) {
			t.Errorf("of another past: %v", err)
		}
		next, err := Add(t.Context(), store, of, at, taken.Content)
		if err != nil || next != w.Sealed() {
			t.Fatalf("ends at %+v, %v, want %+v", next, err, w.Sealed())
		}
		if _, err := Add(t.Context(), store, of, at, taken.Content); !errors.Is(err, ErrExists) {
			t.Errorf("twice: %v", err)
		}
		at, last = next, taken.Content
	}
	got, err := read(t, openArchive(t, store), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, all)
	if r := verify(t, store, nil); r.Found > 0 || r.Segments != 3 {
		t.Errorf("%d segments, found %v", r.Segments, described(r))
	}
}

// TestAddBehind adds a segment behind entries that nobody has: the archive says so, and goes on.
func TestAddBehind(t *testing.T) {
	all := decidedBy(1, 1, 60, 5)
	store, begin := newDir(), Position{Link: of.Origin()}
	segment := func(at Position, entries []rsm.Decided) []byte {
		t.Helper()
		taken := &Taken{}
		w := NewWriter(taken, of, at, nil)
		write(t, w, entries)
		if err := w.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		return taken.Content
	}
	at, err := Add(t.Context(), store, of, begin, segment(begin, all[:1]))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"of another gap":  segment(at.Skip(30), all[29:40]),
		"without the gap": segment(begin, all[:20]),
	} {
		if _, err := AddBehind(t.Context(), store, of, at, 21, content); !errors.Is(err, ErrConflict) && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if at, err = AddBehind(t.Context(), store, of, at, 21, segment(at.Skip(21), all[20:40])); err != nil {
		t.Fatal(err)
	}
	if at, err = Add(t.Context(), store, of, at, segment(at, all[40:])); err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, store)
	if end, err := a.End(t.Context()); err != nil || end != at || a.Begins() != all[0].Index {
		t.Errorf("it begins with entry %d and ends at %+v, %v, want %+v", a.Begins(), end, err, at)
	}
	got, err := read(t, a, 21, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, all[20:])
	whole := NewChain(begin)
	for i := range all {
		if err := whole.Append(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	// What knows of the missing entries cannot be compared; what was made of this archive can.
	r, err := a.Verify(t.Context(), &VerifyOptions{Expected: []Expected{{whole.At().Index, whole.At().Link, "whole"}}})
	if err != nil || r.Found != 1 || len(r.Incomparable) != 1 || len(r.Matched) != 0 {
		t.Errorf("a checkpoint of a whole archive: %+v, %v", r, err)
	}
	r, err = a.Verify(t.Context(), &VerifyOptions{Expected: []Expected{{at.Index, at.Link, "own"}, {at.Index, Link{1}, "after it"}}})
	if err != nil || r.Found != 2 || len(r.Matched) != 1 || len(r.Incomparable) != 0 {
		t.Errorf("its own checkpoint, and another after it: %+v, %v", r, err)
	}
	if r := verify(t, store, nil); r.Found != 1 || r.Findings[0].Kind != Gap || r.Findings[0].First != 2 || r.Findings[0].Last != 20 {
		t.Errorf("found %v", described(r))
	}
}
