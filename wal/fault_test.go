package wal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"maru.example/vfs"
	"maru.example/wal"
)

// script is a history that rotates, cuts on both sides and opens twice.
func script(w *world) {
	steps := []func(){
		func() { w.append(numbered(1, 3)...) },
		func() { w.append(numbered(4, 1)...) },
		func() { w.append(numbered(5, 20)...) }, // over several segments
		func() { w.truncateAfter(len(w.sure) - 9) },
		func() { w.append(numbered(50, 6)...) },
		func() { w.truncateBefore(w.first + 12) },
		func() { w.truncateAfter(len(w.sure) - 1) },
		func() { w.append(numbered(60, 2)...) },
	}
	for range 2 {
		w.open()
		for _, step := range steps {
			if w.log == nil || w.log.Err() != nil {
				return
			}
			step()
			w.check()
		}
		w.close()
	}
}

// TestEveryFault fails each call of a history that changes the disk, in turn and
// in three ways; then the machine crashes, or only the process does.
func TestEveryFault(t *testing.T) {
	sound := newWorld(t, 512)
	script(sound)
	edits := sound.fs.Edits()
	if edits < 50 {
		t.Fatalf("the history has %d edits, too few to be of use", edits)
	}
	for edit := 1; edit <= edits; edit++ {
		for _, keep := range []int{0, 100, -1} {
			t.Run(fmt.Sprintf("edit %d keep %d", edit, keep), func(t *testing.T) {
				for seed := range uint64(4) {
					w := newWorld(t, 512)
					w.cutPowerAt(edit, keep)
					script(w)
					w.check()
					if seed == 0 {
						w.fs.SetRule(nil)
						w.close()
					} else {
						w.crash(seed)
					}
					w.open()
					w.crash(seed + uint64(edit)*8) // what Open showed must be durable, whatever came before
					w.open()
					w.append("sound again")
					w.check()
					w.crash(seed)
					w.open()
					w.check()
					w.close()
				}
			})
		}
	}
}

// TestFailedSync checks that one failed sync ends the log although the disk works
// again, and that what it did not sync is not shown.
func TestFailedSync(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
		t.Run(op.String(), func(t *testing.T) {
			fs := vfs.NewFaulty(vfs.NewMem(), nil)
			l := open(t, fs, nil)
			add(t, l, "one")
			fs.SetRule(vfs.FailNth(op, fs.Calls(op)+1, vfs.ErrNoSpace))
			_, err := l.Append(record("two"))
			if !errors.Is(err, wal.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace) {
				t.Fatalf("Append: got %v, want %v for %v", err, wal.ErrFailed, vfs.ErrNoSpace)
			}
			wantTexts(t, l, []string{"one"})
			calls := map[string]func() error{
				"Append":         func() error { _, err := l.Append(record("three")); return err },
				"TruncateBefore": func() error { return l.TruncateBefore(1) },
				"TruncateAfter":  func() error { return l.TruncateAfter(0) },
				"Err":            l.Err,
			}
			before := fs.Edits()
			for name, call := range calls {
				if err := call(); !errors.Is(err, wal.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace) {
					t.Errorf("%s: got %v, want %v for %v", name, err, wal.ErrFailed, vfs.ErrNoSpace)
				}
			}
			shut(t, l)
			if after := fs.Edits(); after != before {
				t.Errorf("a failed log changed the disk %d times", after-before)
			}
		})
	}
}

// TestLastGroupIsWrittenAgain checks that Open writes what a failed sync may have
// left in the page cache only.
func TestLastGroupIsWrittenAgain(t *testing.T) {
	mem := vfs.NewMem()
	l := open(t, mem, nil)
	add(t, l, "one", "12345678 and more")
	mem.CrashClean()
	var sizes []int
	fs := vfs.NewFaulty(mem, func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpWrite {
			sizes = append(sizes, c.Size)
		}
		return vfs.Fault{}
	})
	for range 2 {
		l = open(t, fs, nil)
		shut(t, l)
	}
	want := []int{32 + 24, 32, 44, 32, 44} // the last record; the close marker and the end file, twice
	if !slices.Equal(sizes, want) {
		t.Errorf("got writes of %d bytes, want %d", sizes, want)
	}
}

// TestMarkerThatWasNotSynced checks that a close marker whose sync failed is made
// durable before a group follows it: else a crash that tears both would look as
// if something durable were damaged.
func TestMarkerThatWasNotSynced(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(t, 1<<20)
		w.open()
		w.append("one")
		w.cutPowerAt(2, 0) // the marker's sync
		w.close()
		w.fs.SetRule(nil)
		w.open()
		w.cutPowerAt(2, 0) // the group's sync
		w.append("two", "three")
		w.crash(seed)
		w.open()
		w.close()
	}
}

// TestHangingSync checks that a sync that hangs holds up only those who wait for
// it, and that they share the next one.
func TestHangingSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 10
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		l := open(t, fs, nil)
		add(t, l, "one")
		release := make(chan struct{})
		fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync {
				return vfs.Fault{Wait: release}
			}
			return vfs.Fault{}
		})
		done := make(chan error)
		for i := range callers {
			go func() {
				_, err := l.Append(record(fmt.Sprint(i)))
				done <- err
			}()
			synctest.Wait() // the first is in its sync, the others wait
		}
		closed := make(chan error)
		go func() { closed <- l.Close() }()
		synctest.Wait()
		wantTexts(t, l, []string{"one"})
		if err := l.Err(); err != nil {
			t.Errorf("Err: %v", err)
		}
		before := fs.Calls(vfs.OpSync)
		close(release)
		for range callers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		// The first one's had begun; the nine share one; Close marks the end twice.
		if got := fs.Calls(vfs.OpSync) - before; got != 3 {
			t.Errorf("got %d more syncs, want 3", got)
		}
		if _, err := l.Append(record("late")); !errors.Is(err, wal.ErrClosed) {
			t.Errorf("Append after Close: got %v, want %v", err, wal.ErrClosed)
		}
	})
}

// TestFullDisk fills the disk: what was acknowledged is there, and the log goes
// on when it is opened with room again.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	l := open(t, mem, small)
	mem.SetFree(3000)
	var want []string
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		text := fmt.Sprint("record ", i)
		if _, err = l.Append(record(text)); err == nil {
			want = append(want, text)
		}
	}
	if !errors.Is(err, vfs.ErrNoSpace) || len(want) == 0 {
		t.Fatalf("got %v after %d records, want %v", err, len(want), vfs.ErrNoSpace)
	}
	wantTexts(t, l, want)
	shut(t, l)
	mem.SetFree(1 << 20)
	l = open(t, mem, small)
	got := texts(t, l)
	if len(got) < len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	add(t, l, "more")
	wantTexts(t, l, append(got, "more"))
	shut(t, l)
}
