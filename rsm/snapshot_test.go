package rsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

func TestSnapshotsAreShared(t *testing.T) {
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
	r.mustSnapshot() // of nothing: there is nothing to write
	r.apply(1, "first")
	r.hang = time.Minute
	done := 0
	want := func() {
		r.Snapshot(func(err error) {
			if done++; err != nil {
				t.Error(err)
			}
		})
	}
	want()
	r.w.Run(time.Second, func() bool { return false })
	r.apply(1, "second: the disk hangs for the snapshot only")
	for range 10 {
		want() // of more than the one under way
	}
	if r.Metrics().Snapshots != 0 || done != 0 {
		t.Errorf("%d snapshots are durable, %d callers answered", r.Metrics().Snapshots, done)
	}
	r.w.Run(time.Hour, func() bool { return done == 11 })
	r.mustSnapshot() // of nothing new
	if diff := cmp.Diff([]string{"1.snap", "2.snap"}, r.files()); diff != "" || done != 11 {
		t.Errorf("%d callers answered; snapshots (-want +got):\n%s", done, diff)
	}
}

func TestSnapshotPolicy(t *testing.T) {
	for _, tt := range []struct {
		name     string
		bytes    int64
		proposal int
		want     []rsm.Index
	}{
		{"never", -1, 100, nil},
		{"default", 0, 100, nil},
		// An entry has 100 bytes in the log and 100 in the snapshot.
		{"log doubles", 400, 80, []rsm.Index{4, 8, 16, 32}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []rsm.Index
			r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{
				SnapshotBytes: tt.bytes,
				Saved:         func(kept []rsm.State) { got = append(got, kept[len(kept)-1].Index) },
			})
			for range 40 {
				r.apply(1, strings.Repeat("x", tt.proposal))
				r.settle()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("snapshots at (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSavedTellsWhatIsKept(t *testing.T) {
	var got [][]rsm.Index
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{Saved: func(kept []rsm.State) {
		var indexes []rsm.Index
		for _, s := range kept {
			indexes = append(indexes, s.Index)
		}
		got = append(got, indexes)
	}})
	for range 3 {
		r.applyMany("x", 1)
		r.mustSnapshot()
	}
	r.reopen(&rsmtest.List{})
	r.applyMany("x", 1)
	r.mustSnapshot()
	if diff := cmp.Diff([][]rsm.Index{{1}, {1, 2}, {2, 3}, {3, 4}}, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestFailingSnapshotHurtsNothing(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpClose, vfs.OpRename, vfs.OpOpen, vfs.OpSyncDir} {
		t.Run(op.String(), func(t *testing.T) {
			l := &rsmtest.List{}
			r := newRig(t, l, rsm.ReplicaOptions{})
			r.apply(1, "a")
			r.fs.SetRule(func(c vfs.Call) vfs.Fault {
				if c.Op == op {
					return vfs.Fault{Err: vfs.ErrNoSpace}
				}
				return vfs.Fault{}
			})
			if err := r.snapshot(); !errors.Is(err, vfs.ErrNoSpace) {
				t.Errorf("got %v, want ErrNoSpace", err)
			}
			r.settle()
			r.apply(1, "b")
			if op != vfs.OpSyncDir && op != vfs.OpOpen { // then it has its name, though not for sure
				if got := r.files(); len(got) > 0 {
					t.Errorf("left %v", got)
				}
			}
			r.fs.SetRule(nil)
			r.mustSnapshot()
			if m := r.Metrics(); m.Snapshots != 1 || m.SnapshotFailures != 1 || m.SnapshotIndex != 2 {
				t.Errorf("metrics: %+v", m)
			}
			if l.Open {
				t.Error("the machine's snapshot is not closed")
			}
		})
	}
}

// TestEveryOperationOfASnapshotFails fails each call of two snapshots, once: a
// good one is always left, and the next is written.
func TestEveryOperationOfASnapshotFails(t *testing.T) {
	for n := 1; ; n++ {
		l := &rsmtest.List{}
		r := newRig(t, l, rsm.ReplicaOptions{})
		r.applyMany("a", 5)
		r.mustSnapshot()
		first, fired := r.fs.Calls(vfs.OpAny), false
		r.fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.All != first+n {
				return vfs.Fault{}
			}
			fired = true
			return vfs.Fault{Err: vfs.ErrInjected, Keep: 3}
		})
		for range 2 {
			r.applyMany("b", 5)
			_ = r.snapshot() // may fail
			r.settle()
		}
		if !fired {
			if n < 15 {
				t.Errorf("two snapshots have %d calls only", n)
			}
			return
		}
		want := slices.Clone(l.Batches)
		r.applyMany("c", 1)
		r.mustSnapshot()
		r.reopen(l)
		if len(l.Batches) != len(want)+1 {
			t.Fatalf("call %d: %d batches, want %d", n, len(l.Batches), len(want)+1)
		}
	}
}

func TestFailingSnapshotIsTriedAgain(t *testing.T) {
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{SnapshotBytes: 400})
	r.fs.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpWrite {
			return vfs.Fault{Err: vfs.ErrNoSpace}
		}
		return vfs.Fault{}
	})
	var failures []uint64
	for range 8 {
		r.apply(1, strings.Repeat("x", 80)) // an entry of 100 bytes
		r.settle()
		failures = append(failures, r.Metrics().SnapshotFailures)
	}
	if diff := cmp.Diff([]uint64{0, 0, 0, 1, 2, 3, 4, 5}, failures); diff != "" {
		t.Errorf("failures after each proposal (-want +got):\n%s", diff)
	}
	r.fs.SetRule(nil)
	r.apply(1, "works again")
	r.apply(1, strings.Repeat("x", 80))
	r.settle()
	if m := r.Metrics(); m.Snapshots != 1 {
		t.Errorf("metrics: %+v", m)
	}
}

// TestSnapshotNeedsRoom refuses the room for a snapshot, from its beginning or
// from the third look on: it is given up, and leaves nothing.
func TestSnapshotNeedsRoom(t *testing.T) {
	for _, from := range []int{1, 2, 3} {
		t.Run(fmt.Sprint("look ", from), func(t *testing.T) {
			looks := 0
			full := true
			c := rsmtest.NewCells(500_000)
			r := newRig(t, c, rsm.ReplicaOptions{Room: func() error {
				if looks++; full && looks >= from {
					return rsm.ErrDiskFull
				}
				return nil
			}})
			r.apply(1, string(rsmtest.AppendAdd(nil, 1, 1)))
			if err := r.snapshot(); !errors.Is(err, rsm.ErrDiskFull) {
				t.Errorf("got %v, want %v", err, rsm.ErrDiskFull)
			}
			r.settle()
			if got := r.files(); len(got) > 0 || c.Open() {
				t.Errorf("left %v, the machine's snapshot is open: %v", got, c.Open())
			}
			full = false
			r.mustSnapshot()
		})
	}
}

func TestApplyNeverWaitsForTheSnapshotsDisk(t *testing.T) {
	c := rsmtest.NewCells(1 << 20) // 8 MiB: more than the buffers hold
	r := newRig(t, c, rsm.ReplicaOptions{})
	r.hang = time.Hour
	r.apply(1, string(rsmtest.AppendAdd(nil, 1, 1)))
	done := false
	r.Snapshot(func(error) { done = true })
	for range 1000 {
		r.apply(1, string(rsmtest.AppendAdd(nil, 1, 1)))
		r.w.Run(time.Millisecond, func() bool { return false })
	}
	if done || c.Sum.Load() != 1001 {
		t.Errorf("snapshot done: %v, sum %d", done, c.Sum.Load())
	}
	r.hang = 0
	r.w.Run(100*time.Hour, func() bool { return done })
	if m := r.Metrics(); m.SnapshotIndex != 1 {
		t.Errorf("metrics: %+v", m)
	}
}

// TestSnapshotGoesOnUnderLoad applies entries without a pause: the snapshot is
// written meanwhile, in steps.
func TestSnapshotGoesOnUnderLoad(t *testing.T) {
	c := rsmtest.NewCells(1 << 20)
	r := newRig(t, c, rsm.ReplicaOptions{})
	r.apply(1, string(rsmtest.AppendAdd(nil, 1, 1)))
	done := false
	r.Snapshot(func(err error) {
		if done = true; err != nil {
			t.Error(err)
		}
	})
	for i := 0; !done; i++ {
		if i == 100_000 {
			t.Fatal("the snapshot waits for the end of the load")
		}
		r.apply(1, string(rsmtest.AppendAdd(nil, uint32(i%(1<<20)), 1)))
		r.w.Step()
	}
}

// TestSnapshotWhileApplying takes snapshots while the machine changes, and
// compares each file with the state as it was when the snapshot was asked for.
func TestSnapshotWhileApplying(t *testing.T) {
	const size = 1 << 16 // cells: 512 KiB
	c := rsmtest.NewCells(size)
	r := newRig(t, c, rsm.ReplicaOptions{})
	rnd := rand.New(rand.NewPCG(1, 2))
	change := func() {
		var data []byte
		for range 50 {
			data = rsmtest.AppendAdd(data, rnd.Uint32N(size), 1+rnd.Uint32N(9))
		}
		r.apply(1, string(data))
	}
	for range 5 {
		change()
		want := rsmtest.State(c)
		done := false
		r.Snapshot(func(err error) {
			if done = true; err != nil {
				t.Error(err)
			}
		})
		for !done {
			change()
			r.w.Step()
		}
		at := r.Newest().Index
		after := rsmtest.NewCells(size)
		copied := newRig(t, after, rsm.ReplicaOptions{})
		copied.mem = r.mem
		copied.reopen(after)
		if copied.State().Index != at || !bytes.Equal(rsmtest.State(after), want) {
			t.Errorf("the snapshot at %d holds another state", at)
		}
	}
}

func TestCloseGivesUpTheSnapshot(t *testing.T) {
	for steps := range 12 {
		t.Run(fmt.Sprint("after ", steps, " events"), func(t *testing.T) {
			c := rsmtest.NewCells(1 << 18)
			r := newRig(t, c, rsm.ReplicaOptions{})
			r.apply(1, string(rsmtest.AppendAdd(nil, 1, 1)))
			var errs []error
			r.Snapshot(func(err error) { errs = append(errs, err) })
			r.Snapshot(func(err error) { errs = append(errs, err) })
			for range steps {
				r.w.Step()
			}
			r.Close()
			r.settle()
			if len(errs) != 2 || !errors.Is(errs[0], rsm.ErrClosed) || !errors.Is(errs[1], rsm.ErrClosed) {
				t.Errorf("answered %v, want ErrClosed twice", errs)
			}
			if got := r.files(); len(got) > 0 || c.Open() {
				t.Errorf("left %v, the machine's snapshot is open: %v", got, c.Open())
			}
			if n := r.Metrics().SnapshotFailures; n != 0 {
				t.Errorf("%d failures", n)
			}
			r.Snapshot(func(err error) {
				if !errors.Is(err, rsm.ErrClosed) {
					t.Errorf("afterwards: got %v, want ErrClosed", err)
				}
			})
		})
	}
}
