package rsm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

const dir = "node"

// open opens a node that is closed when the test ends.
func open(t testing.TB, m rsm.Machine, o *rsm.Options) *rsm.Node {
	t.Helper()
	n, err := rsm.Open(dir, m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() }) // a test that looks at the error closes by itself
	return n
}

func closeNode(t testing.TB, n *rsm.Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

func propose(t testing.TB, n *rsm.Node, data string) ([]byte, rsm.Position) {
	t.Helper()
	result, at, err := n.Propose(t.Context(), []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return result, at
}

// proposeMany proposes "prefix0" and so on, one after the other.
func proposeMany(t testing.TB, n *rsm.Node, prefix string, count int) {
	t.Helper()
	for i := range count {
		propose(t, n, fmt.Sprint(prefix, i))
	}
}

// read returns what the machine holds.
func read(t testing.TB, n *rsm.Node, l *list) []string {
	t.Helper()
	var data []string
	if err := n.Read(t.Context(), func() { data = l.data() }); err != nil {
		t.Fatal(err)
	}
	return data
}

func numbered(prefix string, count int) []string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return all
}

func TestProposeAndRead(t *testing.T) {
	l := &list{}
	n := open(t, l, &rsm.Options{FS: vfs.NewMem()})
	for i, data := range []string{"one", "", "three"} {
		result, at := propose(t, n, data)
		if got, want := binary.LittleEndian.Uint64(result), uint64(i+1); got != want {
			t.Errorf("result is %d, want %d", got, want)
		}
		if want := wal.Index(i + 1); at.Index != want {
			t.Errorf("index is %d, want %d", at.Index, want)
		}
		if got := n.Metrics().Applied; got != at.Index {
			t.Errorf("applied is %d after the answer, want %d", got, at.Index)
		}
	}
	if diff := cmp.Diff([]string{"one", "", "three"}, read(t, n, l)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	m := n.Metrics()
	if m.Proposals != 3 || m.Entries != 3 || m.QueueBytes != 0 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestReopenReplays(t *testing.T) {
	fs := vfs.NewMem()
	before := &list{}
	n := open(t, before, &rsm.Options{FS: fs})
	proposeMany(t, n, "p", 10)
	closeNode(t, n)

	after := &list{}
	n = open(t, after, &rsm.Options{FS: fs})
	if diff := cmp.Diff(before.batches, after.batches); diff != "" {
		t.Errorf("replayed (-before +after):\n%s", diff)
	}
	if r := n.Metrics().Recovered; r.Entries != 10 || r.Batches != 10 || r.SnapshotIndex != 0 {
		t.Errorf("recovery: %+v", r)
	}
	if _, at := propose(t, n, "next"); at.Index != 11 {
		t.Errorf("index is %d, want 11", at.Index)
	}
}

func TestReopenResetsTheMachine(t *testing.T) {
	fs := vfs.NewMem()
	l := &list{}
	n := open(t, l, &rsm.Options{FS: fs})
	proposeMany(t, n, "p", 3)
	closeNode(t, n)
	n = open(t, l, &rsm.Options{FS: fs}) // the same machine, as it was left
	if diff := cmp.Diff(numbered("p", 3), read(t, n, l)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestTimeNeverDecreases(t *testing.T) {
	fs := vfs.NewMem()
	var clock atomic.Int64
	o := &rsm.Options{FS: fs, Now: func() time.Time { return time.Unix(0, clock.Load()) }}
	var got []int64
	at := func(n *rsm.Node, now int64) {
		clock.Store(now)
		_, p := propose(t, n, "x")
		got = append(got, p.Time)
	}
	n := open(t, &list{}, o)
	at(n, 100)
	at(n, 50)
	closeNode(t, n)
	n = open(t, &list{}, o) // knows the time from the log
	at(n, 60)
	at(n, 110)
	if err := n.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeNode(t, n)
	n = open(t, &list{}, o) // and from the snapshot
	at(n, 70)
	at(n, 120)
	if diff := cmp.Diff([]int64{100, 100, 100, 110, 110, 120}, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

func TestOpenIsExclusive(t *testing.T) {
	fs := vfs.NewMem()
	n := open(t, &list{}, &rsm.Options{FS: fs})
	if _, err := rsm.Open(dir, &list{}, &rsm.Options{FS: fs}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	closeNode(t, n)
	closeNode(t, open(t, &list{}, &rsm.Options{FS: fs}))
}

func TestOpenRefusesOptions(t *testing.T) {
	tests := []struct {
		name string
		o    rsm.Options
	}{
		{"entry too large", rsm.Options{MaxEntryBytes: 8<<20 + 1}},
		{"entry negative", rsm.Options{MaxEntryBytes: -1}},
		{"queue negative", rsm.Options{MaxQueueBytes: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.FS = vfs.NewMem()
			if n, err := rsm.Open(dir, &list{}, &tt.o); err == nil {
				n.Close()
				t.Error("opened")
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	n := open(t, &list{}, &rsm.Options{FS: vfs.NewMem()})
	if _, _, err := n.Propose(t.Context(), make([]byte, rsm.MaxProposalBytes+1)); !errors.Is(err, rsm.ErrTooLarge) {
		t.Errorf("Propose: got %v, want ErrTooLarge", err)
	}
	err := n.Submit(t.Context(), &rsm.Proposal{Data: make([]byte, rsm.MaxProposalBytes+1), Done: neverDone(t)})
	if !errors.Is(err, rsm.ErrTooLarge) {
		t.Errorf("Submit: got %v, want ErrTooLarge", err)
	}
	propose(t, n, string(make([]byte, rsm.MaxProposalBytes)))
}

func neverDone(t testing.TB) func([]byte, rsm.Position, error) {
	return func([]byte, rsm.Position, error) { t.Error("Done was called") }
}

func TestSubmitKeepsOrder(t *testing.T) {
	l := &list{}
	n := open(t, l, &rsm.Options{FS: vfs.NewMem(), MaxEntryBytes: 100, MaxQueueBytes: 1000})
	var done []string
	var wg sync.WaitGroup
	want := numbered("p", 500)
	for _, data := range want {
		wg.Add(1)
		p := &rsm.Proposal{Data: []byte(data)}
		p.Done = func(result []byte, at rsm.Position, err error) {
			defer wg.Done()
			if err != nil || at.Index == 0 || at.Time == 0 {
				t.Errorf("%s: position %v, error %v", data, at, err)
			}
			done = append(done, data)
			if got := int(binary.LittleEndian.Uint64(result)); got != len(done) {
				t.Errorf("result is %d, want %d", got, len(done))
			}
		}
		if err := n.Submit(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, read(t, n, l)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestEndedContext(t *testing.T) {
	l := &list{}
	n := open(t, l, &rsm.Options{FS: vfs.NewMem()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := n.Propose(ctx, []byte("x"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Propose: got %v", err)
	}
	if err := n.Submit(ctx, &rsm.Proposal{Data: []byte("x"), Done: neverDone(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Submit: got %v", err)
	}
	if err := n.Read(ctx, func() { t.Error("read") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: got %v", err)
	}
	if got := read(t, n, l); len(got) > 0 {
		t.Errorf("committed %v", got)
	}
}

// hangSyncs makes syncs of the log wait until the channel is closed.
func hangSyncs(fs *vfs.Faulty) (letGo func()) {
	wait := make(chan struct{})
	fs.SetRule(func(c vfs.Call) vfs.Fault {
		if c.Op == vfs.OpSync && strings.Contains(c.Name, "/log/") {
			return vfs.Fault{Wait: wait}
		}
		return vfs.Fault{}
	})
	return sync.OnceFunc(func() {
		fs.SetRule(nil)
		close(wait)
	})
}

func TestContextEndsWhileSyncing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		l := &list{}
		n := open(t, l, &rsm.Options{FS: fs, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		data := []byte("left")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := n.Propose(ctx, data); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		copy(data, "XXXX") // is the caller's again
		letGo()
		for i := range 100 { // the late answer disturbs none of the others
			if result, _ := propose(t, n, "next"); binary.LittleEndian.Uint64(result) != uint64(i+2) {
				t.Fatalf("result %d is %x", i, result)
			}
		}
		if got := read(t, n, l)[0]; got != "left" {
			t.Errorf("committed %q", got)
		}
	})
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		l := &list{}
		n := open(t, l, &rsm.Options{FS: fs, MaxQueueBytes: 3 * 100, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		answers := make(chan error, 4)
		submit := func(ctx context.Context, name string) error {
			p := &rsm.Proposal{Data: slices.Concat([]byte(name), make([]byte, 36-len(name)))}
			p.Done = func(_ []byte, _ rsm.Position, err error) { answers <- err }
			return n.Submit(ctx, p)
		}
		for _, name := range []string{"a", "b", "c"} { // one is being written, two wait
			if err := submit(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := n.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrBusy) {
			t.Errorf("Propose: got %v, want ErrBusy", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := submit(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Submit: got %v, want DeadlineExceeded", err)
		}
		if m := n.Metrics(); m.QueueBytes != 300 || m.Refused != 1 {
			t.Errorf("queue holds %d bytes and refused %d, want 300 and 1", m.QueueBytes, m.Refused)
		}
		submitted := make(chan error)
		go func() { submitted <- submit(t.Context(), "d") }()
		synctest.Wait()
		select {
		case err := <-submitted:
			t.Fatalf("Submit returned %v while the queue was full", err)
		default:
		}
		letGo()
		if err := <-submitted; err != nil {
			t.Error(err)
		}
		for range 4 {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		order := ""
		for _, data := range read(t, n, l) {
			order += data[:1]
		}
		if order != "abcd" {
			t.Errorf("order is %s, want abcd", order)
		}
	})
}

func TestOneProposalLargerThanTheQueue(t *testing.T) {
	n := open(t, &list{}, &rsm.Options{FS: vfs.NewMem(), MaxQueueBytes: 1})
	for range 3 {
		propose(t, n, "larger than one byte")
	}
}

func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		n := open(t, &list{}, &rsm.Options{FS: fs, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { propose(t, n, "x") })
		}
		synctest.Wait()
		before := fs.Calls(vfs.OpSync)
		letGo()
		wg.Wait()
		if got := fs.Calls(vfs.OpSync) - before; got != 1 {
			t.Errorf("what waited took %d syncs, want 1", got)
		}
	})
}

// TestLinearizable lets many callers count up and read: who was answered sees
// at least his own count in any later read, and counts never go back.
func TestLinearizable(t *testing.T) {
	c := newCells(pageCells)
	n := open(t, c, &rsm.Options{FS: vfs.NewMem(), SnapshotBytes: 1 << 10})
	var acknowledged atomic.Uint64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			seen := uint64(0)
			for range 200 {
				if _, _, err := n.Propose(t.Context(), appendAdd(nil, uint32(g), 1)); err != nil {
					t.Error(err)
					return
				}
				least := acknowledged.Add(1)
				now := uint64(0)
				if err := n.Read(t.Context(), func() { now = c.sum.Load() }); err != nil {
					t.Error(err)
					return
				}
				if now < least || now < seen {
					t.Errorf("read %d after %d were acknowledged and %d was read", now, least, seen)
				}
				seen = now
			}
		})
	}
	wg.Wait()
	if got := c.sum.Load(); got != 8*200 {
		t.Errorf("sum is %d, want %d", got, 8*200)
	}
}

func TestReadWhileApplying(t *testing.T) {
	l := &list{}
	n := open(t, l, &rsm.Options{FS: vfs.NewMem()})
	ctx, cancel := context.WithCancel(t.Context())
	started, goOn := make(chan struct{}), make(chan struct{})
	result := make(chan error, 1)
	go func() { result <- n.Read(ctx, func() { close(started); <-goOn }) }()
	<-started
	second := make(chan error, 1)
	go func() { second <- n.Read(ctx, func() { t.Error("called after its context ended") }) }()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting read: got %v, want Canceled", err)
	}
	close(goOn)
	if err := <-result; err != nil {
		t.Errorf("running read: got %v, want nil: fn ran", err)
	}
	propose(t, n, "x")
}

func TestCloseUnderLoad(t *testing.T) {
	fs := vfs.NewMem()
	l := &list{}
	n := open(t, l, &rsm.Options{FS: fs, SnapshotBytes: 1 << 10, MaxQueueBytes: 1 << 10})
	var mu sync.Mutex
	var acknowledged []string
	var wg sync.WaitGroup
	enough := make(chan struct{})
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				data := fmt.Sprint(g, ":", i)
				_, _, err := n.Propose(t.Context(), []byte(data))
				switch {
				case errors.Is(err, rsm.ErrClosed):
					return
				case errors.Is(err, rsm.ErrBusy):
					continue
				case err != nil:
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, data)
				if len(acknowledged) == 200 {
					close(enough)
				}
				mu.Unlock()
			}
		})
		wg.Go(func() {
			for {
				answered := make(chan error, 1)
				p := &rsm.Proposal{Data: []byte("submitted")}
				p.Done = func(_ []byte, _ rsm.Position, err error) { answered <- err }
				if err := n.Submit(t.Context(), p); errors.Is(err, rsm.ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				if err := <-answered; err != nil {
					t.Errorf("taken, but answered %v", err)
				}
			}
		})
		wg.Go(func() {
			for {
				if err := n.Read(t.Context(), func() {}); errors.Is(err, rsm.ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	<-enough
	closeNode(t, n)
	wg.Wait()
	if err := n.Err(); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Err is %v, want ErrClosed", err)
	}
	closeNode(t, n) // again: nothing happens

	after := &list{}
	n = open(t, after, &rsm.Options{FS: fs})
	if diff := cmp.Diff(l.batches, after.batches); diff != "" {
		t.Errorf("after the restart (-before +after):\n%s", diff)
	}
	missing(t, acknowledged, read(t, n, after))
}

// missing reports what was acknowledged and is not there once.
func missing(t *testing.T, acknowledged, have []string) {
	t.Helper()
	count := make(map[string]int)
	for _, data := range have {
		count[data]++
	}
	for _, data := range acknowledged {
		if count[data] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", data, count[data])
		}
	}
}

func TestClosed(t *testing.T) {
	n := open(t, &list{}, &rsm.Options{FS: vfs.NewMem()})
	closeNode(t, n)
	if _, _, err := n.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Propose: got %v, want ErrClosed", err)
	}
	if err := n.Submit(t.Context(), &rsm.Proposal{Done: neverDone(t)}); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Submit: got %v, want ErrClosed", err)
	}
	if err := n.Read(t.Context(), func() { t.Error("read") }); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Read: got %v, want ErrClosed", err)
	}
	if err := n.Snapshot(t.Context()); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Snapshot: got %v, want ErrClosed", err)
	}
	n.Metrics()
}
