package rsmraft_test

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

// keeping is a machine that could keep files.
type keeping struct{ rsmtest.Recorded }

func (*keeping) Keep(*rsm.Files)      {}
func (*keeping) Held() []rsm.KeptFile { return nil }
func (*keeping) Err() error           { return nil }
func (*keeping) Release()             {}

// TestSeeding makes a node of what another one has decided: it goes on with that.
func TestSeeding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := open(t, &rsmtest.Recorded{}, &rsmraft.Options{FS: vfs.NewMem(), MaxEntryBytes: 1})
		proposeMany(t, first, "a", 20)
		feed, err := first.Feed(rsmraft.FirstEntry)
		if err != nil {
			t.Fatal(err)
		}
		fs, m := vfs.NewMem(), &keeping{}
		s, err := rsmraft.NewSeeding(fs, dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		g, err := s.Group(1, m)
		if err != nil {
			t.Fatal(err)
		}
		for range 15 {
			d, err := feed.Next(t.Context())
			was := d
			if err == nil {
				d.Decision = nil // of a log where it is not on record
				d, err = g.Apply(&d)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(was, d); diff != "" {
				t.Errorf("decided again (-was +is):\n%s", diff)
			}
		}
		d, err := feed.Next(t.Context())
		d.Index++
		if _, applied := g.Apply(&d); err != nil || applied == nil {
			t.Errorf("an entry that does not follow was applied, or %v", err)
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if err := feed.Close(); err != nil {
			t.Error(err)
		}
		closeNode(t, first)
		if _, err := rsmraft.NewSeeding(fs, dir, 1); err == nil {
			t.Error("a directory was seeded twice")
		}
		for range 2 {
			l := &rsmtest.Recorded{}
			n := open(t, l, &rsmraft.Options{FS: fs, MaxEntryBytes: 1})
			if n.Applied() < 16 {
				t.Errorf("applied up to %d, want 16", n.Applied())
			}
			if diff := cmp.Diff(numbered("a", 14), l.Data()[:14]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			propose(t, n, "new")
			closeNode(t, n)
		}
	})
}
