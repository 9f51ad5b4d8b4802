package rsmraft_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

// TestRecordedUnderWrites asks at each moment at which somebody is answered from where on there is a record: never behind what is
// applied. A closed group does not say either that it lacks what it has.
func TestRecordedUnderWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := open(t, &rsmtest.Recorded{}, &rsmraft.Options{FS: vfs.NewMem(), MaxEntryBytes: 64, CacheBytes: 2, SegmentBytes: 1 << 12})
		answered := make(chan rsm.Index, 40)
		for i := range cap(answered) {
			err := g.Submit(t.Context(), &rsm.Proposal{Data: fmt.Append(nil, "a", i), Done: func(_ []byte, at rsm.Position, err error) {
				if first, applied := g.Recorded(), g.Applied(); err != nil || first > rsmraft.FirstEntry {
					t.Errorf("entry %d, %v: recorded from %d on, applied up to %d", at.Index, err, first, applied)
				}
				answered <- at.Index
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		for range cap(answered) {
			<-answered
		}
		snapshot(t, g)
		propose(t, g, "last") // it alone is in memory
		closeNode(t, g)
		if first := g.Recorded(); first > rsmraft.FirstEntry {
			t.Errorf("closed: recorded from %d on", first)
		}
		if _, err := follow(t, g, rsmraft.FirstEntry); !errors.Is(err, rsm.ErrClosed) || errors.Is(err, rsm.ErrGap) {
			t.Errorf("closed: %v", err)
		}
	})
}

// follow reads a feed from an index up to what the group has applied, and returns the
// batches. Each has to have its effects.
func follow(t *testing.T, g *rsmraft.Group, from rsm.Index) (got []string, err error) {
	t.Helper()
	f, err := g.Feed(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i := from; i <= g.Applied(); i++ {
		d, err := f.Next(context.Background())
		if err != nil {
			return got, err
		}
		if d.Index != i {
			t.Fatalf("entry %d, want %d", d.Index, i)
		}
		err = d.Batches(func(b rsm.DecidedBatch) error {
			if string(b.Effects) != string(b.Data) || len(b.Results) != 8 {
				return fmt.Errorf("batch %q has the effects %q and the result %x", b.Data, b.Effects, b.Results)
			}
			got = append(got, string(b.Data))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return got, nil
}

func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		// Of the entries next to nothing stays in memory.
		options := &rsmraft.Options{FS: fs, MaxEntryBytes: 1, CacheBytes: 2, SegmentBytes: 1 << 12}
		g := open(t, &rsmtest.Recorded{}, options)
		proposeMany(t, g, "a", 10)
		snapshot(t, g)
		proposeMany(t, g, "b", 10)
		want := append(numbered("a", 10), numbered("b", 10)...)
		for range 2 {
			got, err := follow(t, g, 2)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Fatalf("%v (-want +got):\n%s", err, diff)
			}
			if got, err = follow(t, g, g.Applied()-2); err != nil || len(got) > 3 {
				t.Errorf("the end: %q, %v", got, err)
			}
			snapshot(t, g)
			closeNode(t, g)
			g = open(t, &rsmtest.Recorded{}, options)
		}
		f, err := g.Feed(g.Applied() + 1)
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan string)
		go func() {
			d, err := f.Next(context.Background())
			next <- fmt.Sprint(string(d.Entry), err)
			_, err = f.Next(context.Background())
			next <- fmt.Sprint(errors.Is(err, rsm.ErrClosed))
		}()
		propose(t, g, "new")
		if got := <-next; !strings.HasSuffix(got, "new<nil>") {
			t.Errorf("who waits gets %q", got)
		}
		closeNode(t, g)
		if got := <-next; got != "true" {
			t.Error("who waits is not told of the end")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestKeepersKeepTheLog cuts the log: what one of those needs who follow the feed stays.
func TestKeepersKeepTheLog(t *testing.T) {
	for _, test := range []struct {
		name    string
		keepers []string
		let     map[string]rsm.Index
		has     rsm.Index // the first entry that is there
	}{
		{"nobody", nil, nil, 0},
		{"nobody has let go", []string{"one"}, nil, 2},
		{"one", []string{"one"}, map[string]rsm.Index{"one": 140}, 139},
		{"one of two", []string{"one", "other"}, map[string]rsm.Index{"one": 140}, 2},
		{"two", []string{"one", "other"}, map[string]rsm.Index{"one": 140, "other": 70}, 69},
		{"two, the other way round", []string{"one", "other"}, map[string]rsm.Index{"one": 70, "other": 140}, 69},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := open(t, &rsmtest.Recorded{}, &rsmraft.Options{
					FS: vfs.NewMem(), MaxEntryBytes: 1, CacheBytes: 2, SegmentBytes: 1 << 10, CutLog: true, Keepers: test.keepers,
				})
				defer closeNode(t, g)
				for _, name := range []string{"a", "b", "c"} {
					proposeMany(t, g, name+strings.Repeat("-", 100), 50)
					snapshot(t, g)
					synctest.Wait()
				}
				for keeper, from := range test.let {
					if err := errors.Join(g.Keep(keeper, from), g.Keep(keeper, 3)); err != nil {
						t.Fatal(err)
					}
				}
				propose(t, g, "x")
				snapshot(t, g)
				synctest.Wait()
				if test.has == 2 {
					if got, err := follow(t, g, 2); err != nil || len(got) != 151 {
						t.Errorf("%d batches, %v, want all 151", len(got), err)
					}
					return
				}
				if _, err := follow(t, g, 2); !errors.Is(err, rsm.ErrGap) {
					t.Errorf("what nobody needs: %v", err)
				}
				if test.has == 0 {
					return
				}
				if got, err := follow(t, g, test.has); err != nil || len(got) < 10 {
					t.Errorf("from entry %d: %d batches, %v", test.has, len(got), err)
				}
			})
		})
	}
}

func TestKeepIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := open(t, &rsmtest.Recorded{}, &rsmraft.Options{FS: vfs.NewMem(), CutLog: true, Keepers: []string{"one"}})
		defer closeNode(t, g)
		proposeMany(t, g, "a", 10)
		if err := g.Keep("one", g.Applied()+2); !errors.Is(err, rsmraft.ErrNotYet) {
			t.Errorf("of an entry that is not applied: %v", err)
		}
		if err := g.Keep("another", 3); err == nil {
			t.Error("a stranger lets the log go")
		}
	})
}
