package rsm_test

import (
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"maru.example/rsm"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
	"maru.example/wal"
)

// sent returns the file of a snapshot of so many commands, and its state.
func sent(t testing.TB, commands int) ([]byte, rsm.State, []rsmtest.Record) {
	t.Helper()
	l := &rsmtest.List{}
	r := newRig(t, l, rsm.ReplicaOptions{})
	r.applyMany("sent", commands)
	r.mustSnapshot()
	at := r.Newest()
	f, err := r.OpenSnapshot(at.Index)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return b, at, l.Batches
}

func (r *rig) part(at rsm.State) *rsm.Part {
	r.t.Helper()
	p, err := r.OpenPart(at)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// receive appends pieces to a part.
func receive(t testing.TB, p *rsm.Part, b []byte) {
	t.Helper()
	for len(b) > 0 {
		n := min(len(b), 100)
		if err := p.Append(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
}

func TestInstall(t *testing.T) {
	file, at, want := sent(t, 50)
	l := &rsmtest.List{}
	r := newRig(t, l, rsm.ReplicaOptions{})
	r.applyMany("own", 5)
	r.mustSnapshot()
	r.applyMany("own", 5)
	p := r.part(at)
	receive(t, p, file)
	state, err := p.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(at, state, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	reads := 0
	r.Read(50, func(err error) {
		if reads++; err != nil {
			t.Error(err)
		}
	})
	given, later := false, errors.New("not answered")
	r.Snapshot(func(err error) { given = err != nil }) // of a state that is about to go
	r.Snapshot(func(err error) { later = err })        // of the one after that, which is in a file by then
	var asking sync.WaitGroup
	asking.Go(func() { _ = r.Metrics() }) // they may be asked for at any time: the race detector looks
	if err := r.Install(state); err != nil {
		t.Fatal(err)
	}
	asking.Wait()
	if got := r.Metrics().Recovered.SnapshotIndex; got != 0 {
		t.Errorf("a snapshot that was installed is said to be found at %d when it was opened", got)
	}
	if diff := cmp.Diff(want, l.Batches); diff != "" || reads != 1 || !given || later != nil || l.Open {
		t.Errorf("%d reads, snapshot given up %v, the next %v, open %v, state (-want +got):\n%s", reads, given, later, l.Open, diff)
	}
	r.settle()
	if diff := cmp.Diff([]string{"5.snap", "50.snap"}, r.files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	r.apply(1, "goes on")
	r.mustSnapshot()
	r.reopen(l)
	if len(l.Batches) != 51 || r.State().Index != 51 {
		t.Errorf("%d batches at %d", len(l.Batches), r.State().Index)
	}
}

// TestInstallWhileOneEnds installs a snapshot while the file of an older one is about
// to be finished, and others removed: the new one stays.
func TestInstallWhileOneEnds(t *testing.T) {
	file, at, want := sent(t, 50)
	l := &rsmtest.List{}
	r := newRig(t, l, rsm.ReplicaOptions{})
	r.applyMany("own", 5)
	p := r.part(at)
	receive(t, p, file)
	state, err := p.Finish()
	if err != nil {
		t.Fatal(err)
	}
	r.hang = time.Second
	r.Snapshot(func(error) {})
	if !l.Open || !r.w.Run(time.Second/2, func() bool { return !l.Open }) {
		t.Fatal("the snapshot's content is not given")
	}
	if err := r.Install(state); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.reopen(l)
	if diff := cmp.Diff(want, l.Batches); diff != "" {
		t.Errorf("after the next start (-want +got):\n%s", diff)
	}
}

// TestPartGoesOn receives a snapshot in several lives of a process, each of which
// ends in the middle, in an orderly way, by a crash that loses what was not synced,
// or by one that leaves damage.
func TestPartGoesOn(t *testing.T) {
	file, at, want := sent(t, 200)
	for _, tt := range []struct {
		name string
		stop func(r *rig, p *rsm.Part)
	}{
		{"in order", func(_ *rig, p *rsm.Part) { p.Close() }},
		{"killed", func(*rig, *rsm.Part) {}},
		{"power cut", func(r *rig, _ *rsm.Part) { r.mem.CrashClean() }},
		{"power cut with torn writes", func(r *rig, _ *rsm.Part) { r.mem.Crash(5) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &rsmtest.List{}
			r := newRig(t, l, rsm.ReplicaOptions{})
			p := r.part(at)
			receive(t, p, file[:len(file)/2])
			tt.stop(r, p)
			r.reopen(l)
			p = r.part(at)
			receive(t, p, file[p.Size():])
			state, err := p.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Install(state); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, l.Batches); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDamagedParts damages what was received before it is taken up again: it is
// kept up to the damage. Damage that comes afterwards is found at the end.
func TestDamagedParts(t *testing.T) {
	file, at, _ := sent(t, 20)
	name := path.Join(dir, fmt.Sprintf("%020d-%d.part", at.Index, at.Term))
	for off := range len(file) {
		r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
		p := r.part(at)
		receive(t, p, file)
		p.Close()
		flip(t, r.mem, name, int64(off))
		p, err := r.OpenPart(at)
		if err != nil && off >= 8 && off < 12 {
			continue // the version: a newer one is not damage
		}
		if err != nil {
			t.Fatalf("byte %d: %v", off, err)
		}
		if p.Size() > int64(off) {
			t.Fatalf("byte %d: %d were kept", off, p.Size())
		}
		receive(t, p, file[p.Size():])
		if _, err := p.Finish(); err != nil {
			t.Fatalf("byte %d: %v", off, err)
		}
	}
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
	p := r.part(at)
	receive(t, p, file)
	flip(t, r.mem, name, 60)
	if _, err := p.Finish(); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if got := r.files(); len(got) > 0 {
		t.Errorf("left %v", got)
	}
}

func TestPartsOfOthersAreRemoved(t *testing.T) {
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
	r.part(rsm.State{Index: 5, Term: 1}).Close()
	r.part(rsm.State{Index: 5, Term: 2}).Close()
	r.part(rsm.State{Index: 9, Term: 2}).Close()
	if diff := cmp.Diff([]string{"9-2.part"}, r.files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestPartOfAnotherState(t *testing.T) {
	file, at, _ := sent(t, 5)
	r := newRig(t, &rsmtest.List{}, rsm.ReplicaOptions{})
	other := rsm.State{Index: at.Index + 1, Term: at.Term}
	p := r.part(other)
	receive(t, p, file)
	p.Close()
	if p := r.part(other); p.Size() != 0 {
		t.Errorf("%d bytes of another snapshot were kept", p.Size())
	}
}

// TestEveryOperationOfAnInstallFails fails each call once: the replica says so, or
// has the new state; and a start finds the old or the new one.
func TestEveryOperationOfAnInstallFails(t *testing.T) {
	file, at, _ := sent(t, 20)
	for n := 1; ; n++ {
		l := &rsmtest.List{}
		r := newRig(t, l, rsm.ReplicaOptions{})
		r.applyMany("own", 3)
		r.mustSnapshot()
		r.settle()
		first, fired := r.fs.Calls(vfs.OpAny), false
		r.fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.All != first+n {
				return vfs.Fault{}
			}
			fired = true
			return vfs.Fault{Err: vfs.ErrInjected}
		})
		err := install(r, at, file)
		if !fired {
			if n < 10 {
				t.Errorf("an install has %d calls only", n)
			}
			return
		}
		if err == nil && len(l.Batches) != 20 {
			t.Errorf("call %d: no error, and %d batches", n, len(l.Batches))
		}
		r.reopen(l)
		if got := len(l.Batches); got != 3 && got != 20 {
			t.Errorf("call %d: %d batches after a start", n, got)
		}
	}
}

func install(r *rig, at rsm.State, file []byte) error {
	p, err := r.OpenPart(at)
	if err != nil {
		return err
	}
	if err := p.Append(file[p.Size():]); err != nil {
		return errors.Join(err, p.Close())
	}
	if _, err := p.Finish(); err != nil {
		return err
	}
	return r.Install(at)
}
