package rsmraft_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
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
func life(t *testing.T, fs vfs.FS, prefix string) (acknowledged []string) {
	l := &rsmtest.List{}
	g, err := rsmraft.OpenAlone(dir, l, smallOptions(fs))
	if err != nil {
		return nil
	}
	defer g.Close() // its error is one of those that were injected
	for i := range 12 {
		data := fmt.Sprint(prefix, i)
		_, _, err := g.Propose(t.Context(), []byte(data))
		switch {
		case err == nil:
			acknowledged = append(acknowledged, data)
		case !errors.Is(err, rsm.ErrFailed):
			t.Errorf("got %v, want nil or ErrFailed", err)
		case !errors.Is(g.Err(), rsm.ErrFailed):
			t.Errorf("Err is %v after %v", g.Err(), err)
		}
		if i%4 == 3 {
			_ = g.Snapshot(t.Context()) // may fail
		}
		var have []string
		switch err := g.Read(t.Context(), func() { have = l.Data() }); {
		case err == nil:
			missing(t, acknowledged, have)
		case !errors.Is(err, rsm.ErrFailed):
			t.Errorf("read: got %v, want nil or ErrFailed", err)
		}
	}
	return acknowledged
}

// smallOptions makes everything happen often.
func smallOptions(fs vfs.FS) *rsmraft.Options {
	return &rsmraft.Options{FS: fs, SegmentBytes: 512, MaxEntryBytes: 100, SnapshotBytes: 400, CutLog: true}
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
			t.Parallel()
			for n := 1; ; n++ {
				mem := vfs.NewMem()
				first := life(t, mem, "first")
				fired := false
				second := life(t, vfs.NewFaulty(mem, failNth(n, tt.fault, &fired)), "second")
				if !fired {
					if n < 100 {
						t.Errorf("a life has %d operations only", n)
					}
					return
				}
				for _, crashed := range []*vfs.Mem{mem.Crashed(uint64(n)), mem} {
					l := &rsmtest.List{}
					after, err := rsmraft.OpenAlone(dir, l, smallOptions(crashed))
					if err != nil {
						t.Fatalf("operation %d: %v", n, err)
					}
					checkHistory(t, l.Data(), first, second)
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
		l := &rsmtest.List{}
		g := open(t, l, &rsmraft.Options{FS: fs, MaxQueueBytes: 1000, SyncTimeout: -1})
		proposeMany(t, g, "p", 3)

		fs.SetRule(failLog(vfs.OpSync, vfs.ErrNoSpace))
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				_, _, err := g.Propose(t.Context(), make([]byte, 100))
				if !errors.Is(err, rsm.ErrBusy) && (!errors.Is(err, rsm.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace)) {
					t.Errorf("Propose: got %v, want ErrFailed and the cause", err)
				}
			})
			wg.Go(func() {
				err := submit(t.Context(), g, make([]byte, 100))
				if !errors.Is(err, rsm.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace) {
					t.Errorf("Submit: got %v, want ErrFailed and the cause", err)
				}
			})
		}
		wg.Wait()
		<-g.Failed()
		for name, err := range map[string]error{
			"Err":      g.Err(),
			"Host.Err": g.Host().Err(),
			"Read":     g.Read(t.Context(), func() {}),
			"Snapshot": g.Snapshot(t.Context()),
		} {
			if !errors.Is(err, rsm.ErrFailed) || !errors.Is(err, vfs.ErrNoSpace) {
				t.Errorf("%s: got %v, want ErrFailed and the cause", name, err)
			}
		}
		if m := g.Metrics(); m.QueueBytes != 0 {
			t.Errorf("the queue holds %d bytes", m.QueueBytes)
		}
		fs.SetRule(nil)
		closeNode(t, g)

		g = open(t, l, &rsmraft.Options{FS: mem})
		if diff := cmp.Diff(numbered("p", 3), read(t, g, l)[:3]); diff != "" {
			t.Errorf("after opening anew (-want +got):\n%s", diff)
		}
		propose(t, g, "works again")
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

// TestHangingSync hangs the log of a node of one group, which writes by itself,
// and of several, whose groups wait for each other.
func TestHangingSync(t *testing.T) {
	for _, groups := range []int{1, 3} {
		t.Run(fmt.Sprint(groups, " groups"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hangingSync(t, groups) })
		})
	}
}

func hangingSync(t *testing.T, groups int) {
	mem := vfs.NewMem()
	fs := vfs.NewFaulty(mem, nil)
	o := &rsmraft.Options{FS: fs, MaxQueueBytes: 500, SyncTimeout: 3 * time.Second}
	o.Machine = func(rsmraft.GroupID) rsm.Machine { return &rsmtest.List{} }
	h, err := rsmraft.Open(dir, 1, o)
	if err != nil {
		t.Fatal(err)
	}
	var all []*rsmraft.Group
	for id := range groups {
		g, err := h.Begin(rsmraft.GroupID(id))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.WaitLeader(); err != nil {
			t.Fatal(err)
		}
		propose(t, g, "before")
		all = append(all, g)
	}

	letGo := hangSyncs(fs)
	defer letGo()
	start := time.Now()
	var wg sync.WaitGroup
	for _, g := range all {
		for i := range 10 { // under way, in the queue, and waiting for the queue
			wg.Go(func() {
				if err := submit(t.Context(), g, fmt.Appendf(nil, "hangs %d%100d", i, 0)); !errors.Is(err, rsm.ErrFailed) {
					t.Errorf("got %v, want ErrFailed", err)
				}
			})
		}
	}
	wg.Wait()
	if got := time.Since(start); got < 3*time.Second || got > 4*time.Second {
		t.Errorf("answered after %v, want 3s", got)
	}
	<-h.Failed()

	letGo() // the sync succeeds, late
	synctest.Wait()
	for _, g := range all {
		if _, _, err := g.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrFailed) {
			t.Errorf("after the late sync: got %v, want ErrFailed", err)
		}
		if got := g.Metrics().Batches; got != 1 {
			t.Errorf("%d batches are applied after the late sync, want 1", got)
		}
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	o.FS = mem
	if h, err = rsmraft.Open(dir, 1, o); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseWhileSyncHangs(t *testing.T) {
	for _, first := range []string{"the failure", "Close"} {
		t.Run(first+" comes first", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := vfs.NewMem()
				fs := vfs.NewFaulty(mem, nil)
				g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, SyncTimeout: time.Second})
				letGo := hangSyncs(fs)
				defer letGo()
				var wg sync.WaitGroup
				wg.Go(func() {
					if _, _, err := g.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrFailed) {
						t.Errorf("got %v, want ErrFailed", err)
					}
				})
				synctest.Wait()
				if first == "the failure" {
					<-g.Failed()
				}
				if err := g.Close(); !errors.Is(err, rsm.ErrFailed) {
					t.Errorf("Close: got %v, want ErrFailed", err)
				}
				wg.Wait()
				if _, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &rsmraft.Options{FS: mem}); !errors.Is(err, vfs.ErrLocked) {
					t.Errorf("opened while the sync hangs: got %v, want ErrLocked", err)
				}
				letGo()
				synctest.Wait()
				closeNode(t, open(t, &rsmtest.List{}, &rsmraft.Options{FS: mem}))
			})
		})
	}
}

// TestCloseWhileRecordHangs closes a node of whose files only those of the record of decisions hang: it says so, and the directory
// stays locked until they do not.
func TestCloseWhileRecordHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		wait := make(chan struct{})
		fs := vfs.NewFaulty(mem, func(c vfs.Call) vfs.Fault {
			if c.Op == vfs.OpSync && strings.Contains(c.Name, "/"+rsm.DecisionsName+"/") {
				return vfs.Fault{Wait: wait}
			}
			return vfs.Fault{}
		})
		letGo := sync.OnceFunc(func() { close(wait) })
		defer letGo()
		g := open(t, &rsmtest.Recorded{}, &rsmraft.Options{FS: fs, SyncTimeout: time.Second})
		proposeMany(t, g, "p", 3)
		began := time.Now()
		if err := g.Close(); !errors.Is(err, rsm.ErrFailed) {
			t.Errorf("Close: got %v, want ErrFailed", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("Close took %v", took)
		}
		if _, err := rsmraft.OpenAlone(dir, &rsmtest.Recorded{}, &rsmraft.Options{FS: mem}); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("opened while the record hangs: got %v, want ErrLocked", err)
		}
		letGo()
		synctest.Wait()
		closeNode(t, open(t, &rsmtest.Recorded{}, &rsmraft.Options{FS: mem}))
	})
}

func TestSlowSyncIsNotAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, SyncTimeout: 3 * time.Second})
		for range 3 {
			letGo := hangSyncs(fs)
			time.AfterFunc(2*time.Second, letGo)
			propose(t, g, "slow")
		}
		time.Sleep(time.Minute) // of the bubble: an old watchdog would fire
		propose(t, g, "fast")
	})
}

// TestUnknownEntryVersion commits an entry that no version of the program wrote: the
// replica stops, and says so to all.
func TestUnknownEntryVersion(t *testing.T) {
	mem := vfs.NewMem()
	g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: mem})
	proposeMany(t, g, "p", 3)
	closeNode(t, g)
	rewriteLog(t, mem, func(_ int, r []byte) []byte {
		if len(r) > 32 && r[1] == 1 {
			r[32] = 9 // the entry's version
		}
		return r
	})
	if _, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &rsmraft.Options{FS: mem}); !errors.Is(err, rsm.ErrFailed) || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("got %v, want ErrFailed and the version", err)
	}
}

// TestLogThatCannotBeCut lets the disk fail while the log is cut: the log takes
// nothing any more, and the host says so at once.
func TestLogThatCannotBeCut(t *testing.T) {
	fs := vfs.NewFaulty(vfs.NewMem(), func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpRemove && strings.HasSuffix(c.Name, ".wal") {
			return vfs.Fault{Err: vfs.ErrInjected}
		}
		return vfs.Fault{}
	})
	g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, SegmentBytes: 500, CutLog: true, SnapshotBytes: -1})
	for range 2 {
		proposeMany(t, g, "p", 100)
		snapshot(t, g)
	}
	<-g.Host().Failed()
	if err := g.Err(); !errors.Is(err, rsm.ErrFailed) || !errors.Is(err, vfs.ErrInjected) {
		t.Errorf("got %v, want ErrFailed of ErrInjected", err)
	}
}
