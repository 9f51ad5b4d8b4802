package wallet

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"maru.example/money"
	"maru.example/rsm"
	"maru.example/vfs"
)

// handDisk is where a machine moves transaction ids to, as fast as a test lets it. The
// tests that use it take snapshots by themselves, so that no file may go. The zero
// value is an empty disk.
type handDisk struct {
	fs   vfs.FS
	dir  string
	loop *handLoop
}

// hoarder is an FS that keeps all runs.
type hoarder struct{ vfs.FS }

func (h hoarder) Remove(name string) error {
	if strings.HasSuffix(name, ".kept") {
		return nil
	}
	return h.FS.Remove(name)
}

// handLoop runs what was posted when it is told to.
type handLoop struct{ work []func() }

func (l *handLoop) Post(f func()) { l.work = append(l.work, f) }

func (l *handLoop) After(_ time.Duration, f func()) func() {
	l.Post(f)
	return func() {}
}

// run runs so many functions, and says whether there are more.
func (l *handLoop) run(n int) bool {
	for ; n > 0 && len(l.work) > 0; n-- {
		f := l.work[0]
		l.work = l.work[1:]
		f()
	}
	return len(l.work) > 0
}

// handRuntime is the runtime of a handLoop.
type handRuntime struct{ *handLoop }

func (r handRuntime) NewLoop(string) rsm.Loop { return r.handLoop }
func (handRuntime) Now() time.Time            { return time.Unix(0, 0) }
func (handRuntime) Elapsed() time.Duration    { return 0 }
func (handRuntime) Rand() uint64              { return rand.Uint64() }

// machine returns a machine on the disk; the one before it, and what it had to do, is gone.
func (d *handDisk) machine(tb interface{ Fatal(...any) }, o *MachineOptions) *Machine {
	if d.fs == nil {
		d.fs = hoarder{vfs.NewMem()}
	}
	d.loop = &handLoop{}
	m := NewMachine(o)
	if _, err := rsm.OpenReplica(path.Join(d.dir, "group"), m, handRuntime{d.loop}, d.loop, d.loop, &rsm.ReplicaOptions{FS: d.fs, SnapshotBytes: -1}); err != nil {
		tb.Fatal(err)
	}
	return m
}

// work lets the disk work on.
func (d *handDisk) work(t *rapid.T) {
	d.loop.run(rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "steps"))
}

// describeOld writes down the ids of a tenant that are not in its table.
func describeOld(m *Machine, tenant uint16) (ids []string) {
	note := func(of uint16, e *idEntry) {
		if of == tenant {
			ids = append(ids, fmt.Sprintf("%016x%016x %014x %v", e.key.a, e.key.b, e.fingerprint(), e.code()))
		}
	}
	if g := m.old.frozen; g != nil {
		for s := range idSegments {
			g.each(s, func(of uint16, _ *idTable, e *idEntry) { note(of, e) })
		}
	}
	for _, r := range m.old.runs {
		for c := (runCursor{run: r}); !c.done(); c.at++ {
			if _, err := c.prefix(); err != nil {
				panic(err)
			}
			row, err := c.row()
			if err != nil {
				panic(err)
			}
			of, e := parseRow(row)
			note(of, &e)
		}
	}
	return ids
}

// TestHandDisk sees that the disk of the model tests does what it is for: runs come
// into being, and are merged.
func TestHandDisk(t *testing.T) {
	d := &handDisk{}
	m := d.machine(t, &MachineOptions{RecentIDs: 20})
	openMany(t, m, 2)
	for i := range uint64(1000) {
		if got := transferOne(m, i+1, 1); got != Result(Applied) {
			t.Fatalf("transfer %d: %v", i, got)
		}
		d.loop.run(1000)
	}
	if o := m.Metrics().Old; o.IDs < 900 || o.Runs == 0 || o.Runs > 12 || o.Written < 2*o.IDs || o.Failures != 0 {
		t.Fatalf("%+v", o)
	}
	for i := range uint64(1000) {
		if got := transferOne(m, i+1, 1); got != Repeat(Applied) {
			t.Fatalf("transfer %d again: %v", i, got)
		}
		if got := transferOne(m, i+1, 2); got != Result(IDReused) {
			t.Fatalf("another transfer %d: %v", i, got)
		}
	}
}

// transferOne moves an amount between the first two accounts.
func transferOne(m *Machine, id uint64, amount int64) Result {
	return Result(m.Apply(nil, rsm.Batch{Data: transferData(id, amount)})[0])
}

func transferData(id uint64, amount int64) []byte {
	return AppendHandleTransfer(AppendHeader(nil, Header{Kind: KindTransfers, Count: 1}), &HandleTransfer{
		ID: txid(id), From: 1, To: 2, Amount: money.Amount(amount), Currency: usd,
	})
}
