package vfs_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"maru.example/vfs"
)

func TestFailNth(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem(), vfs.FailNth(vfs.OpWrite, 2, vfs.ErrNoSpace))
	file := create(t, f, "f", "one")
	if _, err := file.WriteAt([]byte("two"), 0); !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("second write: got %v, want %v", err, vfs.ErrNoSpace)
	}
	if got := content(t, f, "f"); got != "one" {
		t.Errorf("got %q, want %q", got, "one")
	}
	if _, err := file.WriteAt([]byte("two"), 0); err != nil {
		t.Errorf("third write: %v", err)
	}
	if got := f.Calls(vfs.OpWrite); got != 3 {
		t.Errorf("got %d writes, want 3", got)
	}
	if got := f.Edits(); got != 4 { // and the creation
		t.Errorf("got %d edits, want 4", got)
	}
}

func TestTearNth(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem(), vfs.TearNth(2, 2))
	file := create(t, f, "f", "abcd")
	if n, err := file.WriteAt([]byte("WXYZ"), 0); n != 2 || !errors.Is(err, vfs.ErrInjected) {
		t.Errorf("got %d, %v, want 2, %v", n, err, vfs.ErrInjected)
	}
	if got := content(t, f, "f"); got != "WXcd" {
		t.Errorf("got %q, want %q", got, "WXcd")
	}
}

// TestFailAll fails each kind of call, before and after it is made.
func TestFailAll(t *testing.T) {
	calls := map[vfs.Op]func(vfs.FS, vfs.File) error{
		vfs.OpOpen:     func(f vfs.FS, _ vfs.File) error { _, err := f.Open("f", vfs.Read); return err },
		vfs.OpCreate:   func(f vfs.FS, _ vfs.File) error { _, err := f.Open("g", vfs.Create); return err },
		vfs.OpList:     func(f vfs.FS, _ vfs.File) error { _, err := f.List("."); return err },
		vfs.OpMkdirAll: func(f vfs.FS, _ vfs.File) error { return f.MkdirAll("d") },
		vfs.OpRemove:   func(f vfs.FS, _ vfs.File) error { return f.Remove("f") },
		vfs.OpRename:   func(f vfs.FS, _ vfs.File) error { return f.Rename("f", "g") },
		vfs.OpSyncDir:  func(f vfs.FS, _ vfs.File) error { return vfs.SyncDir(f, ".") },
		vfs.OpLock:     func(f vfs.FS, _ vfs.File) error { _, err := f.Lock("l"); return err },
		vfs.OpFree:     func(f vfs.FS, _ vfs.File) error { _, err := f.Free("."); return err },
		vfs.OpRead:     func(_ vfs.FS, f vfs.File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		vfs.OpWrite:    func(_ vfs.FS, f vfs.File) error { _, err := f.WriteAt([]byte("W"), 0); return err },
		vfs.OpSync:     func(_ vfs.FS, f vfs.File) error { return f.Sync() },
		vfs.OpTruncate: func(_ vfs.FS, f vfs.File) error { return f.Truncate(0) },
		vfs.OpSize:     func(_ vfs.FS, f vfs.File) error { _, err := f.Size(); return err },
		vfs.OpClose:    func(_ vfs.FS, f vfs.File) error { return f.Close() },
	}
	for op, call := range calls {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%v", op, after), func(t *testing.T) {
				f := vfs.NewFaulty(vfs.NewMem(), nil)
				file := create(t, f, "f", "x")
				failing := true
				f.SetRule(func(c vfs.Call) vfs.Fault {
					if failing && c.Op == op {
						return vfs.Fault{Err: vfs.ErrNoSpace, After: after}
					}
					return vfs.Fault{}
				})
				if err := call(f, file); !errors.Is(err, vfs.ErrNoSpace) {
					t.Fatalf("got %v, want %v", err, vfs.ErrNoSpace)
				}
				failing = false
				if op == vfs.OpRemove || op == vfs.OpRename {
					if _, err := f.Open("f", vfs.Read); (err != nil) != after {
						t.Errorf("the file afterwards: got %v", err)
					}
				}
			})
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := vfs.NewFaulty(vfs.NewMem(), func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync {
				return vfs.Fault{Wait: release}
			}
			return vfs.Fault{}
		})
		file := create(t, f, "f", "x")
		done := false
		go func() {
			if err := file.Sync(); err != nil {
				t.Error(err)
			}
			done = true
		}()
		synctest.Wait()
		if done {
			t.Error("Sync did not wait")
		}
		close(release)
		synctest.Wait()
		if !done {
			t.Error("Sync did not end")
		}
	})
}
