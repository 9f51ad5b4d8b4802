package rsmraft_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

// reserve is the least that a node with the default queue takes.
var reserve = rsmraft.MinReserveBytes(64 << 20)

func TestDiskGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		l := &rsmtest.List{}
		g := open(t, l, &rsmraft.Options{FS: mem, ReserveBytes: reserve})
		propose(t, g, "enough")

		mem.SetFree(reserve - 1)
		time.Sleep(time.Second) // of the bubble: the next look at the disk
		synctest.Wait()
		if _, _, err := g.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("Propose: got %v, want ErrDiskFull", err)
		}
		if err := g.Submit(t.Context(), &rsm.Proposal{Done: neverDone(t)}); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("Submit: got %v, want ErrDiskFull", err)
		}
		if err := g.Err(); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("Err: got %v, want ErrDiskFull", err)
		}
		if got := g.Host().Metrics().FreeBytes; got != reserve-1 {
			t.Errorf("free are %d", got)
		}
		if got := read(t, g, l); len(got) != 1 {
			t.Errorf("holds %v", got)
		}

		mem.SetFree(1 << 30)
		time.Sleep(time.Second)
		synctest.Wait()
		propose(t, g, "room again")
	})
}

// TestDiskGuardAtOpen opens a node on a disk that is below the reserve: it says
// so, and what to do.
func TestDiskGuardAtOpen(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetFree(reserve - 1)
	var log bytes.Buffer
	g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: mem, ReserveBytes: reserve, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if _, _, err := g.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrDiskFull) {
		t.Errorf("got %v, want ErrDiskFull", err)
	}
	closeNode(t, g)
	for _, want := range []string{"level=WARN", "no proposals are taken", "make room"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
	g = open(t, &rsmtest.List{}, &rsmraft.Options{FS: mem, ReserveBytes: -1})
	propose(t, g, "no reserve")
}

func TestReserveThatGuardsNothing(t *testing.T) {
	for _, tooSmall := range []int64{1, 10 << 20, reserve - 1} {
		_, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &rsmraft.Options{FS: vfs.NewMem(), ReserveBytes: tooSmall})
		if err == nil || !strings.Contains(err.Error(), "ReserveBytes") {
			t.Errorf("a reserve of %d bytes: got %v, want an error", tooSmall, err)
		}
	}
}

// TestDiskGuardBetweenLooks fills the disk by writing alone, in no time: the
// proposals that were taken are written, and the log does not fail.
func TestDiskGuardBetweenLooks(t *testing.T) {
	const queue = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		reserve := rsmraft.MinReserveBytes(queue)
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: mem, MaxQueueBytes: queue, ReserveBytes: reserve, SnapshotBytes: -1})
		mem.SetFree(reserve + 100)
		data := make([]byte, queue/2)
		var err error
		for i := 0; err == nil && i < 1000; i++ {
			_, _, err = g.Propose(t.Context(), data)
		}
		if !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("got %v, want %v", err, rsm.ErrDiskFull)
		}
		if free, err := mem.Free("."); err != nil || free <= 0 {
			t.Errorf("%d bytes are free, %v", free, err)
		}
	})
}

func TestDiskGuardSendsWaitersAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: mem, MaxQueueBytes: 1, ReserveBytes: rsmraft.MinReserveBytes(1)})
		var wg sync.WaitGroup
		goOn := make(chan struct{})
		wg.Go(func() { // nothing is applied
			if err := g.Read(t.Context(), func() { <-goOn }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() { propose(t, g, "is written") })
		synctest.Wait()
		wg.Go(func() {
			if err := g.Submit(t.Context(), &rsm.Proposal{Done: neverDone(t)}); !errors.Is(err, rsm.ErrDiskFull) {
				t.Errorf("got %v, want ErrDiskFull", err)
			}
		})
		synctest.Wait()
		mem.SetFree(1 << 10)
		time.Sleep(time.Second) // of the bubble: the next look at the disk
		synctest.Wait()
		close(goOn)
		wg.Wait()
	})
}

// TestSnapshotLeavesTheReserve asks for a snapshot on a disk without room beyond
// the reserve: it is given up and leaves nothing. With room it is written.
func TestSnapshotLeavesTheReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: mem, ReserveBytes: reserve})
		propose(t, g, strings.Repeat("x", 4096))
		mem.SetFree(reserve - 1)
		time.Sleep(time.Second) // of the bubble: the next look at the disk
		synctest.Wait()
		if err := g.Snapshot(t.Context()); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("got %v, want %v", err, rsm.ErrDiskFull)
		}
		if got := files(t, mem); len(got) != 0 {
			t.Errorf("there are %v", got)
		}
		mem.SetFree(2 * reserve)
		time.Sleep(time.Second)
		synctest.Wait()
		propose(t, g, "goes on")
		snapshot(t, g)
	})
}
