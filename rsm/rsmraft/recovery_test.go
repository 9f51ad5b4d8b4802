package rsmraft_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
	"maru.example/wal"
)

// snapshots is the directory of the snapshots of a node that is alone.
const snapshots = dir + "/groups/00000001"

func snapshot(t testing.TB, g *rsmraft.Group) {
	t.Helper()
	if err := g.Snapshot(t.Context()); err != nil {
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

// cut makes a file so many bytes long.
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

// readLog returns the records of a node's log.
func readLog(t testing.TB, fs vfs.FS) [][]byte {
	t.Helper()
	log, err := wal.Open(fs, dir+"/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r, err := log.Reader(log.First())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all [][]byte
	for range log.Last() - log.First() + 1 {
		_, b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(b))
	}
	return all
}

// rewriteLog writes a node's log anew, with each record changed.
func rewriteLog(t testing.TB, fs vfs.FS, change func(i int, record []byte) []byte) {
	t.Helper()
	all := readLog(t, fs)
	names, err := fs.List(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		remove(t, fs, path.Join(dir, "log", name))
	}
	log, err := wal.Open(fs, dir+"/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range all {
		if r = change(i, r); r == nil {
			continue
		}
		if _, err := log.Append(wal.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func snapshotPath(index int) string { return fmt.Sprintf("%s/%020d.snap", snapshots, index) }

func TestSnapshotAndLog(t *testing.T) {
	fs := vfs.NewMem()
	before := &rsmtest.List{}
	g := open(t, before, &rsmraft.Options{FS: fs})
	proposeMany(t, g, "a", 10)
	snapshot(t, g)
	at := g.Metrics().SnapshotIndex
	proposeMany(t, g, "b", 5)
	if m := g.Metrics(); m.Snapshots != 1 || m.SnapshotBytes != 10*(20+2) {
		t.Errorf("metrics: %+v", m)
	}
	closeNode(t, g)

	after := &rsmtest.List{}
	g = open(t, after, &rsmraft.Options{FS: fs})
	if diff := cmp.Diff(before.Batches, after.Batches); diff != "" {
		t.Errorf("state (-before +after):\n%s", diff)
	}
	if m := g.Metrics(); m.Recovered.SnapshotIndex != at || m.RecoveredBatches != 5 || m.SnapshotIndex != at || m.SnapshotBytes != 220 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestSnapshotIsDueAfterRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, SnapshotBytes: -1})
		proposeMany(t, g, "p", 100)
		closeNode(t, g)
		g = open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, SnapshotBytes: 500})
		synctest.Wait()
		if m := g.Metrics(); m.Snapshots == 0 {
			t.Errorf("metrics: %+v", m)
		}
	})
}

// history is a disk with snapshots after 10 and 20 of 25 proposals, and what the
// machine held at last.
type history struct {
	fs    *vfs.Mem
	o     rsmraft.Options
	marks [2]int // the indexes of the snapshots
	want  []rsmtest.Record
	early []byte // the checkpoint after the first snapshot
}

func newHistory(t *testing.T, cutLog bool) *history {
	t.Helper()
	h := &history{fs: vfs.NewMem()}
	h.o = rsmraft.Options{FS: h.fs, SegmentBytes: 300, CutLog: cutLog, SnapshotBytes: -1}
	synctest.Test(t, func(t *testing.T) {
		l := &rsmtest.List{}
		g := open(t, l, &h.o)
		for i := range h.marks {
			proposeMany(t, g, fmt.Sprint("p", i, "/"), 10)
			snapshot(t, g)
			h.marks[i] = int(g.Metrics().SnapshotIndex)
			synctest.Wait() // for the checkpoint
			if i == 0 {
				h.early = content(t, h.fs, checkpoint)
			}
		}
		proposeMany(t, g, "rest", 5)
		closeNode(t, g)
		h.want = l.Batches
	})
	return h
}

// check opens the node, compares the state, and lets it go on and open again.
func (h *history) check(t testing.TB, batches int, damaged ...string) {
	t.Helper()
	l := &rsmtest.List{}
	g := open(t, l, &h.o)
	if diff := cmp.Diff(h.want, l.Batches); diff != "" {
		t.Fatalf("state (-want +got):\n%s", diff)
	}
	m := g.Metrics()
	if diff := cmp.Diff(damaged, m.Recovered.Damaged); diff != "" || int(m.RecoveredBatches) != batches {
		t.Errorf("%d batches were replayed, want %d; damaged (-want +got):\n%s", m.RecoveredBatches, batches, diff)
	}
	propose(t, g, "goes on")
	snapshot(t, g)
	propose(t, g, "and on")
	closeNode(t, g)
	again := &rsmtest.List{}
	closeNode(t, open(t, again, &h.o))
	if diff := cmp.Diff(l.Batches, again.Batches); diff != "" {
		t.Errorf("state when opened again (-want +got):\n%s", diff)
	}
}

func TestDamagedSnapshots(t *testing.T) {
	damages := []struct {
		name   string
		damage func(t testing.TB, fs vfs.FS, name string)
	}{
		{"header", func(t testing.TB, fs vfs.FS, name string) { flip(t, fs, name, 20) }},
		{"configuration", func(t testing.TB, fs vfs.FS, name string) { flip(t, fs, name, 49) }},
		{"content", func(t testing.TB, fs vfs.FS, name string) { flip(t, fs, name, 100) }},
		{"cut", func(t testing.TB, fs vfs.FS, name string) { cut(t, fs, name, 150) }},
		{"empty", func(t testing.TB, fs vfs.FS, name string) { cut(t, fs, name, 0) }},
		{"longer", func(t testing.TB, fs vfs.FS, name string) { cut(t, fs, name, 10_000) }},
		{"missing", func(t testing.TB, fs vfs.FS, name string) { remove(t, fs, name) }},
	}
	for _, tt := range damages {
		for _, cutLog := range []bool{false, true} {
			t.Run(fmt.Sprint("newest/cut log ", cutLog, "/", tt.name), func(t *testing.T) {
				h := newHistory(t, cutLog)
				name := snapshotPath(h.marks[1])
				tt.damage(t, h.fs, name)
				damaged := []string{path.Base(name)}
				if tt.name == "missing" {
					damaged = nil
				}
				h.check(t, 15, damaged...)
				for _, name := range files(t, h.fs) {
					if name == fmt.Sprint(h.marks[1], ".snap") {
						t.Error("the damaged one is one of the two that are kept")
					}
				}
			})
		}
		t.Run("both/whole log/"+tt.name, func(t *testing.T) {
			h := newHistory(t, false)
			var damaged []string
			for _, i := range []int{1, 0} {
				name := snapshotPath(h.marks[i])
				tt.damage(t, h.fs, name)
				damaged = append(damaged, path.Base(name))
			}
			if tt.name == "missing" {
				damaged = nil
			}
			h.check(t, 25, damaged...)
		})
		t.Run("both/cut log/"+tt.name, func(t *testing.T) {
			h := newHistory(t, true)
			tt.damage(t, h.fs, snapshotPath(h.marks[0]))
			tt.damage(t, h.fs, snapshotPath(h.marks[1]))
			for range 2 { // the second try finds no other state
				g, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &h.o)
				if err == nil {
					g.Close()
				}
				if !errors.Is(err, wal.ErrCorrupt) {
					t.Errorf("got %v, want ErrCorrupt", err)
				}
			}
		})
	}
}

// TestOnlyOneSnapshot damages the only snapshot that there is: the log is not cut
// before there are two.
func TestOnlyOneSnapshot(t *testing.T) {
	fs := vfs.NewMem()
	o := &rsmraft.Options{FS: fs, SegmentBytes: 300, CutLog: true, SnapshotBytes: -1}
	l := &rsmtest.List{}
	g := open(t, l, o)
	proposeMany(t, g, "p", 20)
	snapshot(t, g)
	at := int(g.Metrics().SnapshotIndex)
	proposeMany(t, g, "q", 5)
	closeNode(t, g)
	flip(t, fs, snapshotPath(at), 100)
	after := &rsmtest.List{}
	closeNode(t, open(t, after, o))
	if diff := cmp.Diff(l.Batches, after.Batches); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// content returns what a file holds.
func content(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name, vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replace makes a file that holds b, in place of one that may be there.
func replace(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	if err := fs.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		t.Fatal(err)
	}
	f, err := fs.Open(name, vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

const checkpoint = dir + "/checkpoint"

func TestCheckpoint(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t testing.TB, h *history)
	}{
		{"as it is", func(testing.TB, *history) {}},
		{"missing", func(t testing.TB, h *history) { remove(t, h.fs, checkpoint) }},
		{"damaged", func(t testing.TB, h *history) { flip(t, h.fs, checkpoint, 17) }},
		{"empty", func(t testing.TB, h *history) { cut(t, h.fs, checkpoint, 0) }},
		{"longer", func(t testing.TB, h *history) { cut(t, h.fs, checkpoint, 1000) }},
		{"of the first snapshot", func(t testing.TB, h *history) { replace(t, h.fs, checkpoint, h.early) }},
		{"another one not finished", func(t testing.TB, h *history) { replace(t, h.fs, checkpoint+".tmp", h.early[:20]) }},
	} {
		for _, cutLog := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, "/cut log ", cutLog), func(t *testing.T) {
				h := newHistory(t, cutLog)
				tt.change(t, h)
				h.check(t, 5)
			})
		}
	}
}

func TestCheckpointOfANewerVersion(t *testing.T) {
	h := newHistory(t, false)
	flip(t, h.fs, checkpoint, 8)
	if _, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &h.o); !errors.Is(err, rsmraft.ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

// segments returns the names of the log's segments.
func segments(t testing.TB, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		if strings.HasSuffix(name, ".wal") {
			all = append(all, path.Join(dir, "log", name))
		}
	}
	return all
}

// TestWhatCannotBeHadBack damages what nothing else on the disk makes up for:
// the node is not opened, and says what is missing.
func TestWhatCannotBeHadBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cutLog bool
		damage func(t testing.TB, h *history)
		want   string
	}{
		{"the log", false, func(t testing.TB, h *history) {
			remove(t, h.fs, append(segments(t, h.fs), dir+"/log/end")...)
		}, "bring the log back"},
		{"the log and the checkpoint", false, func(t testing.TB, h *history) {
			remove(t, h.fs, append(segments(t, h.fs), dir+"/log/end", checkpoint)...)
		}, "bring the log back"},
		{"the log's end", false, func(t testing.TB, h *history) {
			all := segments(t, h.fs)
			remove(t, h.fs, all[len(all)/2:]...)
			remove(t, h.fs, dir+"/log/end")
		}, "bring the log back"},
		{"a segment in the middle", false, func(t testing.TB, h *history) {
			all := segments(t, h.fs)
			remove(t, h.fs, all[len(all)-2])
		}, "missing"},
		{"a record in the middle", false, func(t testing.TB, h *history) {
			all := segments(t, h.fs)
			flip(t, h.fs, all[len(all)-2], 120)
		}, "segment"},
		{"snapshots of a log that was cut", true, func(t testing.TB, h *history) {
			remove(t, h.fs, snapshotPath(h.marks[0]), snapshotPath(h.marks[1]))
		}, "missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHistory(t, tt.cutLog)
			tt.damage(t, h)
			for range 2 { // the second try finds no other state
				g, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &h.o)
				if err == nil {
					g.Close()
				}
				if !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want ErrCorrupt and %q", err, tt.want)
				}
			}
		})
	}
}

// TestDamageBeforeTheCheckpoint flips a bit in a part of the log that a start does
// not read: it does not hinder the start.
func TestDamageBeforeTheCheckpoint(t *testing.T) {
	h := newHistory(t, false)
	flip(t, h.fs, segments(t, h.fs)[0], 200)
	l := &rsmtest.List{}
	closeNode(t, open(t, l, &h.o))
	if diff := cmp.Diff(h.want, l.Batches); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestUnknownRecords(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(record []byte)
		want   error
	}{
		{"a newer version", func(r []byte) { r[0] = 2 }, rsmraft.ErrVersion},
		{"an unknown kind", func(r []byte) { r[1] = 99 }, wal.ErrCorrupt},
		{"a gap", func(r []byte) { r[16] += 3 }, wal.ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs})
			proposeMany(t, g, "p", 5)
			closeNode(t, g)
			entries := 0
			rewriteLog(t, fs, func(_ int, r []byte) []byte {
				if r[1] == 1 {
					if entries++; entries == 4 {
						tt.change(r)
					}
				}
				return r
			})
			if _, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &rsmraft.Options{FS: fs}); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestCutLog(t *testing.T) {
	for _, cutLog := range []bool{false, true} {
		t.Run(fmt.Sprint(cutLog), func(t *testing.T) {
			fs := vfs.NewMem()
			o := &rsmraft.Options{FS: fs, SegmentBytes: 500, CutLog: cutLog, SnapshotBytes: -1}
			l := &rsmtest.List{}
			g := open(t, l, o)
			sizes := make([]int64, 4)
			for i := range sizes {
				proposeMany(t, g, "p", 100)
				snapshot(t, g)
				sizes[i] = g.Host().Metrics().Log.Size
			}
			closeNode(t, g)
			if grew := sizes[3] > sizes[1]+sizes[0]; grew == cutLog {
				t.Errorf("the log has %v bytes", sizes)
			}
			after := &rsmtest.List{}
			closeNode(t, open(t, after, o))
			if diff := cmp.Diff(l.Batches, after.Batches); diff != "" {
				t.Errorf("state (-before +after):\n%s", diff)
			}
		})
	}
}

// groups is a node of several groups: the first counts, the others keep lists.
type groups struct {
	host  *rsmraft.Host
	cells *rsmtest.Cells
	lists map[rsmraft.GroupID]*rsmtest.List
}

// openGroups opens a node, and begins so many groups.
func openGroups(t testing.TB, o rsmraft.Options, count int) *groups {
	t.Helper()
	n := &groups{cells: rsmtest.NewCells(1), lists: map[rsmraft.GroupID]*rsmtest.List{}}
	o.Machine = func(id rsmraft.GroupID) rsm.Machine {
		if id == 0 {
			return n.cells
		}
		n.lists[id] = &rsmtest.List{}
		return n.lists[id]
	}
	var err error
	if n.host, err = rsmraft.Open(dir, 1, &o); err != nil {
		t.Fatal(err)
	}
	for id := range rsmraft.GroupID(count) {
		g, err := n.host.Begin(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.WaitLeader(); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestIdleGroups runs a busy group beside one that has a few entries, and one that
// has none: both are there after each start, and the log is cut all the same.
func TestIdleGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const adds = 200
		o := rsmraft.Options{FS: vfs.NewMem(), SegmentBytes: 1000, SnapshotBytes: 4000, CutLog: true}
		var size int64
		for life := range 5 {
			n := openGroups(t, o, 3)
			if got := n.cells.Sum.Load(); got != uint64(life*adds) {
				t.Fatalf("sum is %d in life %d, want %d", got, life, life*adds)
			}
			if life == 0 {
				propose(t, n.host.Group(1), "few")
				propose(t, n.host.Group(1), "entries")
			}
			if diff := cmp.Diff([]string{"few", "entries"}, n.lists[1].Data()); diff != "" {
				t.Fatalf("life %d (-want +got):\n%s", life, diff)
			}
			for range adds {
				propose(t, n.host.Group(0), string(rsmtest.AppendAdd(nil, 1, 1)))
				synctest.Wait()
			}
			if len(n.lists[2].Batches) != 0 {
				t.Fatal("there is something in the group that is idle")
			}
			size = n.host.Metrics().Log.Size
			if err := n.host.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if size > 60_000 { // all lives together write more than 150,000
			t.Errorf("the log has %d bytes", size)
		}
	})
}
