package rsm

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"maru.example/vfs"
	"maru.example/wal"
)

// Index numbers the entries of a replicated log from 1, without gaps.
type Index uint64

// State says where a replica's state stands.
type State struct {
	Index Index
	Time  int64  // of the last entry, in nanoseconds since 1970 UTC
	Term  uint64 // in which the entry at Index was proposed
	Conf  []byte // the consensus's configuration at Index, in its own encoding
}

// Committed is an entry that the consensus has decided.
type Committed struct {
	Index Index
	Term  uint64
	Data  []byte // made by AppendEntry; empty: nothing to apply
	Conf  []byte // the configuration from this entry on; nil: as before
	// Place is where the consensus's log has the entry: kept with the decision.
	Place uint64
	// Proposals are those that the entry holds, in order, where it was proposed
	// here; each gets its result.
	Proposals []*Proposal
}

// ReplicaOptions are the settings of a replica; nil means all defaults.
type ReplicaOptions struct {
	FS vfs.FS // default vfs.OS
	// SnapshotBytes is how much log makes a new snapshot worth while; default
	// 1 GiB. The log must also have grown by the size of the last snapshot, so
	// that all snapshots together cost no more than the log. Negative: never.
	SnapshotBytes int64
	// Room says whether the disk has room for a snapshot; the default is yes.
	Room func() error
	// Saved is called on the replica's loop after a snapshot became durable, with
	// the states of those that are kept, oldest first.
	Saved func(kept []State)
	// Answered is called on the replica's loop with the bytes of proposals that
	// are about to be answered.
	Answered func(bytes int64)
	// RecentBytes bounds the decided entries of a Recorder that are kept in memory for
	// those who follow them; default 8 MiB.
	RecentBytes int64
	// Decided is called with each entry that a Recorder decides, on the replica's loop: then no record of them is kept.
	// The default is none.
	Decided func(*Decided) error
	// Failed is called, on any loop, when the record of decisions cannot be written, or
	// the files of the machine cannot be read: the replica must not go on. Default: panics.
	Failed func(error)
	Logger *slog.Logger // default: discards
}

// Replica is the apply side of a replicated log: it feeds committed entries to a
// machine, answers proposals, runs reads, and writes and restores snapshots. Its
// methods are called on its loop, but for Applied and Metrics.
type Replica struct {
	machine Machine
	keeper  Keeper // the machine, if it keeps files
	kept    *Files // of the keeper
	loop    Loop
	disk    Loop // where snapshots are written
	runtime Runtime
	options ReplicaOptions
	dir     string
	files   *snapshotDir
	state   State
	result  []byte // reused
	reads   []indexedRead
	shots   snapshotter
	closed  bool

	recorder  Recorder // the machine, if it is one and somebody wants to know
	writer    decisionWriter
	decided   func(v Decided, place uint64) error
	decisions *DecisionLog // nil: nothing is recorded

	recovered Recovery
	counters  replicaCounters
}

// indexedRead waits until the state holds everything up to index.
type indexedRead struct {
	index Index
	fn    func(error)
}

type replicaCounters struct {
	batches          atomic.Uint64
	entries          atomic.Uint64
	applied          atomic.Uint64
	snapshots        atomic.Uint64
	snapshotFailures atomic.Uint64
	snapshotIndex    atomic.Uint64
	snapshotBytes    atomic.Int64
	snapshotPause    atomic.Int64 // nanoseconds
}

// ReplicaMetrics describes a replica since it was opened.
type ReplicaMetrics struct {
	Batches          uint64 // applied
	Entries          uint64 // applied
	Applied          Index
	Snapshots        uint64 // written
	SnapshotFailures uint64
	SnapshotIndex    Index         // of the newest good one
	SnapshotBytes    int64         // of the newest good one, as the machine gave them
	SnapshotPause    time.Duration // longest hold of the loop for a snapshot
	Recovered        Recovery
}

// Recovery says what OpenReplica found. It never changes after that.
type Recovery struct {
	SnapshotIndex Index
	Damaged       []string // snapshots that were passed over, by file name
}

// OpenReplica restores the machine from the newest good snapshot in dir, or to
// its initial state. The log goes on after State().Index. It is called before
// the loop runs anything of this replica.
func OpenReplica(dir string, m Machine, rt Runtime, loop, disk Loop, o *ReplicaOptions) (*Replica, error) {
	r := &Replica{machine: m, loop: loop, disk: disk, runtime: rt, dir: dir}
	if o != nil {
		r.options = *o
	}
	r.options.setDefaults()
	if err := r.options.FS.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("rsm: make the directory %s: %w", dir, err)
	}
	r.files = &snapshotDir{fs: r.options.FS, dir: dir}
	r.shots.init(r)
	r.keep()
	if err := r.recover(); err != nil {
		return nil, fmt.Errorf("rsm: recover %s: %w", dir, err)
	}
	if m, ok := m.(Recorder); ok && r.options.Decided != nil {
		r.recorder, r.decided = m, func(v Decided, _ uint64) error { return r.options.Decided(&v) }
	} else if ok {
		var err error
		name := "decisions of " + path.Base(dir)
		if r.decisions, err = openDecisions(dir, r.state.Index, rt.NewLoop(name), &r.options); err != nil {
			return nil, fmt.Errorf("rsm: recover %s: %w", dir, err)
		}
		r.decisions.reviewer, _ = m.(Reviewer)
		r.recorder, r.decided = m, r.decisions.record
	}
	return r, nil
}

// Decisions returns the record of decisions, nil if the machine is no Recorder. It
// may be called from anywhere.
func (r *Replica) Decisions() *DecisionLog { return r.decisions }

// Replay returns a replica that applies entries to a machine, which stands at a state,
// and does nothing else: it has no files, no loops, and makes no snapshots. If the
// machine is a Recorder, decided is called with each entry; it may be nil.
func Replay(m Machine, at State, decided func(*Decided) error) *Replica {
	r := &Replica{machine: m, state: at, files: &snapshotDir{}}
	r.keeper, _ = m.(Keeper)
	r.options.SnapshotBytes = -1
	r.options.setDefaults()
	r.shots.init(r)
	r.counters.applied.Store(uint64(at.Index))
	if m, ok := m.(Recorder); ok && decided != nil {
		r.recorder, r.decided = m, func(v Decided, _ uint64) error { return decided(&v) }
	}
	return r
}

func (o *ReplicaOptions) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = 1 << 30
	}
	if o.RecentBytes == 0 {
		o.RecentBytes = 8 << 20
	}
	if o.Room == nil {
		o.Room = func() error { return nil }
	}
	if o.Saved == nil {
		o.Saved = func([]State) {}
	}
	if o.Answered == nil {
		o.Answered = func(int64) {}
	}
	if o.Failed == nil {
		o.Failed = func(err error) { panic(err) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Begin sets where the initial state stands, if no snapshot was restored.
func (r *Replica) Begin(at State) {
	if r.state.Index == 0 {
		r.state = at
		r.counters.applied.Store(uint64(at.Index))
	}
}

// State returns where the state stands.
func (r *Replica) State() State { return r.state }

// Applied returns up to where entries are applied. It may be called from anywhere.
func (r *Replica) Applied() Index { return Index(r.counters.applied.Load()) }

// Metrics returns counters and gauges. It may be called from anywhere.
func (r *Replica) Metrics() ReplicaMetrics {
	c := &r.counters
	return ReplicaMetrics{
		Batches:          c.batches.Load(),
		Entries:          c.entries.Load(),
		Applied:          Index(c.applied.Load()),
		Snapshots:        c.snapshots.Load(),
		SnapshotFailures: c.snapshotFailures.Load(),
		SnapshotIndex:    Index(c.snapshotIndex.Load()),
		SnapshotBytes:    c.snapshotBytes.Load(),
		SnapshotPause:    time.Duration(c.snapshotPause.Load()),
		Recovered:        r.recovered,
	}
}

// Apply executes the next committed entry. An error says that the log is
// damaged, or was written by another version of the program: the replica must
// not go on.
func (r *Replica) Apply(c *Committed) error {
	if c.Index != r.state.Index+1 {
		panic(fmt.Sprintf("rsm: entry %d is applied after %d", c.Index, r.state.Index))
	}
	if r.recorder != nil {
		r.writer.begin()
	}
	if len(c.Data) > 0 {
		if err := r.applyEntry(c); err != nil {
			return fmt.Errorf("rsm: apply entry %d: %w", c.Index, err)
		}
		r.counters.entries.Add(1)
	} else if err := r.record(c); err != nil {
		return fmt.Errorf("rsm: apply entry %d: %w", c.Index, err)
	}
	r.state.Index, r.state.Term = c.Index, c.Term
	if c.Conf != nil {
		r.state.Conf = c.Conf
	}
	r.counters.applied.Store(uint64(c.Index))
	r.runReads()
	r.shots.grow(int64(len(c.Data)))
	return nil
}

// record gives away what was decided on an entry. Applied counts the entry only afterwards, and whoever proposed its last batch is
// answered only then: what is applied is on record.
func (r *Replica) record(c *Committed) error {
	if r.recorder == nil {
		return nil
	}
	v := Decided{Index: c.Index, Term: c.Term, Time: r.state.Time, Entry: c.Data, Decision: r.writer.end()}
	if err := r.decided(v, c.Place); err != nil {
		return fmt.Errorf("its decision: %w", err)
	}
	return nil
}

// applyEntry executes the batches of an entry, records what was decided, and answers those who proposed them.
func (r *Replica) applyEntry(c *Committed) error {
	e, err := decodeEntry(c.Data)
	if err != nil {
		return err
	}
	if len(c.Proposals) > 0 && len(c.Proposals) != e.count() {
		panic(fmt.Sprintf("rsm: entry of %d batches for %d proposals", e.count(), len(c.Proposals)))
	}
	// A new leader's clock may be behind the last one's.
	r.state.Time = max(r.state.Time, e.time)
	at := Position{Index: c.Index, Time: r.state.Time}
	r.counters.batches.Add(uint64(e.count())) // before any of them is answered
	data, room := e.data, int64(0)
	for i := range e.count() {
		n := e.length(i)
		r.result = r.machine.Apply(r.result[:0], Batch{Index: c.Index, Time: at.Time, Data: data[:n:n]})
		data = data[n:]
		if r.keeper != nil && r.keeper.Err() != nil {
			return r.keeper.Err()
		}
		if r.recorder != nil {
			r.writer.add(r.result, r.recorder.Effects())
		}
		if i == e.count()-1 {
			if err := r.record(c); err != nil {
				return err
			}
		}
		if len(c.Proposals) == 0 {
			continue
		}
		p := c.Proposals[i]
		room += RoomOf(p)
		if i == e.count()-1 {
			r.counters.applied.Store(uint64(c.Index))
			r.options.Answered(room)
		}
		p.Done(r.result, at, nil)
	}
	if cap(r.result) > MaxProposalBytes {
		r.result = nil
	}
	return nil
}

// Read calls fn as soon as the state holds every entry up to index; with
// ErrClosed, if the replica is closed before.
func (r *Replica) Read(index Index, fn func(error)) {
	switch {
	case r.closed:
		fn(ErrClosed)
		return
	case index <= r.state.Index:
		fn(nil)
		return
	}
	r.reads = append(r.reads, indexedRead{index, fn})
}

// runReads runs those that the state has come far enough for.
func (r *Replica) runReads() {
	if len(r.reads) == 0 {
		return
	}
	left := r.reads[:0]
	for _, read := range r.reads {
		if read.index <= r.state.Index {
			read.fn(nil)
		} else {
			left = append(left, read)
		}
	}
	clear(r.reads[len(left):])
	r.reads = left
}

// RefuseReads calls the functions of the reads that wait with an error.
func (r *Replica) RefuseReads(err error) {
	for _, read := range r.reads {
		read.fn(err)
	}
	r.reads = nil
}

// Snapshot writes a snapshot of the present state and calls done, on the loop,
// when it is durable or has failed. Calls share one. Where nothing was applied
// since the newest there is nothing to do.
func (r *Replica) Snapshot(done func(error)) { r.shots.want(done) }

// Newest returns the state of the newest good snapshot; its Index is 0 if there
// is none.
func (r *Replica) Newest() State { return r.files.newest() }

// OpenSnapshot opens the file of the snapshot at index, to be sent elsewhere, and
// behind it, as if they were one, the files that it counts on.
func (r *Replica) OpenSnapshot(index Index) (vfs.File, error) {
	f, err := openSnapshot(r.options.FS, r.dir, index)
	if err != nil || r.kept == nil {
		return f, err
	}
	return r.kept.join(f)
}

func openSnapshot(fsys vfs.FS, dir string, index Index) (vfs.File, error) {
	f, err := fsys.Open(path.Join(dir, snapshotFile(index)), vfs.Read)
	if err != nil {
		return nil, fmt.Errorf("rsm: open the snapshot at %d: %w", index, err)
	}
	return f, nil
}

// Close gives up a snapshot under way, and the reads that wait. Nothing but Read,
// Applied and Metrics may be called after it.
func (r *Replica) Close() {
	r.closed = true
	r.shots.stop()
	if r.decisions != nil {
		r.decisions.close(func(err error) {
			if err != nil {
				r.options.Logger.Warn("rsm: the record of decisions is not closed", "dir", r.dir, "error", err)
			}
		})
	}
	r.RefuseReads(ErrClosed)
	if r.keeper != nil {
		r.keeper.Release()
	}
}

// recover restores the newest good snapshot.
func (r *Replica) recover() error {
	if err := r.files.clean(); err != nil {
		r.options.Logger.Warn("rsm: temporary files stay", "dir", r.dir, "error", err)
	}
	found, err := r.files.list()
	if err != nil {
		return err
	}
	for _, index := range slices.Backward(found) {
		state, bytes, err := r.restoreFile(index)
		if err == nil {
			r.recovered.SnapshotIndex = state.Index
			r.adopt(state, bytes)
			return r.recoverFiles(found)
		}
		name := snapshotFile(index)
		r.options.Logger.Error("rsm: snapshot passed over", "dir", r.dir, "name", name, "error", err)
		r.recovered.Damaged = append(r.recovered.Damaged, name)
	}
	if err := r.machine.Restore(emptyReader{}); err != nil {
		return fmt.Errorf("restore the initial state: %w", err)
	}
	return r.recoverFiles(found)
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }

// adopt takes over the state of a snapshot file that was restored.
func (r *Replica) adopt(state State, bytes int64) {
	r.state = state
	r.files.addGood(state)
	r.counters.applied.Store(uint64(state.Index))
	r.counters.snapshotIndex.Store(uint64(state.Index))
	r.counters.snapshotBytes.Store(bytes)
	r.shots.schedule(bytes)
	if err := r.files.removeParts(state.Index); err != nil {
		r.options.Logger.Warn("rsm: parts of old snapshots stay", "dir", r.dir, "error", err)
	}
}

// restoreFile restores one snapshot. After an error the machine's state is
// undefined.
func (r *Replica) restoreFile(i Index) (state State, bytes int64, err error) {
	return restoreFile(r.options.FS, r.dir, i, r.machine)
}

// RestoreSnapshot restores a machine from the snapshot at an index in a replica's
// directory, and returns where its state stands. After an error that is undefined. Files
// that the machine keeps stay in the replica's directory and are only read.
func RestoreSnapshot(fsys vfs.FS, dir string, i Index, m Machine) (State, error) {
	if k, ok := m.(Keeper); ok {
		k.Keep(&Files{fs: fsys, dir: dir})
	}
	state, _, err := restoreFile(fsys, dir, i, m)
	if err != nil {
		return State{}, fmt.Errorf("rsm: snapshot %s: %w", snapshotFile(i), err)
	}
	return state, nil
}

// SnapshotState returns where the state of the snapshot at an index stands, by its header alone.
func SnapshotState(fsys vfs.FS, dir string, i Index) (_ State, err error) {
	f, err := openSnapshot(fsys, dir, i)
	if err != nil {
		return State{}, err
	}
	defer closeInto(f, &err)
	in, err := newSnapshotReader(f)
	if err != nil {
		return State{}, fmt.Errorf("rsm: snapshot %s: %w", snapshotFile(i), err)
	}
	return in.at, nil
}

func restoreFile(fsys vfs.FS, dir string, i Index, m Machine) (state State, bytes int64, err error) {
	f, err := openSnapshot(fsys, dir, i)
	if err != nil {
		return State{}, 0, err
	}
	defer closeInto(f, &err)
	in, err := newSnapshotReader(f)
	if err != nil {
		return State{}, 0, err
	}
	if in.at.Index != i {
		return State{}, 0, fmt.Errorf("holds index %d: %w", in.at.Index, wal.ErrCorrupt)
	}
	if err := m.Restore(in); err != nil {
		return State{}, 0, fmt.Errorf("restore: %w", err)
	}
	left, err := io.Copy(io.Discard, in)
	if err != nil {
		return State{}, 0, fmt.Errorf("restore: %w", err)
	}
	if left > 0 {
		return State{}, 0, fmt.Errorf("the machine left %d bytes of it", left)
	}
	return in.at, int64(min(in.bytes, math.MaxInt64)), nil
}

func closeInto(c io.Closer, err *error) {
	if cerr := c.Close(); *err == nil {
		*err = cerr
	}
}
