package rsm_test

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
	"maru.example/wal"
)

const dir = "group"

// rig is a replica in a simulated world, which commits what the test says.
type rig struct {
	t       testing.TB
	w       *sim.World
	process *sim.Process
	mem     *vfs.Mem
	fs      *vfs.Faulty
	hang    time.Duration // how long the disk's loop takes for each function
	options rsm.ReplicaOptions
	*rsm.Replica
}

func newRig(t testing.TB, m rsm.Machine, o rsm.ReplicaOptions) *rig {
	r := &rig{t: t, w: sim.New(1), mem: vfs.NewMem(), options: o}
	if err := r.open(m); err != nil {
		t.Fatal(err)
	}
	return r
}

// open opens the replica anew, as another process.
func (r *rig) open(m rsm.Machine) error {
	if r.process != nil {
		r.process.Kill()
	}
	r.fs = vfs.NewFaulty(r.mem, nil)
	r.process = r.w.Start()
	r.process.Delay = func(loop string) time.Duration {
		if loop == "disk" {
			return r.hang
		}
		return time.Microsecond
	}
	o := r.options
	o.FS = r.fs
	var err error
	r.Replica, err = rsm.OpenReplica(dir, m, r.process, r.process.NewLoop("apply"), r.process.NewLoop("disk"), &o)
	return err
}

func (r *rig) reopen(m rsm.Machine) {
	r.t.Helper()
	if err := r.open(m); err != nil {
		r.t.Fatal(err)
	}
}

// apply commits an entry of proposals at a time and returns their results.
func (r *rig) apply(at int64, data ...string) []string {
	r.t.Helper()
	var results []string
	var proposals []*rsm.Proposal
	for _, d := range data {
		proposals = append(proposals, &rsm.Proposal{Data: []byte(d), Done: func(result []byte, _ rsm.Position, err error) {
			if err != nil {
				r.t.Error(err)
			}
			results = append(results, string(result))
		}})
	}
	c := &rsm.Committed{Index: r.State().Index + 1, Term: 7, Data: rsm.AppendEntry(nil, at, proposals), Proposals: proposals}
	if err := r.Apply(c); err != nil {
		r.t.Fatal(err)
	}
	return results
}

// applyMany commits "prefix0" and so on, an entry each, and lets the world go on.
func (r *rig) applyMany(prefix string, count int) {
	r.t.Helper()
	for i := range count {
		r.apply(1, fmt.Sprint(prefix, i))
		r.w.Run(time.Millisecond, func() bool { return false })
	}
}

// settle runs all there is to run.
func (r *rig) settle() { r.w.Run(time.Hour, func() bool { return false }) }

// snapshot writes a snapshot and returns its error.
func (r *rig) snapshot() (err error) {
	r.t.Helper()
	done := false
	r.Snapshot(func(e error) { done, err = true, e })
	if !r.w.Run(time.Hour, func() bool { return done }) {
		r.t.Fatal("no snapshot within an hour")
	}
	return err
}

func (r *rig) mustSnapshot() {
	r.t.Helper()
	if err := r.snapshot(); err != nil {
		r.t.Fatal(err)
	}
}

// files returns the names of the replica's files, without zeros in front.
func (r *rig) files() []string {
	r.t.Helper()
	names, err := r.mem.List(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for i, name := range names {
		names[i] = strings.TrimLeft(name, "0")
	}
	return names
}

func snapshotPath(index int) string { return fmt.Sprintf("%s/%020d.snap", dir, index) }

func TestApply(t *testing.T) {
	l := &rsmtest.List{}
	room := int64(0)
	r := newRig(t, l, rsm.ReplicaOptions{Answered: func(bytes int64) { room += bytes }})
	got := r.apply(100, "a", "", "bc")
	want := []string{"\x01\x00\x00\x00\x00\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00", "\x03\x00\x00\x00\x00\x00\x00\x00"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if want := int64(3*64 + 3); room != want {
		t.Errorf("room of %d was given back, want %d", room, want)
	}
	if err := r.Apply(&rsm.Committed{Index: 2, Term: 8, Conf: []byte("conf")}); err != nil {
		t.Fatal(err)
	}
	r.apply(50, "d") // time never goes back
	wantBatches := []rsmtest.Record{{Index: 1, Time: 100, Data: "a"}, {Index: 1, Time: 100, Data: ""}, {Index: 1, Time: 100, Data: "bc"}, {Index: 3, Time: 100, Data: "d"}}
	if diff := cmp.Diff(wantBatches, l.Batches); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rsm.State{Index: 3, Time: 100, Term: 7, Conf: []byte("conf")}, r.State()); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if m := r.Metrics(); m.Batches != 4 || m.Entries != 2 || m.Applied != 3 {
		t.Errorf("metrics: %+v", m)
	}
}

// TestApplyOfOthers commits what another replica proposed.
func TestApplyOfOthers(t *testing.T) {
	l := &rsmtest.List{}
	r := newRig(t, l, rsm.ReplicaOptions{Answered: func(int64) { t.Error("answered") }})
	data := rsm.AppendEntry(nil, 1, []*rsm.Proposal{{Data: []byte("x")}})
	if err := r.Apply(&rsm.Committed{Index: 1, Term: 1, Data: data}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x"}, l.Data()); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestApplyRefuses(t *testing.T) {
	good := rsm.AppendEntry(nil, 1, []*rsm.Proposal{{Data: []byte("x")}})
	newer := append([]byte{9}, good[1:]...)
	for _, tt := range []struct {
		name    string
		data    []byte
		corrupt bool
	}{{"damage", good[:len(good)-1], true}, {"newer version", newer, false}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
			err := r.Apply(&rsm.Committed{Index: 1, Term: 1, Data: tt.data})
			if err == nil || errors.Is(err, wal.ErrCorrupt) != tt.corrupt {
				t.Errorf("got %v", err)
			}
			if r.State().Index != 0 {
				t.Errorf("the state is at %d", r.State().Index)
			}
		})
	}
}

func TestApplyOutOfOrderPanics(t *testing.T) {
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	_ = r.Apply(&rsm.Committed{Index: 2, Term: 1}) // panics
}

func TestReadsWaitForTheirIndex(t *testing.T) {
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
	var got []string
	read := func(i rsm.Index) {
		r.Read(i, func(err error) { got = append(got, fmt.Sprint(i, " at ", r.State().Index, " ", err)) })
	}
	read(0)
	read(2)
	read(1)
	r.applyMany("p", 2)
	read(2)
	read(9)
	r.Close()
	read(1)
	want := []string{"0 at 0 <nil>", "1 at 1 <nil>", "2 at 2 <nil>", "2 at 2 <nil>", "9 at 2 rsm: closed", "1 at 2 rsm: closed"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
}

func TestBegin(t *testing.T) {
	l := &rsmtest.List{}
	r := newRig(t, l, rsm.ReplicaOptions{})
	r.Begin(rsm.State{Index: 1, Term: 1, Conf: []byte("conf")})
	r.apply(1, "x")
	r.mustSnapshot()
	r.reopen(l)
	r.Begin(rsm.State{Index: 1, Term: 1, Conf: []byte("other")}) // a snapshot was restored
	if diff := cmp.Diff(rsm.State{Index: 2, Time: 1, Term: 7, Conf: []byte("conf")}, r.State()); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestRecoveryFromTheNewestSnapshot(t *testing.T) {
	before, after := &rsmtest.List{}, &rsmtest.List{Batches: []rsmtest.Record{{Data: "what it held before"}}}
	r := newRig(t, before, rsm.ReplicaOptions{})
	for range 3 {
		r.applyMany("p", 5)
		r.mustSnapshot()
	}
	r.reopen(after)
	if diff := cmp.Diff(before.Batches, after.Batches); diff != "" {
		t.Errorf("state (-before +after):\n%s", diff)
	}
	if got := r.State(); got.Index != 15 || got.Time != 1 || got.Term != 7 {
		t.Errorf("state: %+v", got)
	}
	m := r.Metrics()
	if m.Recovered.SnapshotIndex != 15 || m.Recovered.Damaged != nil || m.SnapshotIndex != 15 || m.SnapshotBytes != 15*(20+2) || m.Applied != 15 {
		t.Errorf("metrics: %+v", m)
	}
	if r.Newest().Index != 15 {
		t.Errorf("newest: %+v", r.Newest())
	}
}

func TestInitialState(t *testing.T) {
	l := &rsmtest.List{Batches: []rsmtest.Record{{Data: "what it held before"}}}
	r := newRig(t, l, rsm.ReplicaOptions{})
	if len(l.Batches) != 0 || r.State().Index != 0 || r.Newest().Index != 0 {
		t.Errorf("%v, %+v", l.Batches, r.State())
	}
}

func TestDamagedSnapshotsArePassedOver(t *testing.T) {
	for _, damaged := range [][]int{{10}, {10, 5}} {
		t.Run(fmt.Sprint(damaged), func(t *testing.T) {
			l := &rsmtest.List{}
			r := newRig(t, l, rsm.ReplicaOptions{})
			var want []string
			for range 2 {
				r.applyMany("p", 5)
				r.mustSnapshot()
			}
			for _, i := range damaged {
				flip(t, r.mem, snapshotPath(i), 100)
				want = append(want, path.Base(snapshotPath(i)))
			}
			r.reopen(l)
			if diff := cmp.Diff(want, r.Metrics().Recovered.Damaged); diff != "" {
				t.Errorf("damaged (-want +got):\n%s", diff)
			}
			left := 10 - 5*len(damaged)
			if len(l.Batches) != left || int(r.State().Index) != left {
				t.Errorf("%d batches, state at %d, want %d", len(l.Batches), r.State().Index, left)
			}
			r.applyMany("again", 7)
			r.mustSnapshot()
			for _, name := range r.files() { // a damaged one is not one of the two that are kept
				if name == "10.snap" {
					t.Errorf("there are %v", r.files())
				}
			}
		})
	}
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
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

// hasty is a machine that does not read its snapshot to the end.
type hasty struct{ rsmtest.List }

func (h *hasty) Restore(io.Reader) error {
	h.Batches = nil
	return nil
}

func TestMachineThatLeavesBytes(t *testing.T) {
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
	r.applyMany("p", 10)
	r.mustSnapshot()
	r.reopen(&hasty{})
	if got := r.Metrics().Recovered; len(got.Damaged) != 1 || r.State().Index != 0 {
		t.Errorf("recovery: %+v", got)
	}
}

func TestOldFilesAreRemoved(t *testing.T) {
	l := &rsmtest.List{}
	r := newRig(t, l, rsm.ReplicaOptions{})
	for range 5 {
		r.applyMany("x", 1)
		r.mustSnapshot()
	}
	for _, name := range []string{"00000000000000000007.snap.tmp", "mine.txt", "mine.snap", "00000000000000000003-7.part", "00000000000000000009-7.part"} {
		f, err := r.mem.Open(path.Join(dir, name), vfs.Create)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	r.reopen(l)
	r.applyMany("x", 1)
	r.mustSnapshot()
	if diff := cmp.Diff([]string{"5.snap", "6.snap", "9-7.part", "mine.snap", "mine.txt"}, r.files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
