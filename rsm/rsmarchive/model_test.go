package rsmarchive

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"maru.example/rsm"
	"maru.example/vfs"
)

// TestArchiveModel archives one history through faults of the disk, crashes and
// restarts, from two writers in turn, and looks what is there each time.
func TestArchiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &archiveModel{disk: vfs.NewMem(), segment: rapid.Int64Range(1, 4000).Draw(t, "segment"), seed: rapid.Uint64().Draw(t, "seed")}
		m.faulty = vfs.NewFaulty(m.disk, nil)
		m.restart(t)
		t.Repeat(map[string]func(*rapid.T){
			"append":  m.append,
			"seal":    m.seal,
			"fault":   m.fault,
			"crash":   m.crash,
			"restart": m.restart,
			"lose":    m.lose,
			"":        m.check,
		})
	})
}

type archiveModel struct {
	disk    *vfs.Mem
	faulty  *vfs.Faulty
	segment int64
	seed    uint64
	writer  *Writer
	durable rsm.Index // what a writer said to be sealed
}

func (m *archiveModel) store() Store { return NewDir(m.faulty, "a") }

func (m *archiveModel) append(t *rapid.T) {
	for range rapid.IntRange(1, 20).Draw(t, "n") {
		if m.writer.Full() {
			m.seal(t)
			return
		}
		d := decidedAt(m.seed, m.writer.Next(), 10)
		if err := m.writer.Append(&d); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *archiveModel) seal(t *rapid.T) {
	if err := m.writer.Seal(t.Context()); err != nil && !errors.Is(err, vfs.ErrInjected) {
		t.Fatal(err)
	}
	m.durable = max(m.durable, m.writer.Sealed().Index)
}

// fault seals while an operation on the disk fails.
func (m *archiveModel) fault(t *rapid.T) {
	at := m.faulty.Calls(vfs.OpAny) + rapid.IntRange(1, 12).Draw(t, "at")
	after := rapid.Bool().Draw(t, "after")
	m.faulty.SetRule(func(c vfs.Call) vfs.Fault {
		if c.All != at {
			return vfs.Fault{}
		}
		return vfs.Fault{Err: vfs.ErrInjected, After: after, Keep: c.Size / 2}
	})
	m.seal(t)
	m.faulty.SetRule(nil)
}

func (m *archiveModel) crash(t *rapid.T) {
	m.disk.Crash(rapid.Uint64().Draw(t, "crash"))
	m.restart(t)
}

func (m *archiveModel) restart(t *rapid.T) {
	w, err := OpenWriter(t.Context(), m.store(), of, &WriterOptions{SegmentBytes: m.segment})
	if err != nil {
		t.Fatal(err)
	}
	m.writer = w
	if w.Sealed().Index < m.durable {
		t.Fatalf("the archive ends after entry %d, it was durable up to %d", w.Sealed().Index, m.durable)
	}
}

// lose removes a segment that is not the last, for a look.
func (m *archiveModel) lose(t *rapid.T) {
	names, err := m.store().List(t.Context(), of.Folder())
	if err != nil || len(names) < 2 {
		t.Skip("nothing to lose")
	}
	lost := fmt.Sprintf("a/%s/%s", of.Folder(), names[rapid.IntRange(0, len(names)-2).Draw(t, "lost")])
	if err := m.disk.Rename(lost, "a/lost"); err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), m.store(), of, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Verify(t.Context(), nil)
	if err != nil || r.Found != 1 || r.Findings[0].Kind != Missing {
		t.Fatalf("got %v, %v, want that one segment is missing", r, err)
	}
	if err := m.disk.Rename("a/lost", lost); err != nil {
		t.Fatal(err)
	}
	if err := vfs.SyncDir(m.disk, "a/"+of.Folder()); err != nil {
		t.Fatal(err)
	}
}

// check looks whether all that is sealed is there, and as it was.
func (m *archiveModel) check(t *rapid.T) {
	a, err := Open(t.Context(), m.store(), of, nil)
	if err != nil {
		t.Fatal(err)
	}
	next := rsm.Index(1)
	r, err := a.Verify(t.Context(), &VerifyOptions{Each: func(d *rsm.Decided) error {
		want := decidedAt(m.seed, next, 10)
		if !same(d, &want) {
			return fmt.Errorf("entry %d is not as it was", next)
		}
		next++
		return nil
	}})
	if err != nil || r.Found > 0 || r.End.Index < m.durable {
		t.Fatalf("got %+v, %v, want nothing found up to entry %d at least", r, err, m.durable)
	}
}
