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

// TestFeedKeepsTheLog cuts the log: what somebody who follows the feed needs stays.
func TestFeedKeepsTheLog(t *testing.T) {
	for name, feeds := range map[string]bool{"followed": true, "not followed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := open(t, &rsmtest.Recorded{}, &rsmraft.Options{
					FS: vfs.NewMem(), MaxEntryBytes: 1, CacheBytes: 2, SegmentBytes: 1 << 10, CutLog: true, Feeds: feeds,
				})
				for _, name := range []string{"a", "b", "c"} {
					proposeMany(t, g, name+strings.Repeat("-", 100), 50)
					snapshot(t, g)
					synctest.Wait()
				}
				got, err := follow(t, g, 2)
				if feeds && (err != nil || len(got) != 150) {
					t.Fatalf("%d batches, %v", len(got), err)
				}
				if !feeds && !errors.Is(err, rsm.ErrGap) {
					t.Fatalf("%d batches, %v", len(got), err)
				}
				if !feeds {
					closeNode(t, g)
					return
				}
				if err := g.Keep(140); err != nil {
					t.Fatal(err)
				}
				propose(t, g, "x")
				snapshot(t, g)
				synctest.Wait()
				if got, err := follow(t, g, 140); err != nil || len(got) < 10 {
					t.Errorf("%d batches, %v", len(got), err)
				}
				if _, err := follow(t, g, 2); !errors.Is(err, rsm.ErrGap) {
					t.Errorf("what was let go: %v", err)
				}
				closeNode(t, g)
			})
		})
	}
}
