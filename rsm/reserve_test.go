package rsm_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"maru.example/rsm"
	"maru.example/vfs"
)

// TestSnapshotLeavesTheReserve writes snapshots on a disk that has room for less
// than one beyond the reserve: it is given up and leaves nothing, and the node
// goes on taking proposals. With room it is written.
func TestSnapshotLeavesTheReserve(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before bool // there is a snapshot that tells how large the next one will be
	}{{"found before it is written", true}, {"found while it is written", false}} {
		t.Run(tt.name, func(t *testing.T) {
			mem := vfs.NewMem()
			n := open(t, &list{}, &rsm.Options{FS: mem, ReserveBytes: reserve})
			propose(t, n, strings.Repeat("x", 4096))
			if tt.before {
				snapshot(t, n)
			}
			had := len(files(t, mem))
			propose(t, n, "more")
			mem.SetFree(reserve + 2048)
			if err := n.Snapshot(t.Context()); !errors.Is(err, rsm.ErrDiskFull) {
				t.Errorf("got %v, want %v", err, rsm.ErrDiskFull)
			}
			if free, err := mem.Free("."); err != nil || free < reserve {
				t.Errorf("%d bytes are free, %v, want at least %d", free, err, reserve)
			}
			if got := files(t, mem); len(got) != had {
				t.Errorf("there are %v, want %d", got, had)
			}
			propose(t, n, "goes on")
			mem.SetFree(2 * reserve)
			snapshot(t, n)
		})
	}
}

// TestDiskFillsUpUnderASnapshot lets others fill the disk while a snapshot is
// written: it is given up, which gives the room back.
func TestDiskFillsUpUnderASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		fs := vfs.NewFaulty(mem, nil)
		n := open(t, newCells(500_000), &rsm.Options{FS: fs, ReserveBytes: reserve})
		propose(t, n, string(appendAdd(nil, 1, 1)))
		writes := 0
		fs.SetRule(func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpWrite && strings.HasPrefix(c.Name, snapshots) {
				if writes++; writes == 3 {
					mem.SetFree(reserve + 100)
				}
			}
			return vfs.Fault{}
		})
		if err := n.Snapshot(t.Context()); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("got %v, want %v", err, rsm.ErrDiskFull)
		}
		if got := files(t, mem); len(got) > 0 {
			t.Errorf("left %v", got)
		}
	})
}
