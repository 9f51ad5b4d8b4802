package rsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/vfs"
)

// failNth is a rule that makes the n-th call fail, and says if it did.
func failNth(n int, fault vfs.Fault, fired *bool) vfs.Rule {
	return func(c vfs.Call) vfs.Fault {
		if c.All != n {
			return vfs.Fault{}
		}
		*fired = true
		return fault
	}
}

// life opens a node on fs, proposes and takes snapshots, and returns what was
// acknowledged. Anything may fail.
func life(t *testing.T, fs vfs.FS, prefix string) (acknowledged []string, l *list) {
	l = &list{}
	n, err := rsm.Open(dir, l, smallOptions(fs))
	if err != nil {
		return nil, l
	}
	defer n.Close() // its error is one of those that were injected
	for i := range 12 {
		data := fmt.Sprint(prefix, i)
		_, _, err := n.Propose(t.Context(), []byte(data))
		switch {
		case err == nil:
			acknowledged = append(acknowledged, data)
		case !errors.Is(err, rsm.ErrFailed):
			t.Errorf("got %v, want nil or ErrFailed", err)
		case !errors.Is(n.Err(), rsm.ErrFailed):
			t.Errorf("Err is %v after %v", n.Err(), err)
		}
		if i%4 == 3 {
			_ = n.Snapshot(t.Context()) // may fail
		}
	}
	if got := read(t, n, l); len(got) < len(acknowledged) {
		t.Errorf("holds %v, acknowledged were %v", got, acknowledged)
	}
	return acknowledged, l
}

// smallOptions makes everything happen often.
func smallOptions(fs vfs.FS) *rsm.Options {
	return &rsm.Options{FS: fs, SegmentBytes: 256, MaxEntryBytes: 100, SnapshotBytes: 400, CutLog: true}
}

func TestEveryOperationFails(t *testing.T) {
	faults := []struct {
		name  string
		fault vfs.Fault
	}{
		{"error", vfs.Fault{Err: vfs.ErrInjected}},
		{"disk full", vfs.Fault{Err: vfs.ErrNoSpace, Keep: 7}},
		{"done but reported", vfs.Fault{Err: vfs.ErrInjected, After: true}},
	}
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			for n := 1; ; n++ {
				mem := vfs.NewMem()
				first, _ := life(t, mem, "first")
				fired := false
				second, _ := life(t, vfs.NewFaulty(mem, failNth(n, tt.fault, &fired)), "second")
				if !fired {
					if n < 50 {
						t.Errorf("a life has %d operations only", n)
					}
					return
				}
				for _, crashed := range []*vfs.Mem{mem.Crashed(uint64(n)), mem} {
					l := &list{}
					after, err := rsm.Open(dir, l, smallOptions(crashed))
					if err != nil {
						t.Fatalf("operation %d: %v", n, err)
					}
					checkHistory(t, l.data(), first, second)
					propose(t, after, "third")
					closeNode(t, after)
				}
				if t.Failed() {
					t.Fatalf("operation %d failed", n)
				}
			}
		})
	}
}

// checkHistory checks that what was acknowledged in each life is there once and
// in order, the lives one after the other.
func checkHistory(t *testing.T, have []string, lives ...[]string) {
	t.Helper()
	missing(t, slices.Concat(lives...), have)
	at := -1
	for _, data := range slices.Concat(lives...) {
		i := slices.Index(have, data)
		if i <= at {
			t.Errorf("%s is at %d, what was acknowledged before it at %d", data, i, at)
		}
		at = i
	}
}

func TestFailedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		fs := vfs.NewFaulty(mem, nil)
		l := &list{}
		n := open(t, l, &rsm.Options{FS: fs, MaxQueueBytes: 1000, SyncTimeout: -1})
		proposeMany(t, n, "p", 3)

		fs.SetRule(failLog(vfs.OpSync, vfs.ErrNoSpace))
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				_, _, err := n.Propose(t.Context(), make([]byte, 100))
				if !errors.Is(err, rsm.ErrBusy) && (!errors.Is(err, rsm.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace)) {
					t.Errorf("Propose: got %v, want ErrFailed and the cause", err)
				}
			})
			wg.Go(func() {
				answered := make(chan error, 1)
				p := &rsm.Proposal{Data: make([]byte, 100)}
				p.Done = func(_ []byte, _ rsm.Position, err error) { answered <- err }
				err := n.Submit(t.Context(), p)
				if err == nil {
					err = <-answered
				}
				if !errors.Is(err, rsm.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace) {
					t.Errorf("Submit: got %v, want ErrFailed and the cause", err)
				}
			})
		}
		wg.Wait()
		<-n.Failed()
		if err := n.Err(); !errors.Is(err, rsm.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace) {
			t.Errorf("Err: got %v, want ErrFailed and the cause", err)
		}
		if diff := cmp.Diff(numbered("p", 3), read(t, n, l)); diff != "" {
			t.Errorf("reads go on, of what is durable (-want +got):\n%s", diff)
		}
		if err := n.Snapshot(t.Context()); !errors.Is(err, rsm.ErrFailed) {
			t.Errorf("Snapshot: got %v, want ErrFailed", err)
		}
		if m := n.Metrics(); m.QueueBytes != 0 {
			t.Errorf("the queue holds %d bytes", m.QueueBytes)
		}
		fs.SetRule(nil)
		n.Close()

		n = open(t, l, &rsm.Options{FS: mem})
		if diff := cmp.Diff(numbered("p", 3), read(t, n, l)[:3]); diff != "" {
			t.Errorf("after opening anew (-want +got):\n%s", diff)
		}
		propose(t, n, "works again")
	})
}

// failLog fails all operations of a kind on files of the log.
func failLog(op vfs.Op, err error) vfs.Rule {
	return func(c vfs.Call) vfs.Fault {
		if c.Op == op && strings.Contains(c.Name, "/log/") {
			return vfs.Fault{Err: err}
		}
		return vfs.Fault{}
	}
}

func TestHangingSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		fs := vfs.NewFaulty(mem, nil)
		l := &list{}
		n := open(t, l, &rsm.Options{FS: fs, MaxQueueBytes: 500, SyncTimeout: 3 * time.Second})
		propose(t, n, "before")

		letGo := hangSyncs(fs)
		defer letGo()
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 10 { // under way, in the queue, and waiting for the queue
			wg.Go(func() {
				answered := make(chan error, 1)
				p := &rsm.Proposal{Data: fmt.Appendf(nil, "hangs %d%100d", i, 0)}
				p.Done = func(_ []byte, _ rsm.Position, err error) { answered <- err }
				err := n.Submit(t.Context(), p)
				if err == nil {
					err = <-answered
				}
				if !errors.Is(err, rsm.ErrFailed) {
					t.Errorf("got %v, want ErrFailed", err)
				}
			})
		}
		wg.Wait()
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("answered after %v, want 3s", got)
		}
		<-n.Failed()
		if diff := cmp.Diff([]string{"before"}, read(t, n, l)); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}

		letGo() // the sync succeeds, late
		synctest.Wait()
		if _, _, err := n.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrFailed) {
			t.Errorf("after the late sync: got %v, want ErrFailed", err)
		}
		if diff := cmp.Diff([]string{"before"}, read(t, n, l)); diff != "" {
			t.Errorf("state after the late sync (-want +got):\n%s", diff)
		}
		closeNode(t, n)
		closeNode(t, open(t, &list{}, &rsm.Options{FS: mem}))
	})
}

func TestCloseWhileSyncHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		fs := vfs.NewFaulty(mem, nil)
		n := open(t, &list{}, &rsm.Options{FS: fs, SyncTimeout: time.Second})
		letGo := hangSyncs(fs)
		defer letGo()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := n.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrFailed) {
				t.Errorf("got %v, want ErrFailed", err)
			}
		})
		synctest.Wait()
		if err := n.Close(); !errors.Is(err, rsm.ErrFailed) {
			t.Errorf("Close: got %v, want ErrFailed", err)
		}
		wg.Wait()
		if _, err := rsm.Open(dir, &list{}, &rsm.Options{FS: mem}); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("opened while the sync hangs: got %v, want ErrLocked", err)
		}
		letGo()
		synctest.Wait()
		closeNode(t, open(t, &list{}, &rsm.Options{FS: mem}))
	})
}

func TestSlowSyncIsNotAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		n := open(t, &list{}, &rsm.Options{FS: fs, SyncTimeout: 3 * time.Second})
		for range 3 {
			letGo := hangSyncs(fs)
			time.AfterFunc(2*time.Second, letGo)
			propose(t, n, "slow")
		}
		time.Sleep(time.Minute) // of the bubble: an old watchdog would fire
		propose(t, n, "fast")
	})
}

// reserve is the least that a node with the default queue takes.
var reserve = rsm.MinReserveBytes(64 << 20)

func TestDiskGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		l := &list{}
		n := open(t, l, &rsm.Options{FS: mem, ReserveBytes: reserve})
		propose(t, n, "enough")

		mem.SetFree(reserve - 1)
		time.Sleep(time.Second) // of the bubble: the next look at the disk
		synctest.Wait()
		if _, _, err := n.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("Propose: got %v, want ErrDiskFull", err)
		}
		if err := n.Submit(t.Context(), &rsm.Proposal{Done: neverDone(t)}); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("Submit: got %v, want ErrDiskFull", err)
		}
		if err := n.Err(); !errors.Is(err, rsm.ErrDiskFull) {
			t.Errorf("Err: got %v, want ErrDiskFull", err)
		}
		if got := n.Metrics().FreeBytes; got != reserve-1 {
			t.Errorf("free are %d", got)
		}
		if got := read(t, n, l); len(got) != 1 {
			t.Errorf("holds %v", got)
		}

		mem.SetFree(1 << 30)
		time.Sleep(time.Second)
		synctest.Wait()
		propose(t, n, "room again")
	})
}

// TestDiskGuardAtOpen opens a node on a disk that is below the reserve: it says
// so, and what to do.
func TestDiskGuardAtOpen(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetFree(reserve - 1)
	var log bytes.Buffer
	n := open(t, &list{}, &rsm.Options{FS: mem, ReserveBytes: reserve, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if _, _, err := n.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrDiskFull) {
		t.Errorf("got %v, want ErrDiskFull", err)
	}
	for _, want := range []string{"level=WARN", "no proposals are taken", "make room"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
	closeNode(t, n)
	n = open(t, &list{}, &rsm.Options{FS: mem, ReserveBytes: -1})
	propose(t, n, "no reserve")
}

func TestReserveThatGuardsNothing(t *testing.T) {
	for _, tooSmall := range []int64{1, 10 << 20, reserve - 1} {
		if _, err := rsm.Open(dir, &list{}, &rsm.Options{FS: vfs.NewMem(), ReserveBytes: tooSmall}); err == nil || !strings.Contains(err.Error(), "ReserveBytes") {
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
		n := open(t, &list{}, &rsm.Options{FS: mem, MaxQueueBytes: queue, ReserveBytes: rsm.MinReserveBytes(queue), SnapshotBytes: -1})
		mem.SetFree(rsm.MinReserveBytes(queue) + 100)
		data := make([]byte, queue/2)
		var err error
		for i := 0; err == nil && i < 1000; i++ {
			_, _, err = n.Propose(t.Context(), data)
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
		n := open(t, &list{}, &rsm.Options{FS: mem, MaxQueueBytes: 1, ReserveBytes: rsm.MinReserveBytes(1)})
		var wg sync.WaitGroup
		goOn := make(chan struct{})
		wg.Go(func() { // nothing is applied
			if err := n.Read(t.Context(), func() { <-goOn }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() { propose(t, n, "is written") })
		synctest.Wait()
		wg.Go(func() {
			if err := n.Submit(t.Context(), &rsm.Proposal{Done: neverDone(t)}); !errors.Is(err, rsm.ErrDiskFull) {
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
