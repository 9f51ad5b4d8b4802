package rsmraft_test

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
	"maru.example/rsm/rsmraft"
	"maru.example/rsm/rsmtest"
	"maru.example/vfs"
)

const dir = "node"

// open opens a node that is alone, and closes it when the test ends.
func open(t testing.TB, m rsm.Machine, o *rsmraft.Options) *rsmraft.Group {
	t.Helper()
	g, err := rsmraft.OpenAlone(dir, m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() }) // a test that looks at the error closes by itself
	return g
}

func closeNode(t testing.TB, g *rsmraft.Group) {
	t.Helper()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

func propose(t testing.TB, g *rsmraft.Group, data string) ([]byte, rsm.Position) {
	t.Helper()
	result, at, err := g.Propose(t.Context(), []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return result, at
}

// proposeMany proposes "prefix0" and so on, one after the other.
func proposeMany(t testing.TB, g *rsmraft.Group, prefix string, count int) {
	t.Helper()
	for i := range count {
		propose(t, g, fmt.Sprint(prefix, i))
	}
}

// submit submits a proposal and waits for its answer.
func submit(ctx context.Context, g *rsmraft.Group, data []byte) error {
	answered := make(chan error, 1)
	err := g.Submit(ctx, &rsm.Proposal{Data: data, Done: func(_ []byte, _ rsm.Position, err error) { answered <- err }})
	if err != nil {
		return err
	}
	return <-answered
}

// read returns what the machine holds.
func read(t testing.TB, g *rsmraft.Group, l *rsmtest.List) []string {
	t.Helper()
	var data []string
	if err := g.Read(t.Context(), func() { data = l.Data() }); err != nil {
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
	l := &rsmtest.List{}
	g := open(t, l, &rsmraft.Options{FS: vfs.NewMem()})
	before := g.Metrics().Applied
	for i, data := range []string{"one", "", "three"} {
		result, at := propose(t, g, data)
		if got, want := binary.LittleEndian.Uint64(result), uint64(i+1); got != want {
			t.Errorf("result is %d, want %d", got, want)
		}
		if want := before + rsm.Index(i+1); at.Index != want {
			t.Errorf("index is %d, want %d", at.Index, want)
		}
		if got := g.Metrics().Applied; got != at.Index {
			t.Errorf("applied is %d after the answer, want %d", got, at.Index)
		}
	}
	if diff := cmp.Diff([]string{"one", "", "three"}, read(t, g, l)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if m := g.Metrics(); m.Batches != 3 || m.Entries != 3 || m.QueueBytes != 0 {
		t.Errorf("metrics: %+v", m)
	}
}

func TestReopenReplays(t *testing.T) {
	fs := vfs.NewMem()
	before := &rsmtest.List{}
	g := open(t, before, &rsmraft.Options{FS: fs})
	proposeMany(t, g, "p", 10)
	closeNode(t, g)

	after := &rsmtest.List{}
	g = open(t, after, &rsmraft.Options{FS: fs})
	if diff := cmp.Diff(before.Batches, after.Batches); diff != "" {
		t.Errorf("replayed (-before +after):\n%s", diff)
	}
	if m := g.Metrics(); m.RecoveredBatches != 10 || m.Recovered.SnapshotIndex != 0 {
		t.Errorf("metrics: %+v", m)
	}
	if result, _ := propose(t, g, "next"); binary.LittleEndian.Uint64(result) != 11 {
		t.Errorf("result is %d, want 11", result)
	}
}

func TestReopenResetsTheMachine(t *testing.T) {
	fs := vfs.NewMem()
	l := &rsmtest.List{}
	g := open(t, l, &rsmraft.Options{FS: fs})
	proposeMany(t, g, "p", 3)
	closeNode(t, g)
	g = open(t, l, &rsmraft.Options{FS: fs}) // the same machine, as it was left
	if diff := cmp.Diff(numbered("p", 3), read(t, g, l)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// clockedRuntime has a wall clock of its own.
type clockedRuntime struct {
	*rsmraft.Runtime
	now atomic.Int64
}

func (r *clockedRuntime) Now() time.Time { return time.Unix(0, r.now.Load()) }

func TestTimeNeverDecreases(t *testing.T) {
	fs := vfs.NewMem()
	var got []int64
	life := func(do func(at func(now int64), g *rsmraft.Group)) {
		rt := &clockedRuntime{Runtime: rsmraft.NewRuntime()}
		defer rt.Close()
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, Runtime: rt})
		do(func(now int64) {
			rt.now.Store(now)
			_, p := propose(t, g, "x")
			got = append(got, p.Time)
		}, g)
		closeNode(t, g)
	}
	life(func(at func(int64), _ *rsmraft.Group) {
		at(100)
		at(50)
	})
	life(func(at func(int64), g *rsmraft.Group) { // knows the time from the log
		at(60)
		at(110)
		snapshot(t, g)
	})
	life(func(at func(int64), _ *rsmraft.Group) { // and from the snapshot
		at(70)
		at(120)
	})
	if diff := cmp.Diff([]int64{100, 100, 100, 110, 110, 120}, got); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
}

func TestOpenIsExclusive(t *testing.T) {
	fs := vfs.NewMem()
	g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs})
	if _, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &rsmraft.Options{FS: fs}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	closeNode(t, g)
	closeNode(t, open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs}))
}

func TestOpenRefusesOptions(t *testing.T) {
	tests := []struct {
		name string
		o    rsmraft.Options
	}{
		{"entry too large", rsmraft.Options{MaxEntryBytes: 8<<20 + 1}},
		{"entry negative", rsmraft.Options{MaxEntryBytes: -1}},
		{"queue negative", rsmraft.Options{MaxQueueBytes: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.FS = vfs.NewMem()
			if g, err := rsmraft.OpenAlone(dir, &rsmtest.List{}, &tt.o); err == nil {
				g.Close()
				t.Error("opened")
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: vfs.NewMem()})
	if _, _, err := g.Propose(t.Context(), make([]byte, rsm.MaxProposalBytes+1)); !errors.Is(err, rsm.ErrTooLarge) {
		t.Errorf("Propose: got %v, want ErrTooLarge", err)
	}
	if err := submit(t.Context(), g, make([]byte, rsm.MaxProposalBytes+1)); !errors.Is(err, rsm.ErrTooLarge) {
		t.Errorf("Submit: got %v, want ErrTooLarge", err)
	}
	propose(t, g, string(make([]byte, rsm.MaxProposalBytes)))
}

// TestLargestEntry proposes what makes the largest entry that there can be.
func TestLargestEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const largest = 8 << 20
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, MaxEntryBytes: largest, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		var wg sync.WaitGroup
		for _, size := range []int{1, rsm.MaxProposalBytes, rsm.MaxProposalBytes - 9, rsm.MaxProposalBytes} {
			wg.Go(func() {
				if err := submit(t.Context(), g, make([]byte, size)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // the first is being written, the others become one flush
		}
		letGo()
		wg.Wait()
	})
}

func neverDone(t testing.TB) func([]byte, rsm.Position, error) {
	return func([]byte, rsm.Position, error) { t.Error("Done was called") }
}

func TestSubmitKeepsOrder(t *testing.T) {
	l := &rsmtest.List{}
	g := open(t, l, &rsmraft.Options{FS: vfs.NewMem(), MaxEntryBytes: 100, MaxQueueBytes: 1000})
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
				return
			}
			done = append(done, data)
			if got := int(binary.LittleEndian.Uint64(result)); got != len(done) {
				t.Errorf("result is %d, want %d", got, len(done))
			}
		}
		if err := g.Submit(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if diff := cmp.Diff(want, done); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, read(t, g, l)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestEndedContext(t *testing.T) {
	l := &rsmtest.List{}
	g := open(t, l, &rsmraft.Options{FS: vfs.NewMem()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := g.Propose(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Propose: got %v", err)
	}
	if err := g.Submit(ctx, &rsm.Proposal{Data: []byte("x"), Done: neverDone(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Submit: got %v", err)
	}
	if err := g.Read(ctx, func() { t.Error("read") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: got %v", err)
	}
	if got := read(t, g, l); len(got) > 0 {
		t.Errorf("committed %v", got)
	}
}

// hangSyncs makes syncs of the log wait until letGo is called.
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
		l := &rsmtest.List{}
		g := open(t, l, &rsmraft.Options{FS: fs, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		data := []byte("left")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := g.Propose(ctx, data)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, rsm.ErrUnknown) {
			t.Errorf("got %v, want DeadlineExceeded and ErrUnknown", err)
		}
		copy(data, "XXXX") // is the caller's again
		letGo()
		for i := range 100 { // the late answer disturbs none of the others
			if result, _ := propose(t, g, "next"); binary.LittleEndian.Uint64(result) != uint64(i+2) {
				t.Fatalf("result %d is %x", i, result)
			}
		}
		if got := read(t, g, l)[0]; got != "left" {
			t.Errorf("committed %q", got)
		}
	})
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		l := &rsmtest.List{}
		g := open(t, l, &rsmraft.Options{FS: fs, MaxQueueBytes: 3 * 100, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		answers := make(chan error, 4)
		submit := func(ctx context.Context, name string) error {
			p := &rsm.Proposal{Data: slices.Concat([]byte(name), make([]byte, 36-len(name)))}
			p.Done = func(_ []byte, _ rsm.Position, err error) { answers <- err }
			return g.Submit(ctx, p)
		}
		for _, name := range []string{"a", "b", "c"} { // one is being written, two wait
			if err := submit(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := g.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrBusy) {
			t.Errorf("Propose: got %v, want ErrBusy", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := submit(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Submit: got %v, want DeadlineExceeded", err)
		}
		if m := g.Metrics(); m.QueueBytes != 300 || m.Refused != 1 {
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
		for _, data := range read(t, g, l) {
			order += data[:1]
		}
		if order != "abcd" {
			t.Errorf("order is %s, want abcd", order)
		}
	})
}

func TestOneProposalLargerThanTheQueue(t *testing.T) {
	g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: vfs.NewMem(), MaxQueueBytes: 1})
	for range 3 {
		propose(t, g, "larger than one byte")
	}
}

func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: fs, SyncTimeout: -1})
		letGo := hangSyncs(fs)
		defer letGo()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { propose(t, g, "x") })
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

// TestManyGroupsShareASync lets the groups of a node propose while a sync hangs.
func TestManyGroupsShareASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewFaulty(vfs.NewMem(), nil)
		h, err := rsmraft.Open(dir, 1, &rsmraft.Options{
			FS: fs, SyncTimeout: -1, Machine: func(rsmraft.GroupID) rsm.Machine { return &rsmtest.List{} },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		var groups []*rsmraft.Group
		for id := range rsmraft.GroupID(20) {
			g, err := h.Begin(id)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.WaitLeader(); err != nil {
				t.Fatal(err)
			}
			groups = append(groups, g)
		}
		letGo := hangSyncs(fs)
		defer letGo()
		var wg sync.WaitGroup
		before := fs.Calls(vfs.OpSync)
		for _, g := range groups {
			wg.Go(func() { propose(t, g, "x") })
		}
		synctest.Wait()
		letGo()
		wg.Wait()
		if got := fs.Calls(vfs.OpSync) - before; got > 2 {
			t.Errorf("what waited took %d syncs, want 2 at the most", got)
		}
	})
}

// TestLinearizable lets many callers count up and read: who was answered sees
// at least his own count in any later read, and counts never go back.
func TestLinearizable(t *testing.T) {
	c := rsmtest.NewCells(rsmtest.PageCells)
	g := open(t, c, &rsmraft.Options{FS: vfs.NewMem(), SnapshotBytes: 1 << 10})
	var acknowledged atomic.Uint64
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			seen := uint64(0)
			for range 200 {
				if _, _, err := g.Propose(t.Context(), rsmtest.AppendAdd(nil, uint32(caller), 1)); err != nil {
					t.Error(err)
					return
				}
				least := acknowledged.Add(1)
				now := uint64(0)
				if err := g.Read(t.Context(), func() { now = c.Sum.Load() }); err != nil {
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
	if got := c.Sum.Load(); got != 8*200 {
		t.Errorf("sum is %d, want %d", got, 8*200)
	}
}

func TestReadWhileApplying(t *testing.T) {
	l := &rsmtest.List{}
	g := open(t, l, &rsmraft.Options{FS: vfs.NewMem()})
	ctx, cancel := context.WithCancel(t.Context())
	started, goOn := make(chan struct{}), make(chan struct{})
	result := make(chan error, 1)
	go func() { result <- g.Read(ctx, func() { close(started); <-goOn }) }()
	<-started
	second := make(chan error, 1)
	go func() { second <- g.Read(ctx, func() { t.Error("called after its context ended") }) }()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting read: got %v, want Canceled", err)
	}
	close(goOn)
	if err := <-result; err != nil {
		t.Errorf("running read: got %v, want nil: fn ran", err)
	}
	propose(t, g, "x")
}

func TestReadStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &rsmtest.List{}
		g := open(t, l, &rsmraft.Options{FS: vfs.NewMem()})
		propose(t, g, "x")
		time.Sleep(time.Minute) // of the bubble
		for range 2 {           // the first one in a while asks for the age to be kept low
			age, err := readStale(g, func() {
				if got := len(l.Batches); got != 1 {
					t.Errorf("%d batches", got)
				}
			})
			t.Log(age, err)
			time.Sleep(5 * time.Second)
		}
		if age, err := readStale(g, func() {}); err != nil || age > time.Second {
			t.Errorf("age is %v, error %v", age, err)
		}
	})
}

// readStale waits for a StartReadStale.
func readStale(g *rsmraft.Group, fn func()) (age time.Duration, err error) {
	done := make(chan struct{})
	g.StartReadStale(func(a time.Duration, e error) {
		if age, err = a, e; err == nil {
			fn()
		}
		close(done)
	})
	<-done
	return age, err
}

func TestCloseUnderLoad(t *testing.T) {
	fs := vfs.NewMem()
	l := &rsmtest.List{}
	g := open(t, l, &rsmraft.Options{FS: fs, SnapshotBytes: 1 << 10, MaxQueueBytes: 1 << 10})
	var mu sync.Mutex
	var acknowledged []string
	var wg sync.WaitGroup
	enough := make(chan struct{})
	for caller := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				data := fmt.Sprint(caller, ":", i)
				_, _, err := g.Propose(t.Context(), []byte(data))
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
				if err := submit(t.Context(), g, []byte("submitted")); errors.Is(err, rsm.ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for {
				if err := g.Read(t.Context(), func() {}); errors.Is(err, rsm.ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	<-enough
	closeNode(t, g)
	wg.Wait()
	if err := g.Err(); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Err is %v, want ErrClosed", err)
	}
	closeNode(t, g) // again: nothing happens

	after := &rsmtest.List{}
	g = open(t, after, &rsmraft.Options{FS: fs})
	if diff := cmp.Diff(l.Batches, after.Batches); diff != "" {
		t.Errorf("after the restart (-before +after):\n%s", diff)
	}
	missing(t, acknowledged, read(t, g, after))
}

// missing reports what was acknowledged and is not there once.
func missing(t testing.TB, acknowledged, have []string) {
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
	g := open(t, &rsmtest.List{}, &rsmraft.Options{FS: vfs.NewMem()})
	closeNode(t, g)
	if _, _, err := g.Propose(t.Context(), nil); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Propose: got %v, want ErrClosed", err)
	}
	if err := g.Submit(t.Context(), &rsm.Proposal{Done: neverDone(t)}); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Submit: got %v, want ErrClosed", err)
	}
	if err := g.Read(t.Context(), func() { t.Error("read") }); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Read: got %v, want ErrClosed", err)
	}
	if _, err := readStale(g, func() { t.Error("read") }); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("StartReadStale: got %v, want ErrClosed", err)
	}
	g.StartPeek(func(err error) {
		if !errors.Is(err, rsm.ErrClosed) {
			t.Errorf("StartPeek: got %v, want ErrClosed", err)
		}
	})
	g.Host().Call(2, 1, nil, func(_ rsmraft.Reply, err error) {
		if !errors.Is(err, rsm.ErrClosed) {
			t.Errorf("Call: got %v, want ErrClosed", err)
		}
	})
	if err := g.Snapshot(t.Context()); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("Snapshot: got %v, want ErrClosed", err)
	}
	if err := g.ChangeMembers(t.Context(), []rsmraft.NodeID{1, 2}, nil); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("ChangeMembers: got %v, want ErrClosed", err)
	}
	if err := g.WaitLeader(); !errors.Is(err, rsm.ErrClosed) {
		t.Errorf("WaitLeader: got %v, want ErrClosed", err)
	}
	if err := g.TransferLeader(t.Context(), 2); err == nil {
		t.Error("TransferLeader: no error")
	}
	g.Metrics()
	g.Status()
}
