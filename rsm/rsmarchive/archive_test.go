package rsmarchive

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
)

func TestRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name      string
		n         int
		transfers int
		segment   int64
	}{
		{"one entry", 1, 10, 0},
		{"one segment", 50, 20, 0},
		{"many segments", 400, 10, 4 << 10},
		{"a segment for each entry", 30, 5, 1},
		{"many frames", 10, 2000, 0},
		{"large batches, many segments", 5, 4096, 1 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := newDir()
			all := decidedBy(1, 1, tt.n, tt.transfers)
			end := fill(t, store, tt.segment, all)
			a := openArchive(t, store)
			got, err := read(t, a, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			wantEntries(t, got, all)
			r := verify(t, store, nil)
			if r.Found != 0 || r.End != end || r.Entries != uint64(tt.n) || r.Segments != a.Segments() {
				t.Errorf("got %+v with %v, want nothing found, and the end at %+v", r, described(r), end)
			}
		})
	}
}

func TestReadPart(t *testing.T) {
	store := newDir()
	all := decidedBy(2, 1, 200, 300)
	fill(t, store, 1<<20, all)
	a := openArchive(t, store)
	if a.Segments() < 3 {
		t.Fatalf("%d segments, want several", a.Segments())
	}
	for _, tt := range []struct{ from, to rsm.Index }{
		{1, 1}, {0, 3}, {200, 200}, {200, 0}, {57, 133}, {2, 199}, {100, 100}, {150, 0},
	} {
		got, err := read(t, a, tt.from, tt.to)
		if err != nil {
			t.Fatalf("%d to %d: %v", tt.from, tt.to, err)
		}
		last := tt.to
		if last == 0 {
			last = 200
		}
		wantEntries(t, got, all[max(tt.from, 1)-1:last])
	}
}

func TestReadPastTheEnd(t *testing.T) {
	store := newDir()
	all := decidedBy(2, 1, 20, 10)
	fill(t, store, 0, all)
	got, err := read(t, openArchive(t, store), 15, 25)
	var x *Finding
	if !errors.As(err, &x) || x.Kind != Missing || x.First != 21 || x.Last != 25 || !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want that 21 to 25 are missing", err)
	}
	wantEntries(t, got, all[14:])
}

func TestReadEndsWithItsCallersError(t *testing.T) {
	store := newDir()
	fill(t, store, 1<<10, decidedBy(2, 1, 100, 10))
	enough := errors.New("enough")
	n := 0
	err := openArchive(t, store).Read(t.Context(), 1, 0, func(*rsm.Decided) error {
		if n++; n == 30 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 30 {
		t.Errorf("got %v after %d entries, want %v after 30", err, n, enough)
	}
}

func TestEmptyArchive(t *testing.T) {
	a := openArchive(t, newDir())
	end, err := a.End(t.Context())
	if want := (Position{Link: of.Origin()}); end != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", end, err, want)
	}
	if i, err := a.Seek(t.Context(), 5); i != 0 || err != nil {
		t.Errorf("seek: got %d, %v, want 0", i, err)
	}
	if r := verify(t, newDir(), nil); r.Found != 0 || r.Entries != 0 {
		t.Errorf("got %+v, want an empty report", r)
	}
	var x *Finding
	if _, err := read(t, a, 1, 0); !errors.As(err, &x) || x.Kind != Missing {
		t.Errorf("got %v, want that all is missing", err)
	}
}

func TestSeek(t *testing.T) {
	store := newDir()
	all := decidedBy(3, 1, 200, 200)
	fill(t, store, 1<<20, all)
	a := openArchive(t, store)
	for _, i := range []int{0, 1, 57, 128, 198, 199} {
		for _, off := range []int64{-1, 0, 1} {
			at := all[i].Time + off
			got, err := a.Seek(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.IndexFunc(all, func(d rsm.Decided) bool { return d.Time >= at })
			if want < 0 {
				if got != 0 {
					t.Errorf("after the last: got %d, want 0", got)
				}
				continue
			}
			if first := all[want].Index; got == 0 || got > first || first-got > 100 {
				t.Errorf("seek %d: got %d, want a little before %d", at, got, first)
			}
		}
	}
}

func TestReplicasMakeTheSameSegments(t *testing.T) {
	const age = 7 * time.Microsecond // 7 entries
	all := decidedBy(4, 1, 100, 20)
	for _, opts := range []WriterOptions{{SegmentBytes: 8 << 10}, {SegmentBytes: 8 << 10, SegmentAge: age}} {
		t.Run(fmt.Sprint(opts.SegmentAge), func(t *testing.T) {
			replica := func(store Store, from, restart int) {
				for at := from; at <= 100; {
					w, err := OpenWriter(t.Context(), store, of, &opts)
					if err != nil {
						t.Fatal(err)
					}
					if at = int(w.Next()); at < from {
						at = from
						if err := w.Gap(rsm.Index(from)); err != nil {
							t.Fatal(err)
						}
					}
					write(t, w, all[at-1:min(at-1+restart, 100)])
					if at = int(w.Next()); at > 100 {
						if err := w.Seal(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			one, other, late := objects{}, objects{}, objects{}
			replica(one, 1, 100)
			replica(other, 1, 16) // one that is begun anew all the time
			if diff := cmp.Diff(one, other); diff != "" {
				t.Errorf("archives differ (-one +other):\n%.2000s", diff)
			}
			if opts.SegmentAge == 0 {
				return
			}
			replica(late, 5, 100) // one that lacks the first entries has the same cuts from the next period on
			same := 0
			for name := range one {
				if _, ok := late[name]; ok {
					same++
				}
				first, _ := parseSegmentName(path.Base(name))
				d := all[first-1]
				if first > 1 && d.Time/int64(age) == all[first-2].Time/int64(age) && len(one) > 30 {
					t.Errorf("segment %s begins within a period", name)
				}
			}
			if same < len(one)-2 || len(one) < 100/7 {
				t.Errorf("%d of %d segments begin at the same entries", same, len(one))
			}
		})
	}
}

func TestWriterFindsWhatAnotherWrote(t *testing.T) {
	store := newDir()
	all := decidedBy(5, 1, 100, 20)
	w := openWriter(t, store, 4<<10)
	end := fill(t, store, 4<<10, all)
	write(t, w, all) // the same
	if err := w.Seal(t.Context()); err != nil || w.Sealed() != end {
		t.Errorf("got %+v, %v, want %+v", w.Sealed(), err, end)
	}

	other := openWriter(t, newDir(), 4<<10)
	other.store = store
	changed := decidedBy(6, 1, 100, 20)
	var err error
	for i := range changed {
		if err = other.Append(&changed[i]); err != nil {
			t.Fatal(err)
		}
		if other.Full() {
			err = other.Seal(t.Context())
			break
		}
	}
	if !errors.Is(err, ErrConflict) {
		t.Errorf("got %v, want %v", err, ErrConflict)
	}
}

func TestWriterRefuses(t *testing.T) {
	d := func(i rsm.Index, term uint64, at int64) rsm.Decided {
		return rsm.Decided{Index: i, Term: term, Time: at}
	}
	for _, tt := range []struct {
		name string
		d    rsm.Decided
		want error
	}{
		{"the next", d(2, 5, 100), nil},
		{"a repeated one", d(1, 5, 100), ErrOrder},
		{"one after a hole", d(3, 5, 100), ErrOrder},
		{"an older term", d(2, 4, 100), ErrOrder},
		{"an older time", d(2, 5, 99), ErrOrder},
		{"too large", rsm.Decided{Index: 2, Term: 5, Time: 100, Entry: make([]byte, MaxEntryBytes+1)}, rsm.ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := openWriter(t, newDir(), 0)
			first := d(1, 5, 100)
			if err := w.Append(&first); err != nil {
				t.Fatal(err)
			}
			if err := w.Append(&tt.d); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestWriterOfAnotherCluster(t *testing.T) {
	store := newDir()
	fill(t, store, 0, decidedBy(1, 1, 5, 5))
	_, err := OpenWriter(t.Context(), store, Chained{Cluster: "other", Group: 1}, nil)
	if !errors.Is(err, ErrConflict) {
		t.Errorf("got %v, want %v", err, ErrConflict)
	}
}

func TestSealAgain(t *testing.T) {
	broken := true
	store := newDir()
	all := decidedBy(7, 1, 10, 10)
	w := openWriter(t, failing{store, func() bool { return broken }}, 0)
	write(t, w, all)
	for range 3 {
		if err := w.Seal(t.Context()); !errors.Is(err, errAway) {
			t.Fatalf("got %v, want %v", err, errAway)
		}
	}
	if w.Sealed().Index != 0 || !w.Full() {
		t.Fatalf("sealed up to %d, full %v", w.Sealed().Index, w.Full())
	}
	if more := decidedAt(7, 11, 10); !errors.Is(w.Append(&more), ErrFull) {
		t.Error("an entry was taken after the segment was complete")
	}
	broken = false
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, w, decidedBy(7, 11, 10, 10))
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := read(t, openArchive(t, store), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, decidedBy(7, 1, 20, 10))
}

func TestGap(t *testing.T) {
	store := newDir()
	w := openWriter(t, store, 0)
	write(t, w, decidedBy(1, 1, 10, 10))
	if err := w.Gap(21); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want that what is open has to be sealed", err)
	}
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, first := range []rsm.Index{15, 21} { // what is between may go meanwhile
		if err := w.Gap(first); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Gap(11); !errors.Is(err, ErrOrder) {
		t.Fatalf("a gap of nothing: got %v, want %v", err, ErrOrder)
	}
	write(t, w, decidedBy(1, 21, 10, 10))
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.Metrics().Missing; got != 10 {
		t.Errorf("the writer counts %d missing, want 10", got)
	}

	r := verify(t, store, nil)
	want := []string{"gap 00000000000000000021.seg -1: 11..20"}
	if diff := cmp.Diff(want, described(r)); diff != "" || r.Entries != 20 || r.End != w.Sealed() {
		t.Errorf("%d entries, end %+v, findings (-want +got):\n%s", r.Entries, r.End, diff)
	}
	a := openArchive(t, store)
	for _, tt := range []struct{ from, to, first, last rsm.Index }{
		{1, 0, 11, 20}, {5, 15, 11, 15}, {12, 30, 11, 20}, {15, 16, 15, 16},
	} {
		_, err := read(t, a, tt.from, tt.to)
		var x *Finding
		if !errors.As(err, &x) || x.First != tt.first || x.Last != tt.last {
			t.Errorf("read %d to %d: got %v, want that %d to %d are not there", tt.from, tt.to, err, tt.first, tt.last)
		}
	}
	for _, tt := range []struct{ from, to rsm.Index }{{1, 10}, {21, 0}, {25, 30}} {
		got, err := read(t, a, tt.from, tt.to)
		if err != nil || got[0].Index != tt.from {
			t.Errorf("read %d to %d: %v", tt.from, tt.to, err)
		}
	}
}
