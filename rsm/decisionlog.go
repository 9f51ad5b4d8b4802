package rsm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"sync"

	"maru.example/vfs"
	"maru.example/wal"
)

// ErrGap says that an entry's decision is not on record: it was cut, or the replica
// was given a snapshot instead of the entry.
var ErrGap = errors.New("rsm: decision not on record")

// GapError is an ErrGap that says where the record goes on.
type GapError struct {
	At   Index
	Next Index // the first that is on record after At; 0: not known
}

// Error names both.
func (e *GapError) Error() string {
	return fmt.Sprintf("%v: entry %d; the record goes on with entry %d", ErrGap, e.At, e.Next)
}

// Unwrap returns ErrGap.
func (e *GapError) Unwrap() error { return ErrGap }

// DecisionsName is the name of the directory of decisions, in a replica's.
const DecisionsName = "decisions"

const (
	decisionSegmentBytes = 16 << 20
	decisionRecordBytes  = 32       // before the decision: version 1, notes 1, zero 6, term 8, time 8, place 8
	flushBytes           = 1 << 20  // of decisions that are written together
	maxFlushBytes        = 16 << 20 // are written at once
	maxUnwritten         = 256 << 20
)

// DecisionLog is a replica's record of what its machine decided. Its logs
// ([wal.Log]) have one record for each entry, under the entry's index; where entries are missing
// a new one begins. The record may end before what is applied: what is missing is
// in memory, and is made again by a restart, as no snapshot is good before the record
// has come as far. It is safe for concurrent use.
type DecisionLog struct {
	fs      vfs.FS
	dir     string
	loop    Loop // writes
	segment int64
	most    int64 // bytes of recent
	failed  func(error)
	logger  *slog.Logger

	reviewer Reviewer // the machine, if it is one

	// The replica's loop alone has these.
	again decisionReader // what is on record of entries that are applied again
	next  Index          // of the entry to be recorded next; 0: any
	last  Index          // on record when it was opened

	mu        sync.Mutex
	firsts    []Index  // of the logs, oldest first
	log       *wal.Log // the newest; nil: there is none
	was       *wal.Log // the newest, when the record was closed
	recent    []DecisionPlace
	bytes     int64 // of recent
	unwritten int   // of recent, at its end
	waiting   int64 // bytes of those
	flushes   []decisionFlush
	flushing  bool
	changed   chan struct{} // closed when there is more; nil: nobody waits
	err       error
}

// decisionFlush waits for what was recorded until some moment to be durable.
type decisionFlush struct {
	upTo Index
	done func(error)
}

// DecisionPlace is a decision, and where the consensus's log has the entry.
type DecisionPlace struct {
	Decided
	Place uint64
	Notes byte // of the program that recorded it: see Reviewer
}

func (d *DecisionPlace) size() int64 { return int64(len(d.Entry)+len(d.Decision)) + 64 }

// openDecisions opens the record in a replica's directory. The state stands at an
// index: what is on record after it will be decided again.
func openDecisions(dir string, at Index, loop Loop, o *ReplicaOptions) (*DecisionLog, error) {
	d := &DecisionLog{
		fs: o.FS, dir: path.Join(dir, DecisionsName), loop: loop,
		segment: decisionSegmentBytes, most: o.RecentBytes, failed: o.Failed, logger: o.Logger,
	}
	var err error
	if d.firsts, err = decisionFirsts(d.fs, d.dir); err != nil || len(d.firsts) == 0 {
		return d, err
	}
	first := d.firsts[len(d.firsts)-1]
	if d.log, err = d.open(first, at); err != nil {
		return nil, err
	}
	d.last = Index(d.log.Last())
	if at <= d.last {
		d.next = d.last + 1
	}
	return d, nil
}

// OpenDecisions opens the record in the directory of a replica that does not run, to
// be read; nil if there is none.
func OpenDecisions(fsys vfs.FS, dir string, logger *slog.Logger) (*DecisionLog, error) {
	o := &ReplicaOptions{FS: fsys, Logger: logger}
	o.setDefaults()
	d, err := openDecisions(dir, 0, nil, o)
	if err != nil || d.log == nil {
		return nil, err
	}
	d.err = &GapError{At: d.last + 1}
	return d, nil
}

// Last returns the last entry that was on record when it was opened.
func (d *DecisionLog) Last() Index { return d.last }

// Close closes a record that OpenDecisions opened.
func (d *DecisionLog) Close() error { return d.log.Close() }

func (d *DecisionLog) open(first, verified Index) (*wal.Log, error) {
	name := d.path(first)
	l, err := wal.Open(d.fs, name, &wal.Options{
		SegmentBytes: d.segment, First: wal.Index(first), VerifyFrom: wal.Index(verified), Logger: d.logger,
	})
	if errors.Is(err, wal.ErrCorrupt) {
		err = fmt.Errorf("the record of decisions %s is damaged (without it the wallet is whole, and its history has a gap: move it away to go on): %w", name, err)
	}
	return l, err
}

func (d *DecisionLog) path(first Index) string {
	return path.Join(d.dir, fmt.Sprintf("%0*d", snapshotDigits, first))
}

// decisionFirsts returns where the logs in a directory begin, in order.
func decisionFirsts(fsys vfs.FS, dir string) ([]Index, error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the decisions: %w", err)
	}
	var firsts []Index
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 64)
		if err != nil || len(name) != snapshotDigits {
			continue
		}
		files, err := fsys.List(path.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("list the decisions: %w", err)
		}
		if len(files) > 0 { // else it was cut: directories stay
			firsts = append(firsts, Index(n))
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// RemoveDecisions removes the record of decisions in a replica's directory, which
// no replica has open.
func RemoveDecisions(fsys vfs.FS, dir string) error {
	dir = path.Join(dir, DecisionsName)
	firsts, err := decisionFirsts(fsys, dir)
	for _, first := range firsts {
		err = errors.Join(err, wal.Remove(fsys, path.Join(dir, fmt.Sprintf("%0*d", snapshotDigits, first))))
	}
	return err
}

// record takes up the decision on an entry. It is called on the replica's loop, for
// each entry in order.
func (d *DecisionLog) record(v Decided, place uint64) error {
	if v.Index <= d.last && d.next != 0 {
		if err := d.compare(&v); err != nil {
			return err
		}
		return d.remember(DecisionPlace{v, place, d.notes()}, false)
	}
	if err := d.again.close(); err != nil {
		return err
	}
	begins := v.Index != d.next
	if begins {
		if d.next != 0 || d.last != 0 {
			d.logger.Warn("rsm: the record of decisions has a gap", "dir", d.dir, "ends", uint64(max(d.last, d.next-1)), "goes_on", uint64(v.Index))
		}
		d.loop.Post(func() { d.begin(v.Index) })
	}
	d.next = v.Index + 1
	return d.remember(DecisionPlace{v, place, d.notes()}, true)
}

// notes is what goes with each decision: see Reviewer.
func (d *DecisionLog) notes() byte {
	if d.reviewer == nil {
		return 0
	}
	return d.reviewer.Notes()
}

// compare compares a decision with that of before, if that is on record, and makes it the same.
func (d *DecisionLog) compare(v *Decided) error {
	d.mu.Lock() // of the log that is there another loop may cut the beginning
	log, first := d.log, d.firsts[len(d.firsts)-1]
	d.mu.Unlock()
	if v.Index < first {
		return nil
	}
	old, err := d.again.read(log, v.Index)
	if err != nil {
		return fmt.Errorf("read the decision on entry %d: %w", v.Index, err)
	}
	by := d.reviewer
	if by != nil && by.Notes() == old.Notes {
		by = nil // what is not on record was not decided so
	}
	if !v.same(&old.Decided, by) {
		return ErrDecision
	}
	if !bytes.Equal(v.Decision, old.Decision) { // of an older program; readers get what is on record, from memory too
		v.Decision = bytes.Clone(old.Decision)
	}
	return nil
}

// remember puts a decision among the recent ones.
func (d *DecisionLog) remember(v DecisionPlace, unwritten bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recent = append(d.recent, v)
	d.bytes += v.size()
	if unwritten {
		d.unwritten++
		if d.waiting += v.size() - int64(len(v.Entry)); d.waiting >= flushBytes {
			d.flushSoon()
		}
		if d.waiting > maxUnwritten {
			return fmt.Errorf("%d bytes of decisions wait to be written", d.waiting)
		}
	}
	n := 0
	for n < len(d.recent)-d.unwritten && d.bytes > d.most {
		d.bytes -= d.recent[n].size()
		d.recent[n] = DecisionPlace{}
		n++
	}
	d.recent = d.recent[n:]
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
	return nil
}

// flushSoon is called with mu held.
func (d *DecisionLog) flushSoon() {
	if !d.flushing {
		d.flushing = true
		d.loop.Post(d.write)
	}
}

// flush calls done, on any loop, when all that was recorded is durable.
func (d *DecisionLog) flush(done func(error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unwritten == 0 || d.err != nil {
		err := d.err
		d.loop.Post(func() { done(err) })
		return
	}
	d.flushes = append(d.flushes, decisionFlush{d.recent[len(d.recent)-1].Index, done})
	d.flushSoon()
}

// begin makes a new log. It runs on the log's own loop, as write does.
func (d *DecisionLog) begin(first Index) {
	d.writeAll() // what came before the gap
	err := d.fs.MkdirAll(d.dir)
	if d.log != nil {
		err = errors.Join(err, d.log.Close())
	}
	var l *wal.Log
	if err == nil {
		l, err = d.open(first, 0)
	}
	if err == nil {
		err = vfs.SyncDir(d.fs, d.dir)
	}
	d.mu.Lock()
	d.log = l
	d.firsts = append(d.firsts, first)
	d.mu.Unlock()
	if err != nil {
		d.fail(fmt.Errorf("rsm: begin the record of decisions at %d: %w", first, err))
	}
}

// write writes what waits.
func (d *DecisionLog) write() {
	d.writeAll()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushing = false
	if d.waiting >= flushBytes && d.err == nil {
		d.flushSoon()
	}
}

func (d *DecisionLog) writeAll() {
	for {
		batch := d.take()
		if len(batch) == 0 {
			return
		}
		records := make([]wal.Record, len(batch))
		for i := range batch {
			records[i] = wal.Record{appendDecisionHeader(nil, &batch[i]), batch[i].Decision}
		}
		first, err := d.log.Append(records...)
		if err == nil && first != wal.Index(batch[0].Index) {
			err = fmt.Errorf("entry %d got the place %d: %w", batch[0].Index, first, wal.ErrCorrupt)
		}
		if err != nil {
			d.fail(fmt.Errorf("rsm: write the record of decisions: %w", err))
			return
		}
		d.wrote(batch)
	}
}

// take returns the oldest that are not written, those that follow each other.
func (d *DecisionLog) take() []DecisionPlace {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil || d.log == nil {
		return nil
	}
	waiting := d.recent[len(d.recent)-d.unwritten:]
	n, size := 0, int64(0)
	for n < len(waiting) && (n == 0 || size < maxFlushBytes && waiting[n].Index == waiting[n-1].Index+1) {
		size += int64(len(waiting[n].Decision))
		n++
	}
	if n > 0 && wal.Index(waiting[0].Index) != d.log.Last()+1 {
		return nil // it is for a log that begin is about to make
	}
	return slices.Clone(waiting[:n])
}

// wrote notes that decisions are durable.
func (d *DecisionLog) wrote(batch []DecisionPlace) {
	d.mu.Lock()
	d.unwritten -= len(batch)
	for i := range batch {
		d.waiting -= batch[i].size() - int64(len(batch[i].Entry))
	}
	last := batch[len(batch)-1].Index
	n := 0
	for n < len(d.flushes) && d.flushes[n].upTo <= last {
		n++
	}
	done := d.flushes[:n:n]
	d.flushes = d.flushes[n:]
	d.mu.Unlock()
	for _, f := range done {
		f.done(nil)
	}
}

// fail ends the record: nothing more is written.
func (d *DecisionLog) fail(err error) {
	d.mu.Lock()
	if d.err == nil {
		d.err = err
	}
	done := d.flushes
	d.flushes = nil
	d.mu.Unlock()
	for _, f := range done {
		f.done(err)
	}
	d.failed(err)
}

// Closed calls done, on the log's loop, when what was to be done before it is done.
func (d *DecisionLog) Closed(done func()) { d.loop.Post(done) }

// close writes what waits and closes the files, on the log's loop.
func (d *DecisionLog) close(done func(error)) {
	d.loop.Post(func() {
		d.writeAll()
		d.mu.Lock()
		l := d.log
		d.log, d.was = nil, l
		if d.err == nil {
			d.err = ErrClosed
		}
		if d.changed != nil {
			close(d.changed)
			d.changed = nil
		}
		d.mu.Unlock()
		if l == nil {
			done(nil)
			return
		}
		done(l.Close())
	})
}
