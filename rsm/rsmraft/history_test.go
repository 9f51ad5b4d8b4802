package rsmraft_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
	"maru.example/wal"
)

// openHistory opens the history of a directory, which ends with the test.
func openHistory(t *testing.T, fs vfs.FS, name string) (*rsmraft.History, map[rsmraft.GroupID]rsmraft.GroupHistory) {
	t.Helper()
	h, err := rsmraft.OpenHistory(name, &rsmraft.HistoryOptions{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	all, err := h.Groups()
	if err != nil {
		t.Fatal(err)
	}
	groups := map[rsmraft.GroupID]rsmraft.GroupHistory{}
	for _, g := range all {
		groups[g.ID] = g
	}
	return h, groups
}

func TestHistoryOfANodeThatIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, MaxEntryBytes: 1})
		proposeMany(t, g, "a", 10)
		snapshot(t, g)
		proposeMany(t, g, "b", 10)
		if _, err := rsmraft.OpenHistory(dir, &rsmraft.HistoryOptions{FS: fs}); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("while the host is open: %v", err)
		}
		closeNode(t, g)

		h, groups := openHistory(t, fs, dir)
		is := groups[1]
		if !is.Whole || is.Undecided != 0 || len(is.Snapshots) != 1 {
			t.Fatalf("history %+v", is)
		}
		all := append(numbered("a", 10), numbered("b", 10)...)
		l := &rsmtest.List{}
		var indexes []rsm.Index
		end, err := h.Replay(1, rsm.State{}, is.Last, l, &rsmraft.ReplayOptions{Before: func(i rsm.Index, _ int64) error {
			indexes = append(indexes, i)
			return nil
		}})
		if err != nil || end.Index != is.Last {
			t.Fatalf("replay to %d ends at %+v: %v", is.Last, end, err)
		}
		if diff := cmp.Diff(all, l.Data()); diff != "" || indexes[0] != is.First || len(indexes) != int(is.Last-is.First)+1 {
			t.Errorf("entries %v; decided again (-want +got):\n%s", indexes, diff)
		}

		from := &rsmtest.List{}
		at, err := h.RestoreSnapshot(1, is.Snapshots[0], from)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all[:10], from.Data()); diff != "" {
			t.Errorf("snapshot (-want +got):\n%s", diff)
		}
		if end, err = h.Replay(1, at, is.Last, from, nil); err != nil || end.Index != is.Last {
			t.Fatalf("replay from the snapshot: %+v, %v", end, err)
		}
		if diff := cmp.Diff(l.Batches, from.Batches); diff != "" {
			t.Errorf("from the snapshot (-from the beginning +got):\n%s", diff)
		}

		stopped := &rsmtest.List{}
		end, err = h.Replay(1, rsm.State{}, is.Last, stopped, &rsmraft.ReplayOptions{After: func(at rsm.State) error {
			if at.Index == is.Snapshots[0] {
				return rsmraft.ErrStop
			}
			return nil
		}})
		if diff := cmp.Diff(all[:10], stopped.Data()); diff != "" || err != nil || end.Index != is.Snapshots[0] {
			t.Errorf("stopped at %+v, %v (-want +got):\n%s", end, err, diff)
		}
		failure := errors.New("no more")
		if _, err := h.Replay(1, rsm.State{}, is.Last, &rsmtest.List{}, &rsmraft.ReplayOptions{Before: func(rsm.Index, int64) error { return failure }}); !errors.Is(err, failure) {
			t.Errorf("got %v, want what the function returned", err)
		}
		if _, err := h.Replay(1, rsm.State{Index: is.Last + 1}, is.Last, &rsmtest.List{}, nil); err == nil {
			t.Error("a replay from behind the end: no error")
		}
		if _, err := h.Replay(7, rsm.State{}, 9, &rsmtest.List{}, nil); err == nil {
			t.Error("a group that is not there has a history")
		}
	})
}

// TestHistoryOfMembers reads what three nodes have after a change of leaders: that of
// the node where the group began is whole, the others go on from a snapshot; what
// was committed is the same everywhere.
func TestHistoryOfMembers(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w, old, _ := three(t, seed)
			old.proposeMany(1, "before", 5)
			old.isolate(true)
			lost := old.propose(1, "never committed")
			w.run("another leads", func() bool { l := w.leader(1); return l != nil && l != old })
			w.leader(1).proposeMany(1, "after", 5)
			old.isolate(false)
			_ = w.wait(lost) // it was not, or is not known to be
			w.must(w.leader(1).propose(1, "end"))
			nodes := append(w.others(old), old)
			w.same(1, nodes...)
			want := slices.Clone(old.lists[1].Batches)
			for _, n := range nodes {
				n.crash()
				n.Boot() // without a host
			}
			whole := 0
			for _, n := range nodes {
				h, groups := openHistory(t, n.FS, "data")
				is, l, from := groups[1], &rsmtest.List{}, rsm.State{}
				if is.Whole {
					whole++
				} else {
					var err error
					if from, err = h.RestoreSnapshot(1, is.Snapshots[0], l); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := h.Replay(1, from, is.Last, l, nil); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want[:len(l.Batches)], l.Batches); diff != "" || len(want)-len(l.Batches) > is.Undecided {
					t.Errorf("node %d: %+v has %d of %d batches (-want +got):\n%s", n.ID, is, len(l.Batches), len(want), diff)
				}
			}
			if whole != 1 {
				t.Errorf("the history of %d nodes is whole, want 1", whole)
			}
		})
	}
}

// TestHistoryThatWasCut begins with the oldest snapshot.
func TestHistoryThatWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, MaxEntryBytes: 1, SegmentBytes: 1 << 10, CutLog: true})
		for i := range 5 {
			proposeMany(t, g, fmt.Sprint(i), 30)
			snapshot(t, g)
		}
		proposeMany(t, g, "end", 3)
		closeNode(t, g)
		h, groups := openHistory(t, fs, dir)
		is, l := groups[1], &rsmtest.List{}
		if is.Whole || is.First > is.Snapshots[0]+1 {
			t.Fatalf("history %+v", is)
		}
		if _, err := h.Replay(1, rsm.State{}, is.Last, l, nil); err == nil {
			t.Error("a log that was cut was replayed from nothing")
		}
		at, err := h.RestoreSnapshot(1, is.Snapshots[0], l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Replay(1, at, is.Last+rsm.Index(is.Undecided), l, nil); err != nil || len(l.Batches) != 153 {
			t.Errorf("%d batches, %v, want 153", len(l.Batches), err)
		}
	})
}

func TestHistoryThatIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs})
		proposeMany(t, g, "a", 20)
		closeNode(t, g)
		flip(t, fs, dir+"/log/00000000000000000001.wal", 900)
		if _, err := rsmraft.OpenHistory(dir, &rsmraft.HistoryOptions{FS: fs}); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
		// The directory was let go.
		if _, err := rsmraft.OpenHistory(dir, &rsmraft.HistoryOptions{FS: fs}); errors.Is(err, vfs.ErrLocked) {
			t.Error("the directory is still locked")
		}
	})
}
