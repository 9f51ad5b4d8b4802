package rsmarchive

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
)

// small returns an archive of n entries in some small segments, and what is in it.
func small(t testing.TB, n, segments int) (objects, []rsm.Decided) {
	t.Helper()
	store := objects{}
	all := decidedBy(11, 1, n, 2)
	fill(t, store, 1200, all)
	if len(store) < segments {
		t.Fatalf("%d segments, want at least %d", len(store), segments)
	}
	return store, all
}

// names returns the segments' names in the store, in order.
func (o objects) names() []string { return slices.Sorted(maps.Keys(o)) }

// changed returns the store with one object replaced.
func (o objects) changed(name string, content []byte) objects {
	other := maps.Clone(o)
	other[name] = content
	return other
}

// TestEveryByteIsSeen flips a bit of each byte of an archive: each flip is found, in its
// segment, and no entry that is passed on is another than it was.
func TestEveryByteIsSeen(t *testing.T) {
	store, all := small(t, 10, 2)
	flips := 0
	for _, name := range store.names() {
		for at := range store[name] {
			b := bytes.Clone(store[name])
			b[at] ^= 1 << (at % 8)
			flips++
			if why := unseen(t, store.changed(name, b), name, all); why != "" {
				t.Errorf("a bit of byte %d of %s: %s", at, name, why)
			}
		}
	}
	if flips < 1000 {
		t.Errorf("%d flips: not much of an archive", flips)
	}
}

// unseen says how a verification misses damage in a segment, or passes on what is not as it was.
func unseen(t *testing.T, store objects, name string, all []rsm.Decided) string {
	t.Helper()
	wrong := ""
	r := verify(t, store, &VerifyOptions{Each: func(d *rsm.Decided) error {
		if !same(d, &all[d.Index-1]) {
			wrong = fmt.Sprintf("entry %d is passed on, changed", d.Index)
		}
		return nil
	}})
	named := slices.ContainsFunc(r.Findings, func(f *Finding) bool { return "00000001/"+f.Segment == name && f.Error() != "" })
	switch {
	case wrong != "":
		return wrong
	case r.Found != 1 || !named:
		return fmt.Sprintf("found %v", described(r))
	}
	return ""
}

func TestCutSegments(t *testing.T) {
	store, all := small(t, 24, 4)
	for _, name := range store.names() {
		for n := range len(store[name]) {
			if n%7 != 0 {
				continue
			}
			if why := unseen(t, store.changed(name, store[name][:n]), name, all); why != "" {
				t.Errorf("%s cut to %d bytes: %s", name, n, why)
			}
		}
		longer := append(bytes.Clone(store[name]), 0)
		if why := unseen(t, store.changed(name, longer), name, all); why != "" {
			t.Errorf("%s with a byte more: %s", name, why)
		}
	}
}

func TestMissingAndInsertedSegments(t *testing.T) {
	store, _ := small(t, 24, 4)
	names := store.names()
	first := func(i int) rsm.Index {
		n, _ := parseSegmentName(names[i][len("00000001/"):])
		return n
	}
	without := func(i ...int) objects {
		other := maps.Clone(store)
		for _, i := range i {
			delete(other, names[i])
		}
		return other
	}
	base := func(i int) string { return names[i][len("00000001/"):] }
	between := objects{}
	other := Chained{Cluster: "other", Group: 1}
	w, err := OpenWriter(t.Context(), between, other, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, decidedBy(1, 1, 3, 3))
	if err := w.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign := between[between.names()[0]]

	for _, tt := range []struct {
		name  string
		store objects
		want  []string
	}{
		{"whole", store, nil},
		{"first missing", without(0), []string{fmt.Sprintf("missing %s -1: 1..%d", base(1), first(1)-1)}},
		{"one missing", without(2), []string{fmt.Sprintf("missing %s -1: %d..%d", base(3), first(2), first(3)-1)}},
		{"two missing", without(1, 2), []string{fmt.Sprintf("missing %s -1: %d..%d", base(3), first(1), first(3)-1)}},
		{"swapped", store.changed(names[1], store[names[2]]).changed(names[2], store[names[1]]), []string{
			fmt.Sprintf("altered %s -1: %d..%d", base(1), first(1), first(2)-1),
			fmt.Sprintf("altered %s -1: %d..%d", base(2), first(2), first(3)-1),
		}},
		{"a copy under another name", store.changed("00000001/"+segmentName(first(1)+1), store[names[1]]), []string{
			// the name takes what the segment before it has from it
			fmt.Sprintf("altered %s -1: %d..%d", segmentName(first(1)+1), first(1)+1, first(2)-1),
		}},
		{"another cluster's", store.changed("00000001/"+segmentName(first(1)+1), foreign), []string{
			fmt.Sprintf("altered %s -1: %d..%d", segmentName(first(1)+1), first(1)+1, first(2)-1),
		}},
		{"another cluster's in the place of one", store.changed(names[0], foreign), []string{
			fmt.Sprintf("inserted %s -1: 1..%d", base(0), first(1)-1),
			fmt.Sprintf("missing %s -1: 1..%d", base(1), first(1)-1),
		}},
		{"a file of another kind", store.changed("00000001/notes.txt", foreign), []string{"inserted notes.txt -1: 0..0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := verify(t, tt.store, nil)
			if diff := cmp.Diff(tt.want, described(r)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverlappingSegment(t *testing.T) {
	store := objects{}
	all := decidedBy(12, 1, 30, 5)
	fill(t, store, 0, all)
	// Another archive of the same history, cut elsewhere.
	finer := objects{}
	fill(t, finer, 2000, all)
	names := finer.names()
	r := verify(t, store.changed(names[1], finer[names[1]]), nil)
	want := []string{fmt.Sprintf("inserted %s -1: ", names[1][len("00000001/"):])}
	if r.Found != 1 || r.Entries != 30 || described(r)[0][:len(want[0])] != want[0] {
		t.Errorf("got %d entries and %v, want %v", r.Entries, described(r), want)
	}
}

// forge returns the archive of other entries, with all checksums and links right.
func forge(t *testing.T, all []rsm.Decided) objects {
	t.Helper()
	store := objects{}
	fill(t, store, 1200, all)
	return store
}

func TestForgedHistory(t *testing.T) {
	store, all := small(t, 24, 4)
	end, err := openArchive(t, store).End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var middle Link
	c := NewChain(Position{Link: of.Origin()})
	for i := range all[:10] {
		if err := c.Append(&all[i]); err != nil {
			t.Fatal(err)
		}
		middle = c.At().Link
	}
	expected := []Expected{{10, middle, "the first"}, {end.Index, end.Link, "the last"}}
	renumbered := func(all []rsm.Decided) []rsm.Decided {
		for i := range all {
			all[i].Index = rsm.Index(i + 1)
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		change  func([]rsm.Decided) []rsm.Decided
		want    []string
		reached int
	}{
		{"nothing changed", func(all []rsm.Decided) []rsm.Decided { return all }, nil, 2},
		{"an amount early", func(all []rsm.Decided) []rsm.Decided {
			i := slices.IndexFunc(all, func(d rsm.Decided) bool { return len(d.Entry) > 0 })
			all[i].Entry = bytes.Clone(all[i].Entry)
			all[i].Entry[len(all[i].Entry)-20]++
			return all
		}, []string{"altered (some) -1: 1..10", "altered (some) -1: 1..24"}, 2},
		{"a time late", func(all []rsm.Decided) []rsm.Decided { all[15].Time++; return all }, []string{"altered (some) -1: 11..24"}, 2},
		{"an entry removed", func(all []rsm.Decided) []rsm.Decided { return renumbered(slices.Delete(all, 12, 13)) }, nil, 1},
		{"an entry inserted", func(all []rsm.Decided) []rsm.Decided {
			return renumbered(slices.Insert(all, 12, rsm.Decided{Term: all[11].Term, Time: all[11].Time}))
		}, []string{"altered (some) -1: 11..24"}, 2},
		{"the end removed", func(all []rsm.Decided) []rsm.Decided { return all[:20] }, nil, 1},
		{"two entries swapped", func(all []rsm.Decided) []rsm.Decided {
			all[5].Entry, all[6].Entry = all[6].Entry, all[5].Entry
			all[5].Decision, all[6].Decision = all[6].Decision, all[5].Decision
			return all
		}, []string{"altered (some) -1: 1..10", "altered (some) -1: 1..24"}, 2},
		{"bytes moved from an entry to its decision", func(all []rsm.Decided) []rsm.Decided {
			i := slices.IndexFunc(all, func(d rsm.Decided) bool { return len(d.Entry) > 0 })
			n := len(all[i].Entry) - 1
			all[i].Decision = append([]byte{all[i].Entry[n]}, all[i].Decision...)
			all[i].Entry = all[i].Entry[:n]
			return all
		}, []string{"altered (some) -1: 1..10", "altered (some) -1: 1..24"}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			forged := forge(t, tt.change(slices.Clone(all)))
			r := verify(t, forged, &VerifyOptions{Expected: expected})
			if diff := cmp.Diff(tt.want, described(r)); diff != "" || len(r.Unreached) != 2-tt.reached {
				t.Errorf("%d not reached, want %d; findings (-want +got):\n%s", len(r.Unreached), 2-tt.reached, diff)
			}
			if len(r.Matched) == 2 && tt.name != "nothing changed" {
				t.Error("all is as expected")
			}
		})
	}
}

// TestForgedParts changes a part of an archive and makes only the checksums right.
func TestForgedParts(t *testing.T) {
	store := objects{}
	all := decidedBy(13, 1, 120, 400)
	fill(t, store, 3<<20, all)
	names := store.names()
	f, err := parseFooter(store[names[0]])
	if err != nil || len(f.rows) < 3 {
		t.Fatalf("%d frames, %v; want some", len(f.rows), err)
	}
	other := slices.Clone(all)
	at := slices.IndexFunc(other, func(d rsm.Decided) bool { return d.Index >= f.rows[1].first && len(d.Entry) > 0 })
	other[at].Entry = bytes.Clone(other[at].Entry)
	other[at].Entry[len(other[at].Entry)-1] ^= 1
	forged := objects{}
	fill(t, forged, 3<<20, other)
	g, err := parseFooter(forged[names[0]])
	if err != nil {
		t.Fatal(err)
	}

	t.Run("a frame", func(t *testing.T) {
		b := slices.Concat(store[names[0]][:f.rows[1].offset], forged[names[0]][g.rows[1].offset:g.end(1)], store[names[0]][f.end(1):])
		if g.end(1) != f.end(1) { // the frame got longer or shorter: the footer has to say so
			moved := g.end(1) - f.end(1)
			h := *f
			h.rows = slices.Clone(f.rows)
			for i := 2; i < len(h.rows); i++ {
				h.rows[i].offset += moved
				end := f.end(i) + moved
				binary.LittleEndian.PutUint32(b[h.rows[i].offset:], frameSum(b[h.rows[i].offset:end], h.rows[i].offset))
			}
			h.start += moved
			b = h.append(b[:h.start])
		}
		r := verify(t, store.changed(names[0], b), nil)
		want := []string{fmt.Sprintf("altered %s 1: %d..%d", segmentName(1), f.rows[1].first, f.lastOf(1))}
		if diff := cmp.Diff(want, described(r)); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
	})
	t.Run("a segment", func(t *testing.T) {
		r := verify(t, store.changed(names[0], forged[names[0]]), nil)
		if got := described(r); len(got) != 1 || got[0][:len("altered")] != "altered" || r.Findings[0].Segment != names[1][len("00000001/"):] {
			t.Errorf("got %v, want that the second does not continue the first", got)
		}
	})
	t.Run("a gap that there was not", func(t *testing.T) {
		b := bytes.Clone(store[names[1]])
		h, err := parseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		h.missing = uint64(h.first) - 1
		copy(b, h.append(nil))
		cut := objects{names[1]: b}
		if r := verify(t, cut, nil); r.Found < 2 {
			t.Errorf("got %v, want a gap that does not fit the chain", described(r))
		}
	})
	t.Run("the version", func(t *testing.T) {
		b := bytes.Clone(store[names[1]])
		b[8]++
		r := verify(t, store.changed(names[1], b), nil)
		if r.Found != 1 || r.Findings[0].Kind != Unknown {
			t.Errorf("got %v, want an unknown version", described(r))
		}
	})
}

func TestFrameIsGoodInItsPlaceOnly(t *testing.T) {
	p := newPacker()
	d := decidedAt(1, 1, 10)
	p.add(&d)
	b := p.pack(make([]byte, 50))[50:]
	u := newUnpacker()
	defer u.close()
	if _, err := u.unpack(b, 50); err != nil {
		t.Fatal(err)
	}
	if _, err := u.unpack(b, 51); err == nil {
		t.Error("a frame is good elsewhere too")
	}
}
