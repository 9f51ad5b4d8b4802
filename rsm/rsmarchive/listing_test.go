package rsmarchive

import (
	"errors"
	"maps"
	"path"
	"strings"
	"testing"

	"maru.example/vfs"
)

// TestCompare damages an archive in ways that its listing, headers and footers tell.
func TestCompare(t *testing.T) {
	whole, all := small(t, 60, 4)
	names := whole.names()
	last := all[len(all)-1].Index
	without := func(name string) objects {
		o := maps.Clone(whole)
		delete(o, name)
		return o
	}
	cut := func(name string, from, to int) objects {
		b := whole[name]
		return whole.changed(name, append(append([]byte(nil), b[:from]...), b[to:]...))
	}
	size := len(whole[names[1]])
	for _, tt := range []struct {
		name    string
		store   objects
		segment string // that is named; "": all is well
		kind    Kind
	}{
		{"nothing", whole, "", 0},
		{"the first is missing", without(names[0]), names[0], Missing},
		{"one is missing", without(names[1]), names[1], Missing},
		{"the last is missing", without(names[len(names)-1]), names[len(names)-1], Missing},
		{"all are missing", objects{}, names[0], Missing},
		{"one is cut short", cut(names[1], size-1, size), names[1], Altered},
		{"one lacks its middle", cut(names[1], 150, 151), names[1], Altered},
		{"one is empty", cut(names[1], 0, size), names[1], Altered},
		{"one is longer", whole.changed(names[1], append(append([]byte(nil), whole[names[1]]...), whole[names[1]]...)), names[1], Altered},
	} {
		for _, listed := range []bool{true, false} {
			t.Run(tt.name+map[bool]string{true: ", listed", false: ", not listed"}[listed], func(t *testing.T) {
				var was Listing
				if listed {
					var err error
					if was, err = openIn(t, whole).Listing(t.Context(), last); err != nil || was.Segments != len(whole) {
						t.Fatalf("%+v, %v", was, err)
					}
				}
				err := openIn(t, tt.store).Compare(t.Context(), last, was)
				if tt.segment == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var x *Finding
				if !errors.As(err, &x) || x.Kind != tt.kind || x.Segment != path.Base(tt.segment) || !strings.Contains(err.Error(), x.Segment) {
					t.Errorf("got %v, want %v of %s", err, tt.kind, tt.segment)
				}
			})
		}
	}
}

// TestCompareReadsLittle compares an archive that is as it was listed: a damaged footer in it is not read.
func TestCompareReadsLittle(t *testing.T) {
	whole, all := small(t, 60, 4)
	names := whole.names()
	was, err := openIn(t, whole).Listing(t.Context(), all[len(all)-1].Index)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte(nil), whole[names[0]]...)
	b[len(b)-20] ^= 1
	if err := openIn(t, whole.changed(names[0], b)).Compare(t.Context(), all[len(all)-1].Index, was); err != nil {
		t.Errorf("the first segment was read: %v", err)
	}
}

// openIn opens the archive of what objects hold, in a directory.
func openIn(t *testing.T, o objects) *Archive {
	t.Helper()
	d := NewDir(vfs.NewMem(), "archive")
	for name, b := range o {
		if err := d.Put(t.Context(), name, b); err != nil {
			t.Fatal(err)
		}
	}
	a, err := Open(t.Context(), d, of, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
