package rsmraft_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
		if !is.Whole || is.Undecided != 0 || len(is.Snapshots) != 1 || is.OnlyVoter != 1 {
			t.Fatalf("history %+v", is)
		}
		all := append(numbered("a", 10), numbered("b", 10)...)
		l := &rsmtest.List{}
		end, err := replay(h, is, rsm.State{}, is.Last, l)
		if err != nil || end.Index != is.Last {
			t.Fatalf("replay to %d ends at %+v: %v", is.Last, end, err)
		}
		if diff := cmp.Diff(all, l.Data()); diff != "" {
			t.Errorf("decided again (-want +got):\n%s", diff)
		}

		from := &rsmtest.List{}
		at, err := h.RestoreSnapshot(1, is.Snapshots[0], from)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all[:10], from.Data()); diff != "" {
			t.Errorf("snapshot (-want +got):\n%s", diff)
		}
		if end, err = replay(h, is, at, is.Last, from); err != nil || end.Index != is.Last {
			t.Fatalf("replay from the snapshot: %+v, %v", end, err)
		}
		if diff := cmp.Diff(l.Batches, from.Batches); diff != "" {
			t.Errorf("from the snapshot (-from the beginning +got):\n%s", diff)
		}
		for _, from := range []rsm.Index{0, is.First - 1, is.Last + 2} {
			if _, err := h.Reader(1, from); err == nil {
				t.Errorf("it begins with entry %d: no error", from)
			}
		}
		if _, err := h.Reader(7, 2); err == nil {
			t.Error("a group that is not there has a history")
		}
	})
}

// TestHistoryOfDecisions reads what is on record of them.
func TestHistoryOfDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		g := open(t, &rsmtest.Recorded{}, &rsmraft.Options{FS: fs, MaxEntryBytes: 1})
		proposeMany(t, g, "a", 10)
		var want []rsm.Decided
		f, err := g.Feed(rsmraft.FirstEntry)
		if err != nil {
			t.Fatal(err)
		}
		for i := rsmraft.FirstEntry; i <= g.Applied(); i++ {
			d, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, d)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		closeNode(t, g)
		h, _ := openHistory(t, fs, dir)
		r, err := h.Reader(1, rsmraft.FirstEntry)
		if err != nil {
			t.Fatal(err)
		}
		var got []rsm.Decided
		for {
			d, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rsm.Decided{Index: d.Index, Term: d.Term, Time: d.Time, Entry: slices.Clone(d.Entry), Decision: slices.Clone(d.Decision)})
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-the feed +the history):\n%s", diff)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// replay lets a machine decide again what a group has decided, from a state to an index.
func replay(h *rsmraft.History, is rsmraft.GroupHistory, from rsm.State, last rsm.Index, m rsm.Machine) (rsm.State, error) {
	if from.Index == 0 {
		from.Index = is.First - 1
	}
	r, err := h.Reader(is.ID, from.Index+1)
	if err != nil {
		return rsm.State{}, err
	}
	to := rsm.Replay(m, from, nil)
	for err == nil && to.State().Index < last {
		var d *rsm.Decided
		if d, err = r.Next(); err == nil {
			err = to.Apply(&rsm.Committed{Index: d.Index, Term: d.Term, Data: d.Entry})
		}
	}
	return to.State(), errors.Join(err, r.Close())
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
				if is.OnlyVoter != 0 {
					t.Errorf("node %d is one of several: %+v", n.ID, is)
				}
				if _, err := replay(h, is, from, is.Last, l); err != nil {
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
		if is.Whole || is.First > is.Snapshots[0]+1 || is.OnlyVoter != 1 {
			t.Fatalf("history %+v", is)
		}
		at, err := h.RestoreSnapshot(1, is.Snapshots[0], l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := replay(h, is, at, is.Last+rsm.Index(is.Undecided), l); err != nil || len(l.Batches) != 153 {
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
