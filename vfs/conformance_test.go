package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"maru.example/vfs"
)

// TestConformance holds every FS to what the interface promises.
func TestConformance(t *testing.T) {
	systems := map[string]func(t *testing.T) (vfs.FS, string){
		"OS": func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() },
		"Mem": func(t *testing.T) (vfs.FS, string) {
			m := vfs.NewMem()
			return m, mustMkdir(t, m, "/data")
		},
		"Mem relative": func(*testing.T) (vfs.FS, string) { return vfs.NewMem(), "." },
		"Faulty": func(t *testing.T) (vfs.FS, string) {
			m := vfs.NewFaulty(vfs.NewMem(), nil)
			return m, mustMkdir(t, m, "data")
		},
	}
	tests := map[string]func(t *testing.T, fsys vfs.FS, dir string){
		"read and write":     testReadWrite,
		"modes":              testModes,
		"missing":            testMissing,
		"list":               testList,
		"mkdir":              testMkdir,
		"rename":             testRename,
		"removed while open": testRemoveOpen,
		"truncate":           testTruncate,
		"lock":               testLock,
		"free":               testFree,
		"closed":             testClosed,
		"concurrent writes":  testConcurrent,
	}
	for system, open := range systems {
		for name, test := range tests {
			t.Run(system+"/"+name, func(t *testing.T) {
				fsys, dir := open(t)
				test(t, fsys, dir)
			})
		}
	}
}

func mustMkdir(t *testing.T, fsys vfs.FS, dir string) string {
	t.Helper()
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func create(t *testing.T, fsys vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fsys.Open(name, vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func content(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name, vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return all(t, f)
}

func all(t *testing.T, f vfs.File) string {
	t.Helper()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func testReadWrite(t *testing.T, fsys vfs.FS, dir string) {
	name := path.Join(dir, "f")
	f := create(t, fsys, name, "hello")
	if _, err := f.WriteAt([]byte("J"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("end"), 8); err != nil { // leaves a hole
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, fsys, name), "Jello\x00\x00\x00end"; got != want {
		t.Errorf("content: got %q, want %q", got, want)
	}
	for _, test := range []struct {
		off, length int64
		want        string
		err         error
	}{
		{0, 5, "Jello", nil},
		{8, 3, "end", nil},
		{8, 4, "end", io.EOF},
		{11, 1, "", io.EOF},
		{100, 1, "", io.EOF},
	} {
		p := make([]byte, test.length)
		n, err := f.ReadAt(p, test.off)
		if got := string(p[:n]); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("ReadAt(%d bytes, %d): got %q, %v, want %q, %v", test.length, test.off, got, err, test.want, test.err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("ReadAt(-1): got no error")
	}
	if _, err := f.WriteAt(make([]byte, 1), -1); err == nil {
		t.Error("WriteAt(-1): got no error")
	}
}

func testModes(t *testing.T, fsys vfs.FS, dir string) {
	name := path.Join(dir, "f")
	create(t, fsys, name, "one")
	if _, err := fsys.Open(name, vfs.Create); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of an existing file: got %v, want %v", err, fs.ErrExist)
	}
	r, err := fsys.Open(name, vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.WriteAt([]byte("x"), 0); err == nil {
		t.Error("WriteAt in mode Read: got no error")
	}
	if err := r.Truncate(0); err == nil {
		t.Error("Truncate in mode Read: got no error")
	}
	w, err := fsys.Open(name, vfs.Write)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteAt([]byte("two"), 0); err != nil {
		t.Fatal(err)
	}
	if got := all(t, r); got != "two" {
		t.Errorf("read through another handle: got %q, want %q", got, "two")
	}
	if _, err := fsys.Open(dir, vfs.Write); err == nil {
		t.Error("Open of a directory: got no error")
	}
}

func testMissing(t *testing.T, fsys vfs.FS, dir string) {
	no := path.Join(dir, "no")
	calls := map[string]func() error{
		"Open Read":   func() error { _, err := fsys.Open(no, vfs.Read); return err },
		"Open Write":  func() error { _, err := fsys.Open(no, vfs.Write); return err },
		"Open Create": func() error { _, err := fsys.Open(path.Join(no, "f"), vfs.Create); return err },
		"List":        func() error { _, err := fsys.List(no); return err },
		"Remove":      func() error { return fsys.Remove(no) },
		"Rename":      func() error { return fsys.Rename(no, path.Join(dir, "f")) },
		"SyncDir":     func() error { return vfs.SyncDir(fsys, no) },
		"Lock":        func() error { _, err := fsys.Lock(path.Join(no, "lock")); return err },
		"Free":        func() error { _, err := fsys.Free(no); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want %v", name, err, fs.ErrNotExist)
		}
	}
}

func testList(t *testing.T, fsys vfs.FS, dir string) {
	for _, name := range []string{"b", "c", "a"} {
		create(t, fsys, path.Join(dir, name), "")
	}
	create(t, fsys, path.Join(mustMkdir(t, fsys, path.Join(dir, "sub")), "below"), "")
	if err := fsys.Remove(path.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	got, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "c", "sub"}, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if _, err := fsys.List(path.Join(dir, "a")); err == nil {
		t.Error("List of a file: got no error")
	}
}

func testMkdir(t *testing.T, fsys vfs.FS, dir string) {
	deep := path.Join(dir, "x", "y", "z")
	for range 2 {
		mustMkdir(t, fsys, deep)
	}
	create(t, fsys, path.Join(deep, "f"), "")
	if err := fsys.MkdirAll(path.Join(deep, "f")); err == nil {
		t.Error("MkdirAll of a file: got no error")
	}
	if err := fsys.MkdirAll(path.Join(deep, "f", "g")); err == nil {
		t.Error("MkdirAll below a file: got no error")
	}
	if err := fsys.Remove(deep); err == nil {
		t.Error("Remove of a directory: got no error")
	}
	if err := vfs.SyncDir(fsys, deep); err != nil {
		t.Errorf("SyncDir: %v", err)
	}
	if _, err := fsys.OpenDir(path.Join(deep, "f")); err == nil {
		t.Error("OpenDir of a file: got no error")
	}
	d, err := fsys.OpenDir(deep)
	if err != nil {
		t.Fatal(err)
	}
	create(t, fsys, path.Join(deep, "g"), "")
	for range 2 {
		if err := d.Sync(); err != nil {
			t.Errorf("Sync of a directory: %v", err)
		}
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close of a directory: %v", err)
	}
	if err := d.Sync(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Sync of a closed directory: got %v, want %v", err, fs.ErrClosed)
	}
}

func testRename(t *testing.T, fsys vfs.FS, dir string) {
	a, b := path.Join(dir, "a"), path.Join(dir, "b")
	create(t, fsys, a, "a")
	old := create(t, fsys, b, "b")
	if err := fsys.Rename(a, b); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Rename(b, b); err != nil {
		t.Errorf("Rename to itself: %v", err)
	}
	if got := content(t, fsys, b); got != "a" {
		t.Errorf("content after Rename: got %q, want %q", got, "a")
	}
	if got := all(t, old); got != "b" {
		t.Errorf("content of the file that was replaced: got %q, want %q", got, "b")
	}
	if _, err := fsys.Open(a, vfs.Read); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of the old name: got %v, want %v", err, fs.ErrNotExist)
	}
}

func testRemoveOpen(t *testing.T, fsys vfs.FS, dir string) {
	name := path.Join(dir, "f")
	f := create(t, fsys, name, "kept")
	if err := fsys.Remove(name); err != nil {
		t.Fatal(err)
	}
	create(t, fsys, name, "new")
	if got := all(t, f); got != "kept" {
		t.Errorf("content through the old handle: got %q, want %q", got, "kept")
	}
	if got := content(t, fsys, name); got != "new" {
		t.Errorf("content: got %q, want %q", got, "new")
	}
}

func testTruncate(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, path.Join(dir, "f"), "12345678")
	for _, test := range []struct {
		size int64
		want string
	}{
		{4, "1234"},
		{6, "1234\x00\x00"},
		{0, ""},
		{2, "\x00\x00"},
	} {
		if err := f.Truncate(test.size); err != nil {
			t.Fatal(err)
		}
		if got := all(t, f); got != test.want {
			t.Errorf("after Truncate(%d): got %q, want %q", test.size, got, test.want)
		}
	}
	if err := f.Truncate(-1); err == nil {
		t.Error("Truncate(-1): got no error")
	}
}

func testLock(t *testing.T, fsys vfs.FS, dir string) {
	name := path.Join(dir, "lock")
	for range 2 {
		held, err := fsys.Lock(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fsys.Lock(name); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("second Lock: got %v, want %v", err, vfs.ErrLocked)
		}
		other, err := fsys.Lock(name + "2")
		if err != nil {
			t.Errorf("Lock of another file: %v", err)
		} else if err := other.Close(); err != nil {
			t.Error(err)
		}
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fsys.Lock(dir); err == nil {
		t.Error("Lock of a directory: got no error")
	}
}

func testFree(t *testing.T, fsys vfs.FS, dir string) {
	free, err := fsys.Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	if free <= 0 {
		t.Errorf("Free: got %d, want more", free)
	}
}

func testClosed(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, path.Join(dir, "f"), "x")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	calls := map[string]func() error{
		"ReadAt":   func() error { _, err := f.ReadAt(p, 0); return err },
		"WriteAt":  func() error { _, err := f.WriteAt(p, 0); return err },
		"Sync":     f.Sync,
		"Truncate": func() error { return f.Truncate(0) },
		"Size":     func() error { _, err := f.Size(); return err },
		"Close":    f.Close,
	}
	for name, call := range calls {
		if err := call(); err == nil {
			t.Errorf("%s of a closed file: got no error", name)
		}
	}
}

func testConcurrent(t *testing.T, fsys vfs.FS, dir string) {
	const writers, size = 8, 1000
	name := path.Join(dir, "f")
	f := create(t, fsys, name, "")
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			p := bytes.Repeat([]byte{byte('a' + i)}, size)
			if _, err := f.WriteAt(p, int64(i*size)); err != nil {
				t.Error(err)
			}
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			got := make([]byte, size)
			if _, err := f.ReadAt(got, int64(i*size)); err != nil || !bytes.Equal(got, p) {
				t.Errorf("writer %d read something else, or failed: %v", i, err)
			}
		})
	}
	wait.Wait()
	if got := len(content(t, fsys, name)); got != writers*size {
		t.Errorf("size: got %d, want %d", got, writers*size)
	}
}
