package rsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

const snapshots = dir + "/snapshots"

func snapshot(t testing.TB, n *rsm.Node) {
	t.Helper()
	if err := n.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// files returns the names of the snapshots, without zeros in front.
func files(t testing.TB, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List(snapshots)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		names[i] = strings.TrimLeft(name, "0")
	}
	return names
}

func snapshotPath(index int) string { return fmt.Sprintf("%s/%020d.snap", snapshots, index) }

// flip changes one byte of a file.
func flip(t testing.TB, fs vfs.FS, name string, off int64) {
	t.Helper()
	f, err := fs.Open(name, vfs.Write)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

// cut leaves the first size bytes of a file.
func cut(t testing.TB, fs vfs.FS, name string, size int64) {
	t.Helper()
	f, err := fs.Open(name, vfs.Write)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, fs vfs.FS, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := fs.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSnapshotAndLog(t *testing.T) {
	fs := vfs.NewMem()
	before := &list{}
	n := open(t, before, &rsm.Options{FS: fs})
	proposeMany(t, n, "a", 10)
	snapshot(t, n)
	proposeMany(t, n, "b", 5)
	m := n.Metrics()
	if m.Snapshots != 1 || m.SnapshotIndex != 10 || m.SnapshotBytes != 10*(20+2) {
		t.Errorf("metrics: %+v", m)
	}
	closeNode(t, n)

	after := &list{}
	n = open(t, after, &rsm.Options{FS: fs})
	if diff := cmp.Diff(before.batches, after.batches); diff != "" {
		t.Errorf("state (-before +after):\n%s", diff)
	}
	m = n.Metrics()
	if r := m.Recovered; r.SnapshotIndex != 10 || r.Entries != 5 || m.SnapshotIndex != 10 || m.SnapshotBytes != 220 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestSnapshotsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		n := open(t, &list{}, &rsm.Options{FS: fs})
		snapshot(t, n) // of nothing: there is nothing to write
		propose(t, n, "first")
		wait := make(chan struct{})
		fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync && strings.HasPrefix(c.Name, snapshots) {
				return vfs.Fault{Wait: wait}
			}
			return vfs.Fault{}
		})
		var wg sync.WaitGroup
		wg.Go(func() { snapshot(t, n) })
		synctest.Wait()
		propose(t, n, "second: the disk hangs for the snapshot only")
		for range 10 {
			wg.Go(func() { snapshot(t, n) }) // of more than the one under way
		}
		synctest.Wait()
		if got := n.Metrics().Snapshots; got != 0 {
			t.Errorf("%d snapshots are durable, want 0", got)
		}
		close(wait)
		wg.Wait()
		snapshot(t, n) // of nothing new
		if diff := cmp.Diff([]string{"1.snap", "2.snap"}, files(t, fs)); diff != "" {
			t.Errorf("snapshots (-want +got):\n%s", diff)
		}
	})
}

func TestSnapshotPolicy(t *testing.T) {
	tests := []struct {
		name     string
		o        rsm.Options
		proposal int // bytes
		want     []uint64
	}{
		{name: "never", o: rsm.Options{SnapshotBytes: -1}, proposal: 100, want: nil},
		{name: "default", o: rsm.Options{}, proposal: 100, want: nil},
		// An entry has 100 bytes in the log and 100 in the snapshot.
		{name: "log doubles", o: rsm.Options{SnapshotBytes: 400}, proposal: 80, want: []uint64{4, 8, 16, 32}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.o.FS = vfs.NewMem()
				n := open(t, &list{}, &tt.o)
				var got []uint64
				for range 40 {
					propose(t, n, strings.Repeat("x", tt.proposal))
					synctest.Wait()
					if m := n.Metrics(); int(m.Snapshots) > len(got) {
						got = append(got, uint64(m.SnapshotIndex))
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("snapshots at (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestSnapshotIsDueAfterRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		n := open(t, &list{}, &rsm.Options{FS: fs, SnapshotBytes: -1})
		proposeMany(t, n, "p", 100)
		closeNode(t, n)
		n = open(t, &list{}, &rsm.Options{FS: fs, SnapshotBytes: 500})
		synctest.Wait()
		if got := n.Metrics().SnapshotIndex; got != 100 {
			t.Errorf("snapshot at %d, want 100", got)
		}
	})
}

func TestTwoSnapshotsAreKept(t *testing.T) {
	fs := vfs.NewMem()
	n := open(t, &list{}, &rsm.Options{FS: fs})
	for range 5 {
		propose(t, n, "x")
		snapshot(t, n)
	}
	closeNode(t, n)
	for _, name := range []string{"00000000000000000007.snap.tmp", "mine.txt", "mine.snap"} {
		f, err := fs.Open(path.Join(snapshots, name), vfs.Create)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	n = open(t, &list{}, &rsm.Options{FS: fs})
	propose(t, n, "x")
	snapshot(t, n)
	if diff := cmp.Diff([]string{"5.snap", "6.snap", "mine.snap", "mine.txt"}, files(t, fs)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestDamagedSnapshots damages snapshots at 10 and 20, of 25 entries.
func TestDamagedSnapshots(t *testing.T) {
	prepare := func(t *testing.T, o rsm.Options) (*vfs.Mem, []record) {
		fs := vfs.NewMem()
		l := &list{}
		o.FS = fs
		n := open(t, l, &o)
		proposeMany(t, n, "a", 10)
		snapshot(t, n)
		proposeMany(t, n, "b", 10)
		snapshot(t, n)
		proposeMany(t, n, "c", 5)
		closeNode(t, n)
		return fs, l.batches
	}
	damages := []struct {
		name   string
		damage func(t testing.TB, fs vfs.FS, name string)
	}{
		{"header", func(t testing.TB, fs vfs.FS, name string) { flip(t, fs, name, 20) }},
		{"content", func(t testing.TB, fs vfs.FS, name string) { flip(t, fs, name, 100) }},
		{"cut", func(t testing.TB, fs vfs.FS, name string) { cut(t, fs, name, 150) }},
		{"empty", func(t testing.TB, fs vfs.FS, name string) { cut(t, fs, name, 0) }},
		{"longer", func(t testing.TB, fs vfs.FS, name string) { cut(t, fs, name, 10_000) }},
	}
	for _, tt := range damages {
		t.Run("newest/"+tt.name, func(t *testing.T) {
			fs, want := prepare(t, rsm.Options{SegmentBytes: 200, CutLog: true})
			tt.damage(t, fs, snapshotPath(20))
			l := &list{}
			n := open(t, l, &rsm.Options{FS: fs})
			checkRecovered(t, n, l, want, rsm.Recovery{
				SnapshotIndex: 10, Entries: 15, Batches: 15, Damaged: []string{path.Base(snapshotPath(20))},
			})
			snapshot(t, n) // the damaged one is not one of the two that are kept
			if diff := cmp.Diff([]string{"10.snap", "25.snap"}, files(t, fs)); diff != "" {
				t.Errorf("snapshots (-want +got):\n%s", diff)
			}
		})
		t.Run("both/whole log/"+tt.name, func(t *testing.T) {
			fs, want := prepare(t, rsm.Options{SegmentBytes: 200})
			tt.damage(t, fs, snapshotPath(20))
			tt.damage(t, fs, snapshotPath(10))
			l := &list{}
			n := open(t, l, &rsm.Options{FS: fs})
			checkRecovered(t, n, l, want, rsm.Recovery{
				Entries: 25, Batches: 25, Damaged: []string{path.Base(snapshotPath(20)), path.Base(snapshotPath(10))},
			})
		})
		t.Run("both/cut log/"+tt.name, func(t *testing.T) {
			fs, _ := prepare(t, rsm.Options{SegmentBytes: 200, CutLog: true})
			tt.damage(t, fs, snapshotPath(20))
			tt.damage(t, fs, snapshotPath(10))
			_, err := rsm.Open(dir, &list{}, &rsm.Options{FS: fs})
			if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), path.Base(snapshotPath(10))) {
				t.Errorf("got %v, want ErrCorrupt and the names of the damaged", err)
			}
		})
	}
}

func checkRecovered(t *testing.T, n *rsm.Node, l *list, batches []record, want rsm.Recovery) {
	t.Helper()
	if diff := cmp.Diff(batches, l.batches); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	got := n.Metrics().Recovered
	got.Duration = 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recovery (-want +got):\n%s", diff)
	}
}

func TestLogAndSnapshotsDoNotConnect(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, fs vfs.FS)
		want   string
	}{
		{"log lost", func(t *testing.T, fs vfs.FS) {
			names, err := fs.List(dir + "/log")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if name != "LOCK" {
					remove(t, fs, dir+"/log/"+name)
				}
			}
		}, "bring the log back"},
		{"the log's end lost, the newest snapshot damaged", func(t *testing.T, fs vfs.FS) {
			flip(t, fs, snapshotPath(20), 50)
			names, err := fs.List(dir + "/log")
			if err != nil {
				t.Fatal(err)
			}
			names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".wal") })
			remove(t, fs, dir+"/log/end", dir+"/log/"+names[len(names)-1])
		}, "bring the log back"},
		{"snapshots lost", func(t *testing.T, fs vfs.FS) {
			remove(t, fs, snapshotPath(10), snapshotPath(20))
		}, "bring back a newer snapshot"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			o := &rsm.Options{FS: fs, SegmentBytes: 200, CutLog: true}
			n := open(t, &list{}, o)
			for range 2 {
				proposeMany(t, n, "p", 10)
				snapshot(t, n)
			}
			closeNode(t, n)
			tt.damage(t, fs)
			for range 2 { // the second try finds no other state
				_, err := rsm.Open(dir, &list{}, o)
				if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want ErrCorrupt and %q", err, tt.want)
				}
			}
		})
	}
}

func TestCutLog(t *testing.T) {
	for _, cutLog := range []bool{false, true} {
		t.Run(fmt.Sprint(cutLog), func(t *testing.T) {
			fs := vfs.NewMem()
			o := &rsm.Options{FS: fs, SegmentBytes: 500, CutLog: cutLog}
			l := &list{}
			n := open(t, l, o)
			sizes := make([]int64, 3)
			for i := range sizes {
				proposeMany(t, n, "p", 100)
				snapshot(t, n)
				sizes[i] = n.Metrics().Log.Size
			}
			if grew := sizes[2] > sizes[1]+sizes[0]/2; grew == cutLog {
				t.Errorf("the log has %v bytes", sizes)
			}
			closeNode(t, n)
			after := &list{}
			closeNode(t, open(t, after, o))
			if diff := cmp.Diff(l.batches, after.batches); diff != "" {
				t.Errorf("state (-before +after):\n%s", diff)
			}
		})
	}
}

func TestFailingSnapshotHurtsNothing(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpClose, vfs.OpRename, vfs.OpOpen, vfs.OpSyncDir} {
		t.Run(op.String(), func(t *testing.T) {
			fs := vfs.NewFaulty(vfs.NewMem(), nil)
			l := &list{}
			n := open(t, l, &rsm.Options{FS: fs})
			propose(t, n, "a")
			fs.SetRule(func(c vfs.Call) vfs.Fault {
				if c.Op == op && strings.HasPrefix(c.Name, snapshots) {
					return vfs.Fault{Err: vfs.ErrNoSpace}
				}
				return vfs.Fault{}
			})
			if err := n.Snapshot(t.Context()); !errors.Is(err, vfs.ErrNoSpace) {
				t.Errorf("got %v, want ErrNoSpace", err)
			}
			propose(t, n, "b")
			if err := n.Err(); err != nil {
				t.Errorf("Err is %v, want nil", err)
			}
			if op != vfs.OpSyncDir && op != vfs.OpOpen { // then it has its name, though not for sure
				if got := files(t, fs); len(got) > 0 {
					t.Errorf("left %v", got)
				}
			}
			fs.SetRule(nil)
			snapshot(t, n)
			if m := n.Metrics(); m.Snapshots != 1 || m.SnapshotFailures != 1 || m.SnapshotIndex != 2 {
				t.Errorf("metrics: %+v", m)
			}
			if l.open {
				t.Error("the machine's snapshot is not closed")
			}
		})
	}
}

func TestFailingSnapshotIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		n := open(t, &list{}, &rsm.Options{FS: fs, SnapshotBytes: 400})
		fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpWrite && strings.HasPrefix(c.Name, snapshots) {
				return vfs.Fault{Err: vfs.ErrNoSpace}
			}
			return vfs.Fault{}
		})
		var failures []uint64
		for range 8 {
			propose(t, n, strings.Repeat("x", 80)) // an entry of 100 bytes
			synctest.Wait()
			failures = append(failures, n.Metrics().SnapshotFailures)
		}
		if diff := cmp.Diff([]uint64{0, 0, 0, 1, 2, 3, 4, 5}, failures); diff != "" {
			t.Errorf("failures after each proposal (-want +got):\n%s", diff)
		}
		fs.SetRule(nil)
		propose(t, n, "works again")
		propose(t, n, strings.Repeat("x", 80))
		synctest.Wait()
		if m := n.Metrics(); m.Snapshots != 1 {
			t.Errorf("metrics: %+v", m)
		}
	})
}

func TestApplyNeverWaitsForTheSnapshotsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		c := newCells(1 << 20) // 8 MiB: more than the buffers hold
		n := open(t, c, &rsm.Options{FS: fs})
		propose(t, n, string(appendAdd(nil, 1, 1)))
		wait := make(chan struct{})
		fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpWrite && strings.HasPrefix(c.Name, snapshots) {
				return vfs.Fault{Wait: wait}
			}
			return vfs.Fault{}
		})
		var wg sync.WaitGroup
		wg.Go(func() { snapshot(t, n) })
		for range 1000 {
			propose(t, n, string(appendAdd(nil, 1, 1)))
		}
		close(wait)
		wg.Wait()
		if got := c.sum.Load(); got != 1001 {
			t.Errorf("sum is %d, want 1001", got)
		}
	})
}

// watched is a machine that counts the calls of Next while batches wait.
type watched struct {
	*cells
	left  int // batches to come
	nexts int // calls before the last of them
}

func (w *watched) Apply(dst []byte, b rsm.Batch) []byte {
	w.left--
	return w.cells.Apply(dst, b)
}

func (w *watched) Snapshot() rsm.Snapshot { return watchedSnapshot{w.cells.Snapshot(), w} }

type watchedSnapshot struct {
	rsm.Snapshot
	machine *watched
}

func (s watchedSnapshot) Next(dst []byte, budget int) ([]byte, bool) {
	if s.machine.left > 0 {
		s.machine.nexts++
	}
	return s.Snapshot.Next(dst, budget)
}

func TestSnapshotGoesOnUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batches = 1000
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		w := &watched{cells: newCells(1 << 20), left: batches}
		n := open(t, w, &rsm.Options{FS: fs, MaxEntryBytes: 1, SnapshotBytes: 10_000, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		var wg sync.WaitGroup
		for range batches { // the first hangs; the others become one flush, in which a snapshot is due
			wg.Go(func() { propose(t, n, string(appendAdd(nil, 1, 1))) })
			synctest.Wait()
		}
		letGo()
		wg.Wait()
		synctest.Wait()
		if w.nexts == 0 {
			t.Error("the snapshot waited for the end of the load")
		}
		if got := n.Metrics().Snapshots; got != 1 {
			t.Errorf("%d snapshots, want 1", got)
		}
	})
}

func TestCloseGivesUpTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		c := newCells(1 << 20)
		n := open(t, c, &rsm.Options{FS: fs})
		propose(t, n, string(appendAdd(nil, 1, 1)))
		wait := make(chan struct{})
		fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpWrite && strings.HasPrefix(c.Name, snapshots) && c.Size > 1000 {
				return vfs.Fault{Wait: wait}
			}
			return vfs.Fault{}
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := n.Snapshot(t.Context()); !errors.Is(err, rsm.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { closeNode(t, n) })
		synctest.Wait()
		close(wait)
		wg.Wait()
		if got := files(t, fs); len(got) > 0 {
			t.Errorf("left %v", got)
		}
		if m := n.Metrics(); m.SnapshotFailures != 0 || c.open != nil {
			t.Errorf("failures: %d, machine's snapshot: %v", m.SnapshotFailures, c.open)
		}
	})
}

// TestSnapshotWhileApplying takes snapshots while the machine changes, and
// compares what is restored from each with the replay of the whole log.
func TestSnapshotWhileApplying(t *testing.T) {
	mem := vfs.NewMem()
	const size = 1 << 18 // cells: 2 MiB
	c := newCells(size)
	n := open(t, c, &rsm.Options{FS: mem, SnapshotBytes: 100 << 10, MaxEntryBytes: 1 << 10})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for range 300 {
				var data []byte
				for range 50 {
					data = appendAdd(data, r.Uint32N(size), 1+r.Uint32N(9))
				}
				if _, _, err := n.Propose(t.Context(), data); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range uint32(5) {
			propose(t, n, string(appendAdd(nil, i, 1)))
			snapshot(t, n)
		}
	})
	wg.Wait()
	m := n.Metrics()
	if m.Snapshots < 2 || m.SnapshotPause == 0 || m.SnapshotBytes != 8*size {
		t.Errorf("metrics: %+v", m)
	}
	closeNode(t, n)
	want := state(c)

	kept := files(t, mem)
	if len(kept) != 2 {
		t.Fatalf("kept %v, want two", kept)
	}
	for range 3 { // from the newest, from the one before, from the log alone
		after := newCells(size)
		n = open(t, after, &rsm.Options{FS: mem, SnapshotBytes: -1})
		closeNode(t, n)
		if !bytes.Equal(state(after), want) {
			t.Errorf("state differs, recovered with %v", files(t, mem))
		}
		names, err := mem.List(snapshots)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) > 0 {
			remove(t, mem, path.Join(snapshots, names[len(names)-1]))
		}
	}
}

// hasty is a machine that does not read its snapshot to the end.
type hasty struct{ list }

func (h *hasty) Restore(io.Reader) error {
	h.batches = nil
	return nil
}

func TestMachineThatLeavesBytes(t *testing.T) {
	fs := vfs.NewMem()
	n := open(t, &list{}, &rsm.Options{FS: fs})
	proposeMany(t, n, "p", 10)
	snapshot(t, n)
	closeNode(t, n)
	h := &hasty{}
	n = open(t, h, &rsm.Options{FS: fs})
	if got := n.Metrics().Recovered; len(got.Damaged) != 1 || got.Batches != 10 {
		t.Errorf("recovery: %+v", got)
	}
	if diff := cmp.Diff(numbered("p", 10), h.data()); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}
