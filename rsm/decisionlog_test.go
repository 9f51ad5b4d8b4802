package rsm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

// recorded is a rig with the consensus's log: what was committed, by index from 1.
type recorded struct {
	*rig
	log  []*rsm.Committed
	want map[rsm.Index]string // the decisions that are to be on record
}

func newRecorded(t testing.TB) *recorded {
	r := newRig(t, &rsmtest.Recorded{}, rsm.ReplicaOptions{SnapshotBytes: -1, RecentBytes: 200})
	return &recorded{rig: r, want: map[rsm.Index]string{}}
}

// commit commits an entry of batches, or an empty one.
func (r *recorded) commit(data ...string) {
	c := &rsm.Committed{Index: rsm.Index(len(r.log) + 1), Term: 7, Place: uint64(len(r.log)+1) * 10}
	if len(data) > 0 {
		var proposals []*rsm.Proposal
		for _, d := range data {
			proposals = append(proposals, &rsm.Proposal{Data: []byte(d)})
		}
		c.Data = rsm.AppendEntry(nil, int64(len(r.log)), proposals)
	}
	r.log = append(r.log, c)
	r.applyNext()
	r.want[c.Index] = strings.Join(data, ",")
}

func (r *recorded) applyNext() {
	r.t.Helper()
	if err := r.Apply(r.log[r.State().Index]); err != nil {
		r.t.Fatal(err)
	}
}

// restart opens the replica anew after a crash, or not, and applies the log again.
func (r *recorded) restart(crash bool) {
	r.t.Helper()
	if crash {
		r.process.Kill()
		r.mem.Crash(uint64(len(r.log)))
	} else {
		r.Close()
		r.settle()
	}
	r.reopen(&rsmtest.Recorded{})
	for int(r.State().Index) < len(r.log) {
		r.applyNext()
	}
}

// read reads the decisions from an index on: "index:batches", with the effects.
func (r *recorded) read(from rsm.Index) (got map[rsm.Index]string, gap error) {
	r.t.Helper()
	reader := r.Decisions().Reader()
	got = map[rsm.Index]string{}
	for i := from; int(i) <= len(r.log); i++ {
		v, whole, err := reader.Next(context.Background(), i)
		if errors.Is(err, rsm.ErrGap) {
			gap = err
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if v.Index != i || v.Term != 7 || v.Place != uint64(i)*10 {
			r.t.Fatalf("entry %d: got %+v", i, v)
		}
		if !whole {
			v.Entry = r.log[i-1].Data
		}
		var parts []string
		if err := v.Batches(func(b rsm.DecidedBatch) error {
			if string(b.Effects) != string(b.Data) || len(b.Results) != 8 {
				r.t.Errorf("entry %d: batch %q has the effects %q, result %x", i, b.Data, b.Effects, b.Results)
			}
			parts = append(parts, string(b.Data))
			return nil
		}); err != nil {
			r.t.Fatal(err)
		}
		got[i] = strings.Join(parts, ",")
	}
	if err := reader.Close(); err != nil {
		r.t.Fatal(err)
	}
	return got, gap
}

// TestDecisionsStayOnRecord commits, makes snapshots, restarts and crashes at
// random: all decisions stay readable, from memory or from the disk.
func TestDecisionsStayOnRecord(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // repeatable
		r := newRecorded(t)
		for step := range 60 {
			switch n := random.IntN(12); {
			case n < 7:
				r.commit([][]string{{}, {"a"}, {"b", "", "c"}, {strings.Repeat("x", 300)}}[random.IntN(4)]...)
			case n < 9:
				r.mustSnapshot()
			case n == 9:
				r.w.Run(1e9, func() bool { return false })
			default:
				r.restart(random.IntN(2) == 0)
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
		got, gap := r.read(1)
		if diff := cmp.Diff(r.want, got); diff != "" || gap != nil {
			t.Fatalf("seed %d: %v (-want +got):\n%s", seed, gap, diff)
		}
	}
}

// TestGapInTheRecord takes entries away from a replica, as a snapshot of another one
// does: it says where the record goes on, before and after a restart, and what lies
// before is read as ever.
func TestGapInTheRecord(t *testing.T) {
	r := newRecorded(t)
	for i := range 5 {
		r.commit(fmt.Sprint("a", i))
	}
	r.mustSnapshot()
	other := newRecorded(t)
	for i := range 9 {
		other.commit(fmt.Sprint("a", i))
	}
	other.mustSnapshot()
	copySnapshot(t, other.mem, r.mem, 9)
	r.log = other.log
	since := func(what string, first, last rsm.Index) {
		t.Helper()
		if f, l := r.Decisions().Since(); f != first || l != last {
			t.Errorf("%s: on record from %d to %d, want %d to %d", what, f, l, first, last)
		}
	}
	since("before the gap", 1, 5)
	r.restart(false)
	since("with nothing behind the gap", 1, 5)
	r.commit("after")
	for range 2 {
		since("behind the gap", 10, 10)
		if got, gap := r.read(1); len(got) != 5 || gap == nil || !strings.Contains(gap.Error(), "goes on with entry 10") {
			t.Errorf("from the beginning: %v, %v", got, gap)
		}
		if got, gap := r.read(10); len(got) != 1 || gap != nil {
			t.Errorf("after the gap: %v, %v", got, gap)
		}
		r.mustSnapshot()
		r.restart(false)
	}
	since("behind the gap, on the disk", 10, 10)
	r.Decisions().Cut(10)
	r.settle()
	since("after the cut", 10, 10)
	if got, gap := r.read(1); len(got) != 0 || gap == nil || !strings.Contains(gap.Error(), "goes on with entry 10") {
		t.Errorf("after the cut: %v, %v", got, gap)
	}
}

// copySnapshot brings a snapshot file from one disk to another.
func copySnapshot(t *testing.T, from, to *vfs.Mem, index int) {
	t.Helper()
	in, err := from.Open(snapshotPath(index), vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	size, _ := in.Size()
	b := make([]byte, size)
	if n, err := in.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	out, err := to.Open(snapshotPath(index), vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// TestDecidedOtherwise starts a program with other rules on entries that are on record.
func TestDecidedOtherwise(t *testing.T) {
	r := newRecorded(t)
	r.commit("a")
	r.commit("b")
	r.Close()
	r.settle()
	r.reopen(&rsmtest.Recorded{Rule: "new"})
	if err := r.Apply(r.log[0]); !errors.Is(err, rsm.ErrDecision) || !strings.Contains(err.Error(), "entry 1:") {
		t.Errorf("got %v", err)
	}
}

// tolerant is a machine whose older programs recorded effects in other words.
type tolerant struct {
	rsmtest.Recorded
	notes byte
}

func (m *tolerant) Notes() byte { return m.notes }

func (m *tolerant) SameDecision(was, is rsm.DecidedBatch) bool {
	return string(was.Results) == string(is.Results) && string(was.Data) == string(is.Data) && "new "+string(was.Effects) == string(is.Effects)
}

// TestRecordedByAnOlderProgram starts a program that knows what older ones recorded.
func TestRecordedByAnOlderProgram(t *testing.T) {
	r := newRecorded(t)
	r.commit("a", "b")
	r.Close()
	r.settle()
	was, ok := r.Decisions().Recent(1)
	r.reopen(&tolerant{rsmtest.Recorded{Rule: "new "}, 1})
	r.applyNext()
	if got, found := r.Decisions().Recent(1); !ok || !found || !bytes.Equal(got.Decision, was.Decision) {
		t.Errorf("from memory: %q, %v; on record: %q", got.Decision, found, was.Decision)
	}
	r.Close()
	r.settle()
	r.reopen(&tolerant{rsmtest.Recorded{Rule: "newer "}, 1})
	if err := r.Apply(r.log[0]); !errors.Is(err, rsm.ErrDecision) {
		t.Errorf("with other rules: got %v", err)
	}
}

// TestRecordedByThisProgram starts a program on what it recorded itself: it is not taken for an older one's.
func TestRecordedByThisProgram(t *testing.T) {
	for _, tt := range []struct {
		name  string
		notes byte // of the program that recorded
		want  error
	}{{"older", 1, nil}, {"this one", 2, rsm.ErrDecision}, {"a newer one", 3, nil}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorded(t)
			r.reopen(&tolerant{rsmtest.Recorded{}, tt.notes})
			r.commit("a")
			r.Close()
			r.settle()
			r.reopen(&tolerant{rsmtest.Recorded{Rule: "new "}, 2})
			if err := r.Apply(r.log[0]); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestDecisionsFail lets the disk refuse the record: the replica says so, and a
// snapshot that would count on it does not become good.
func TestDecisionsFail(t *testing.T) {
	r := newRecorded(t)
	var failed error
	r.options.Failed = func(err error) { failed = err }
	r.restart(false)
	r.commit("a")
	r.settle()
	r.fs.SetRule(func(c vfs.Call) (f vfs.Fault) {
		if strings.Contains(c.Name, rsm.DecisionsName) && c.Op == vfs.OpWrite {
			f.Err = vfs.ErrNoSpace
		}
		return f
	})
	if err := r.snapshot(); !errors.Is(err, vfs.ErrNoSpace) || !errors.Is(failed, vfs.ErrNoSpace) {
		t.Errorf("the snapshot: %v; failed: %v", err, failed)
	}
	r.settle()
	if got := strings.Join(r.files(), " "); strings.Contains(got, ".snap") {
		t.Errorf("files: %s", got)
	}
}

// FuzzDecision reads any decision with any entry.
func FuzzDecision(f *testing.F) {
	entry := rsm.AppendEntry(nil, 5, []*rsm.Proposal{{Data: []byte("ab")}, {}})
	decision := rsm.AppendDecision(nil, []rsm.DecidedBatch{{Results: []byte("r"), Effects: []byte("ef")}, {}})
	f.Add(entry, decision)
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, entry, decision []byte) {
		total := 0
		d := rsm.Decided{Entry: entry, Decision: decision}
		err := d.Batches(func(b rsm.DecidedBatch) error {
			total += len(b.Data) + len(b.Results) + len(b.Effects)
			return nil
		})
		if err == nil && len(entry) > 0 {
			if n := int(binary.LittleEndian.Uint32(decision[4:])); total+16+4*n+8+8*n != len(entry)+len(decision) {
				t.Errorf("%d bytes of %d batches", total, n)
			}
		}
	})
}
