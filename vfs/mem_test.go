package vfs_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"maru.example/vfs"
)

func mustSync(t *testing.T, f vfs.File) {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func syncDir(t *testing.T, m vfs.FS) {
	t.Helper()
	if err := vfs.SyncDir(m, "."); err != nil {
		t.Fatal(err)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	for seed := range uint64(100) {
		m := vfs.NewMem()
		f := create(t, m, "f", "synced")
		create(t, m, "gone", "")
		mustSync(t, f)
		if err := m.Remove("gone"); err != nil {
			t.Fatal(err)
		}
		g := create(t, m, "tmp", "new")
		mustSync(t, g)
		if err := m.Rename("tmp", "g"); err != nil {
			t.Fatal(err)
		}
		syncDir(t, m)
		m.Crash(seed)
		names, err := m.List(".")
		if got := strings.Join(names, " "); err != nil || got != "f g" {
			t.Fatalf("seed %d: got files %q, %v, want %q", seed, got, err, "f g")
		}
		if got := content(t, m, "f") + content(t, m, "g"); got != "syncednew" {
			t.Fatalf("seed %d: got %q, want %q", seed, got, "syncednew")
		}
	}
}

func TestCrashClean(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, m, "f", "synced")
	mustSync(t, f)
	create(t, m, "old", "")
	syncDir(t, m)
	if _, err := f.WriteAt([]byte("unsynced, longer"), 3); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1); err != nil {
		t.Fatal(err)
	}
	if err := m.Rename("old", "new"); err != nil {
		t.Fatal(err)
	}
	create(t, m, "created", "")
	d, err := m.OpenDir(".")
	if err != nil {
		t.Fatal(err)
	}
	m.CrashClean()
	if err := d.Sync(); !errors.Is(err, vfs.ErrCrashed) {
		t.Errorf("old directory: got %v, want %v", err, vfs.ErrCrashed)
	}
	names, err := m.List(".")
	if got := strings.Join(names, " "); err != nil || got != "f old" {
		t.Errorf("got files %q, %v, want %q", got, err, "f old")
	}
	if got := content(t, m, "f"); got != "synced" {
		t.Errorf("got %q, want %q", got, "synced")
	}
	if _, err := f.Size(); !errors.Is(err, vfs.ErrCrashed) {
		t.Errorf("old handle: got %v, want %v", err, vfs.ErrCrashed)
	}
}

// TestCrashOutcomes checks that the seeds reach every outcome of one write, and
// of one change of names, and that the same seed gives the same one.
func TestCrashOutcomes(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, m, "f", strings.Repeat("a", 2048))
	mustSync(t, f)
	create(t, m, "removed", "")
	syncDir(t, m)
	if err := m.Remove("removed"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("b", 1536)), 512); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for seed := range uint64(300) {
		c := m.Crashed(seed)
		got := content(t, c, "f")
		if again := content(t, m.Crashed(seed), "f"); again != got {
			t.Fatalf("seed %d: two outcomes", seed)
		}
		kept := ""
		for i := 0; i < len(got); i += 512 {
			sector := got[i : i+512]
			if sector != strings.Repeat(sector[:1], 512) {
				t.Fatalf("seed %d: a sector of 512 bytes is torn", seed)
			}
			kept += sector[:1]
		}
		seen[kept]++
		_, err := c.Open("removed", vfs.Read)
		seen[map[bool]string{true: "removed", false: "back"}[errors.Is(err, fs.ErrNotExist)]]++
	}
	for _, want := range []string{"aaaa", "abbb", "abaa", "abba", "aaba", "aabb", "removed", "back"} {
		if seen[want] == 0 {
			t.Errorf("%s never happened: %v", want, seen)
		}
	}
	for got := range seen {
		if got[0] != 'a' && len(got) == 4 && got != "back" {
			t.Errorf("%s: a synced sector changed", got)
		}
	}
	if got := content(t, m, "f"); got[512:] != strings.Repeat("b", 1536) {
		t.Error("Crashed changed the file system it looked at")
	}
}

func TestCrashFreesLocks(t *testing.T) {
	m := vfs.NewMem()
	old, err := m.Lock("lock")
	if err != nil {
		t.Fatal(err)
	}
	m.Crash(1)
	if _, err := m.Lock("lock"); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Lock("lock"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("an old lock's Close freed the new one: got %v, want %v", err, vfs.ErrLocked)
	}
}

func TestNoSpace(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, m, "f", "1234")
	m.SetFree(6)
	free := func(want int64) {
		t.Helper()
		if got, err := m.Free("."); err != nil || got != want {
			t.Errorf("Free: got %d, %v, want %d", got, err, want)
		}
	}
	free(6)
	if _, err := f.WriteAt([]byte("56"), 4); err != nil {
		t.Fatal(err)
	}
	free(4)
	if n, err := f.WriteAt([]byte("7890ab"), 6); n != 4 || !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("WriteAt: got %d, %v, want 4, %v", n, err, vfs.ErrNoSpace)
	}
	free(0)
	if _, err := f.WriteAt([]byte("over"), 0); err != nil {
		t.Errorf("overwriting a full disk: %v", err)
	}
	if err := f.Truncate(100); !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("Truncate: got %v, want %v", err, vfs.ErrNoSpace)
	}
	if err := f.Truncate(5); err != nil {
		t.Fatal(err)
	}
	free(5)
	if err := m.Remove("f"); err != nil {
		t.Fatal(err)
	}
	free(10)
}
