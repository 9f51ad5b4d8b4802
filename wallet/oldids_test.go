package wallet

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"maru.example/internal/sim"
	"maru.example/rsm"
	"maru.example/vfs"
	"maru.example/wal"
)

// shelf is a replica of a machine with few recent ids, whose log is in memory, on a
// disk that crashes and fails; and what was decided.
type shelf struct {
	t       testing.TB
	r       *rand.Rand
	world   *sim.World
	process *sim.Process
	mem     *vfs.Mem
	fs      *vfs.Faulty
	machine *Machine
	replica *rsm.Replica
	failed  error
	log     []*rsm.Committed
	ids     uint64 // transfers with the ids 1 to ids were applied
}

// unlocked is an FS whose locks are free as soon as a process is dead.
type unlocked struct{ vfs.FS }

func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func newShelf(t testing.TB, seed uint64) *shelf {
	s := &shelf{t: t, r: rand.New(rand.NewPCG(seed, 1)), world: sim.New(seed), mem: vfs.NewMem()}
	s.mustOpen()
	open := AppendHeader(nil, Header{Kind: KindOpenAccounts, Count: 2})
	for _, id := range []AccountID{"a", "b"} {
		open = AppendAccount(open, &NewAccount{ID: id, Currency: usd, Min: Unlimited})
	}
	s.commit(open)
	return s
}

// open starts the process anew and applies the log behind the snapshot.
func (s *shelf) open() (err error) {
	if s.process != nil {
		s.process.Kill()
	}
	s.process, s.fs = s.world.Start(), vfs.NewFaulty(unlocked{s.mem}, nil)
	s.process.Delay = func(string) time.Duration { return s.world.Between(0, time.Millisecond) }
	s.machine, s.failed = NewMachine(&MachineOptions{RecentIDs: 40, Random: s.r.Uint64}), nil
	s.replica, err = rsm.OpenReplica("g", s.machine, s.process, s.process.NewLoop("apply"), s.process.NewLoop("disk"),
		&rsm.ReplicaOptions{FS: s.fs, SnapshotBytes: -1, Failed: func(err error) { s.failed = err }})
	if err != nil {
		return err
	}
	for _, c := range s.log[s.replica.State().Index:] {
		if err := s.replica.Apply(&rsm.Committed{Index: c.Index, Term: 1, Data: c.Data}); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) mustOpen() {
	s.t.Helper()
	if err := s.open(); err != nil {
		s.t.Fatal(err)
	}
}

// commit applies a batch and returns its result.
func (s *shelf) try(data []byte) (result []byte, err error) {
	p := &rsm.Proposal{Data: data, Done: func(r []byte, _ rsm.Position, _ error) { result = append(result, r...) }}
	proposals := []*rsm.Proposal{p}
	c := &rsm.Committed{Index: rsm.Index(len(s.log) + 1), Term: 1, Data: rsm.AppendEntry(nil, 1, proposals), Proposals: proposals}
	if err := s.replica.Apply(c); err != nil {
		return nil, err
	}
	s.log = append(s.log, c)
	return result, nil
}

func (s *shelf) commit(data []byte) []byte {
	s.t.Helper()
	result, err := s.try(data)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// transfers applies fresh transfers and some that are old.
func (s *shelf) transfers(fresh, old int) {
	s.t.Helper()
	data := AppendHeader(nil, Header{Kind: KindTransfers, Count: fresh + old})
	var want []Result
	for i := range fresh + old {
		id, amount, result := s.ids+1, 1, Result(Applied)
		if i >= fresh {
			id, result = 1+s.r.Uint64N(s.ids), Repeat(Applied)
			if s.r.IntN(4) == 0 {
				amount, result = 2, Result(IDReused)
			}
		} else {
			s.ids++
		}
		data = append(data, transferData(id, int64(amount))[HeaderBytes:]...)
		want = append(want, result)
	}
	for i, b := range s.commit(data) {
		if Result(b) != want[i] {
			s.t.Fatalf("transfer %d of %d: %v, want %v; %+v", i, fresh+old, Result(b), want[i], s.machine.Metrics())
		}
	}
}

// run lets the loops work.
func (s *shelf) run(d time.Duration) { s.world.Run(d, func() bool { return false }) }

func (s *shelf) snapshot() (err error) {
	done := false
	s.replica.Snapshot(func(e error) { done, err = true, e })
	if !s.world.Run(time.Hour, func() bool { return done }) {
		s.t.Fatal("no snapshot within an hour")
	}
	return err
}

func (s *shelf) mustSnapshot() {
	s.t.Helper()
	if err := s.snapshot(); err != nil {
		s.t.Fatal(err)
	}
}

// files returns the names of the runs on the disk.
func (s *shelf) files() (kept []string) {
	names, err := s.mem.List("g")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		if strings.Contains(name, ".kept") {
			kept = append(kept, name)
		}
	}
	return kept
}

// checkAll asks for every transfer again, and for some that there never were.
func (s *shelf) checkAll() {
	s.t.Helper()
	for id := range s.ids {
		if code := s.machine.decision(0, txid(id+1)); code != Applied {
			s.t.Fatalf("id %d: %v, want %v", id+1, code, Applied)
		}
		if code := s.machine.decision(0, txid(1<<40+id)); code != Undecided {
			s.t.Fatalf("a fresh id: %v", code)
		}
	}
	if m := s.machine.Metrics(); m.Transactions != s.ids {
		s.t.Fatalf("%d transactions, want %d", m.Transactions, s.ids)
	}
	if s.failed != nil {
		s.t.Fatal(s.failed)
	}
}

// TestOldIDs moves ids to the disk through snapshots, crashes and faults of the disk, and
// forgets none.
func TestOldIDs(t *testing.T) {
	spilled, merged := uint64(0), false
	for seed := range uint64(16) {
		s := newShelf(t, seed)
		faulty := false
		for range 80 {
			switch s.r.IntN(12) {
			case 0, 1, 2, 3:
				s.transfers(1+s.r.IntN(30), min(int(s.ids), 5))
			case 4, 5, 6:
				s.run(time.Duration(s.r.IntN(300)) * time.Millisecond)
			case 7:
				if err := s.snapshot(); err != nil && !faulty {
					t.Fatal(err)
				}
			case 8:
				s.mem.Crash(s.r.Uint64())
				s.mustOpen()
				faulty = false
			case 9:
				s.mustOpen() // kill -9: what was written is there
				faulty = false
			case 10:
				faulty = true
				n := 1 + s.r.IntN(9)
				s.fs.SetRule(func(c vfs.Call) vfs.Fault {
					// The record of decisions does not forgive it.
					if c.Edit > 0 && c.Edit%n == 0 && !strings.Contains(c.Name, "decisions") {
						return vfs.Fault{Err: vfs.ErrNoSpace, Keep: s.r.IntN(c.Size + 1)}
					}
					return vfs.Fault{}
				})
			case 11:
				s.fs.SetRule(nil)
				faulty = false
			}
		}
		s.fs.SetRule(nil)
		for range 10 {
			s.transfers(30, 3)
			s.run(time.Second)
		}
		s.checkAll()
		o := s.machine.Metrics().Old
		spilled += o.IDs
		merged = merged || o.Written > o.IDs+200
		if recent := s.machine.old.recent + s.machine.old.frozen.total(); recent > 100 {
			t.Errorf("seed %d: %d ids are in memory after the disk was well again", seed, recent)
		}
		s.mustSnapshot()
		s.transfers(1, 0)
		s.mustSnapshot()
		s.run(time.Second)
		if files := s.files(); len(files) > int(o.Runs)+4 {
			t.Errorf("seed %d: %d runs, and files %v", seed, o.Runs, files)
		}
		s.mustOpen()
		s.checkAll()
	}
	if spilled < 2000 || !merged {
		t.Errorf("%d ids were moved, merged: %v", spilled, merged)
	}
}

// old returns a shelf with runs that a snapshot counts on.
func (s *shelf) withRuns() {
	s.t.Helper()
	for range 3 {
		s.transfers(40, 0)
		s.run(time.Second)
	}
	s.transfers(1, 0)
	s.mustSnapshot()
	if n := len(s.machine.old.runs); n == 0 {
		s.t.Fatal("there are no runs")
	}
}

// TestRunMissing passes over a snapshot that counts on a run that is not there, or is damaged
// where a start looks.
func TestRunMissing(t *testing.T) {
	for name, harm := range map[string]func(s *shelf, name string) error{
		"missing": func(s *shelf, name string) error { return s.mem.Remove(name) },
		"cut": func(s *shelf, name string) error {
			return edit(s.mem, name, func(f vfs.File, size int64) error { return f.Truncate(size - 1) })
		},
		"footer": func(s *shelf, name string) error {
			return edit(s.mem, name, func(f vfs.File, size int64) error { _, err := f.WriteAt([]byte{1}, size-2); return err })
		},
		"column": func(s *shelf, name string) error {
			return edit(s.mem, name, func(f vfs.File, _ int64) error { _, err := f.WriteAt([]byte{1}, 7); return err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 1)
			s.withRuns()
			s.process.Kill()
			if err := harm(s, path.Join("g", s.files()[0])); err != nil {
				t.Fatal(err)
			}
			s.mustOpen()
			damaged := s.replica.Metrics().Recovered.Damaged
			if len(damaged) != 1 || !strings.HasSuffix(damaged[0], ".snap") {
				t.Errorf("passed over: %v, want the snapshot", damaged)
			}
			s.checkAll() // from the log
		})
	}
}

func edit(fsys vfs.FS, name string, change func(f vfs.File, size int64) error) error {
	f, err := fsys.Open(name, vfs.Write)
	if err != nil {
		return err
	}
	size, err := f.Size()
	return errors.Join(err, change(f, size), f.Sync(), f.Close())
}

// TestRunUnreadable stops the replica when an old id cannot be looked up: it is never
// taken for a fresh one.
func TestRunUnreadable(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(s *shelf)
		want error
	}{
		"damaged page": {func(s *shelf) {
			for _, name := range s.files() {
				err := edit(s.mem, path.Join("g", name), func(f vfs.File, _ int64) error {
					_, err := f.WriteAt([]byte{1, 2, 3}, runPageBytes+100)
					return err
				})
				if err != nil {
					s.t.Fatal(err)
				}
			}
		}, wal.ErrCorrupt},
		"failing read": {func(s *shelf) {
			s.fs.SetRule(func(c vfs.Call) vfs.Fault {
				if c.Op == vfs.OpRead {
					return vfs.Fault{Err: vfs.ErrInjected}
				}
				return vfs.Fault{}
			})
		}, vfs.ErrInjected},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 1)
			s.withRuns()
			c.harm(s)
			result, err := s.try(transferData(1, 1))
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), ".kept") || len(result) > 0 {
				t.Errorf("answered %v, error %v, want one that wraps %v and names the file", result, err, c.want)
			}
			if !errors.Is(s.failed, c.want) {
				t.Errorf("the replica is told %v, want %v", s.failed, c.want)
			}
		})
	}
}

// TestOldIDsInstalled sends a snapshot to another replica, in pieces with a crash between,
// which then answers for all old ids.
func TestOldIDsInstalled(t *testing.T) {
	s := newShelf(t, 1)
	s.withRuns()
	at := s.replica.Newest()
	f, err := s.replica.OpenSnapshot(at.Index)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	if size, err := f.Size(); err != nil || size != int64(len(content)) {
		t.Fatalf("%d bytes, read %d, %v", size, len(content), err)
	}
	for _, cut := range []int{0, 10, 300, len(content) / 3, len(content) - 9000, len(content) - 1} {
		b := newShelf(t, 2)
		b.withRuns()
		receive(t, b, at, content[:cut], false)
		b.mem.Crash(uint64(cut))
		b.mustOpen()
		part := receive(t, b, at, content, true)
		state, err := part.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.replica.Install(state); err != nil {
			t.Fatal(err)
		}
		b.ids, b.log = s.ids, s.log
		b.checkAll()
		b.transfers(100, 10)
		b.run(time.Second)
		b.mustSnapshot()
		b.transfers(1, 1)
		b.mustSnapshot()
		b.run(time.Second)
		b.mem.Crash(uint64(cut))
		b.mustOpen()
		b.checkAll()
		if n, runs := len(b.files()), len(b.machine.old.runs); n > runs+4 {
			t.Errorf("%d files for %d runs", n, runs)
		}
	}
	bad := append([]byte{}, content...)
	bad[len(bad)-5000]++
	b := newShelf(t, 3)
	if _, err := receive(t, b, at, bad, true).Finish(); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("a damaged run is taken: %v", err)
	}
	if files := b.files(); len(files) > len(s.machine.old.runs)-1+1 {
		t.Errorf("files %v are left", files)
	}
}

// receive takes up a part and appends what is missing of it.
func receive(t *testing.T, s *shelf, at rsm.State, content []byte, all bool) *rsm.Part {
	t.Helper()
	p, err := s.replica.OpenPart(at)
	if err != nil {
		t.Fatal(err)
	}
	if all && p.Size() > 0 {
		t.Logf("goes on at %d of %d", p.Size(), len(content))
	}
	if rest := content[min(int(p.Size()), len(content)):]; len(rest) > 0 {
		if err := p.Append(rest); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// TestOldMemory holds old ids to 2 bytes of memory each and fresh ones to a look at the
// disk in a thousand, on the way to half a million.
func TestOldMemory(t *testing.T) {
	const accounts, recent = 1000, 1 << 16
	d := &handDisk{}
	r := rand.New(rand.NewPCG(9, 10))
	m := d.machine(t, &MachineOptions{RecentIDs: recent, Random: r.Uint64})
	openMany(t, m, accounts)
	var data, dst []byte
	for m.Metrics().Old.IDs < 500_000 {
		data = randomTransfers(data[:0], r, accounts)
		dst = m.Apply(dst[:0], rsm.Batch{Data: data})
		if i := slices.IndexFunc(dst, func(b byte) bool { return Result(b).Repeated() || Result(b) == Result(IDReused) }); i >= 0 {
			t.Fatalf("a fresh id is answered with %v", Result(dst[i]))
		}
		for d.loop.run(1) {
			if tables := m.old.recent + m.old.frozen.total(); tables > recent+MaxBatch {
				t.Fatalf("%d ids are in the tables, want at most %d", tables, recent)
			}
		}
		o := m.Metrics().Old
		if per := float64(o.Bytes) / float64(max(1, o.IDs)); o.IDs > 200_000 && per > 2 {
			t.Fatalf("of %d, an old id takes %.3f bytes, want at most 2", o.IDs, per)
		}
	}
	o := m.Metrics()
	t.Logf("%+v", o.Old)
	if o.Old.FalsePositives > o.Transactions/1000 || o.Old.Lookups != o.Old.FalsePositives {
		t.Errorf("of %d fresh ids, %d were looked up on the disk, want at most 1 in 1000", o.Transactions, o.Old.Lookups)
	}
	if o.Old.Runs > 12 {
		t.Errorf("%d runs", o.Old.Runs)
	}
}

// runOf returns the bytes of a run of so many ids.
func runOf(tb testing.TB, ids uint64) []byte {
	tb.Helper()
	d := &handDisk{}
	m := d.machine(tb, &MachineOptions{RecentIDs: 2 * ids, Random: func() uint64 { return 42 }})
	openMany(tb, m, 2)
	for i := range ids + 1 {
		transferOne(m, i+1, 1)
	}
	d.loop.run(1 << 20)
	f, err := m.old.files.Open(m.Held()[0])
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil || m.Held()[0].Sum != crc32.Checksum(b, castagnoli) {
		tb.Fatalf("read %d bytes with checksum %x, want %x: %v", len(b), crc32.Checksum(b, castagnoli), m.Held()[0].Sum, err)
	}
	return b
}

// TestRunGolden holds the format of runs to what was written before.
func TestRunGolden(t *testing.T) {
	got := runOf(t, 3)
	golden(t, "run.golden", got)
}

// FuzzRun reads bytes that claim to be a run.
func FuzzRun(f *testing.F) {
	f.Add(runOf(f, 1))
	good := runOf(f, 700)
	f.Add(good)
	f.Add([]byte{})
	mem := vfs.NewMem()
	d := &handDisk{fs: mem}
	m := d.machine(f, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		const id = 7
		name := path.Join("group", m.old.files.Name(id))
		file, err := mem.Open(name, vfs.Create)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(file.Close(), mem.Remove(name)); err != nil {
				t.Error(err)
			}
		}()
		if len(data) > 0 {
			if _, err := file.WriteAt(data, 0); err != nil {
				t.Fatal(err)
			}
		}
		r, err := openWhole(m.old.files, rsm.KeptFile{ID: id, Bytes: int64(len(data))}, [2]uint64{42, 42})
		if err != nil {
			return
		}
		defer r.close()
		found := uint64(0)
		for c := (runCursor{run: r}); !c.done(); c.at++ {
			p, err := c.prefix()
			if err != nil {
				return
			}
			row, err := c.row()
			if err != nil {
				return
			}
			tenant, e := parseRow(row)
			if meta, ok, _, err := r.find(tenant, e.key, p<<(64-prefixBits), m.old.page); err == nil && ok && meta == e.meta {
				found++
			}
		}
		if string(data) == string(good) && found != 700 {
			t.Fatalf("found %d ids of 700", found)
		}
	})
}
