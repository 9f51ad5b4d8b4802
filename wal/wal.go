// Package wal is a segmented, checksummed, group-committed append-only log.
//
// A log is a directory of segment files. Append returns when its records are on
// the disk; calls that wait at the same time share one write and one sync. Open
// recovers after a crash: it keeps every record that was acknowledged, cuts what
// a crash left half written at the end, and refuses with [ErrCorrupt] what only
// damage can explain. A log whose write or sync failed takes nothing more until
// it is opened anew. The format is docs/format/wal.md; DESIGN.md has the reasons
// and the figures.
package wal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"maru.example/vfs"
)

// Errors of a log.
var (
	// ErrCorrupt says that bytes that had been acknowledged are damaged. The
	// error that wraps it names the segment and the offset.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrVersion says that a segment is of a format that this program does not know.
	ErrVersion = errors.New("wal: unknown version of the format")
	// ErrFailed says that a write or a sync failed: the log takes nothing more
	// until it is opened anew. The error that wraps it holds the cause. What was
	// being appended may be found, whole or in part, when it is opened anew.
	ErrFailed = errors.New("wal: failed")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("wal: closed")
	// ErrTooLarge says that a record is larger than [MaxRecordBytes], or a call's
	// records together than [MaxAppendBytes].
	ErrTooLarge = errors.New("wal: record too large")
	// ErrTruncated says that the index was cut from the log.
	ErrTruncated = errors.New("wal: index was cut from the log")
)

// Limits of a log.
const (
	// MaxRecordBytes is the most that one record may hold.
	MaxRecordBytes = 16 << 20
	// MaxAppendBytes is the most that one Append may write, frames included.
	MaxAppendBytes = 64 << 20
	// MaxSegmentBytes is the largest Options.SegmentBytes.
	MaxSegmentBytes = 1 << 30
)

const (
	defaultSegmentBytes = 64 << 20
	// maxBatchBytes is how much may wait for the next write before Append waits
	// to add to it.
	maxBatchBytes = 8 << 20
	// maxSegmentEnd is where a segment ends in any case. Offsets have 32 bits.
	maxSegmentEnd = 2 * MaxSegmentBytes
)

// Index numbers the records of a log from 1, without gaps.
type Index uint64

// Record is the content of one record: the parts in order, joined. Append does
// not keep the parts after it returned.
type Record [][]byte

// Options are the settings of a log; nil means all defaults.
type Options struct {
	// SegmentBytes is the size after which a new segment is begun, if its file
	// can be created; default 64 MiB, at most MaxSegmentBytes. What is written at
	// once goes to two segments at the most.
	SegmentBytes int64
	// First is the index of the first record of a log that is created; default 1.
	First Index
	// VerifyFrom spares Open the reading of segments that hold only records
	// before it, but for their headers: damage there is found when they are read.
	// The default verifies all. The last segment always is.
	VerifyFrom Index
	// Reach is a record that the log is known to have held, such as the last one
	// that a snapshot covers: a log that ends before it is corrupt. The default
	// knows of none.
	Reach Index
	// Logger is told what an operator has to know of; default: discards.
	Logger *slog.Logger
	// Progress is called while Open reads, after each segment, with the bytes
	// that were read and those that will be. The default is none.
	Progress func(done, of int64)
}

// Log is an open log. It is safe for concurrent use.
type Log struct {
	fs   vfs.FS
	dir  string
	id   logID
	size int64 // Options.SegmentBytes
	lock io.Closer
	// folder is dir. It is kept open so that nothing but readers needs a file
	// descriptor while the log runs: that there is none to be had must not fail it.
	folder vfs.Dir
	logger *slog.Logger

	// cutting is held by one truncation, or by Close, over all that it does.
	cutting sync.Mutex

	mu       sync.Mutex
	changed  sync.Cond  // of busy, held, pending, durable, err and closed
	segments []*segment // never empty; the last one is appended to
	last     Index      // durable
	tail     position   // of the next record to be encoded
	gen      uint32     // of the frames to be encoded
	durable  uint64     // number of the last batch that is; unlike last it never falls
	pending  *batch     // encoded, not written
	idle     *batch     // the other one, when it is not being written
	spare    vfs.File   // of the next segment; nil if it could not be created
	busy     bool       // a flush is under way
	held     bool       // Append waits: a truncation or Close has the log for itself
	cuts     []Index    // what each TruncateAfter left as last, at its begin and its end
	err      error      // wraps ErrFailed
	closed   bool
	metrics  Metrics

	// The file of the last segment is used by who set busy or held. Only he
	// changes spare.
	file   vfs.File
	active *segment
	filled int64    // its size
	clean  bool     // the last frame is a close marker, or there is none
	long   *segment // the last one that was said to grow beyond SegmentBytes
}

// position is where a frame goes.
type position struct {
	segment *segment
	off     int64
	index   Index
}

// Metrics counts what a log did since it was opened.
type Metrics struct {
	Records uint64 // appended
	Bytes   uint64 // written, with frames and headers
	Syncs   uint64
	Size    int64 // bytes of all segments now
}

// Open opens the log in dir, or creates it. It takes a lock there: a second Open
// of the same directory gets [vfs.ErrLocked].
func Open(fs vfs.FS, dir string, o *Options) (*Log, error) {
	return open(fs, dir, o, newLogID)
}

func open(fs vfs.FS, dir string, o *Options, newID func() logID) (*Log, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = defaultSegmentBytes
	}
	opts.First = max(opts.First, 1)
	if opts.SegmentBytes < 0 || opts.SegmentBytes > MaxSegmentBytes {
		return nil, fmt.Errorf("wal: segments of %d bytes, want 1 to %d", opts.SegmentBytes, MaxSegmentBytes)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{fs: fs, dir: dir, size: opts.SegmentBytes, logger: opts.Logger, pending: &batch{number: 1}, idle: &batch{}}
	l.changed.L = &l.mu
	if err := l.recover(&opts, newID); err != nil {
		return nil, errors.Join(fmt.Errorf("open log %s: %w", dir, err), l.release())
	}
	return l, nil
}

// Append writes the records one after the other and returns when all of them
// are durable. Calls that wait at the same time share one sync. The records of
// one call are adjacent. It returns the index of the first; without records it
// returns the index that would come next, and waits for nothing. After an error that
// wraps ErrFailed some of them, in order, may be found when the log is opened
// anew; after any other error none is.
func (l *Log) Append(records ...Record) (Index, error) {
	if err := checkSizes(records); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.usable() == nil && (l.held || len(l.pending.buf) >= maxBatchBytes) {
		l.advance()
	}
	if err := l.usable(); err != nil {
		return 0, err
	}
	first := l.tail.index
	if len(records) == 0 {
		return first, nil
	}
	for _, r := range records {
		l.encode(r)
	}
	mine := l.pending.number
	for l.durable < mine && l.err == nil {
		l.advance()
	}
	if l.durable < mine {
		return 0, l.err
	}
	return first, nil
}

// checkSizes returns ErrTooLarge if a record, or all of them together, are.
func checkSizes(records []Record) error {
	sum := int64(0)
	for _, r := range records {
		size := int64(0)
		for _, part := range r {
			size += int64(len(part))
		}
		if size > MaxRecordBytes {
			return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, MaxRecordBytes)
		}
		sum += frameSize(size)
	}
	if sum > MaxAppendBytes {
		return fmt.Errorf("%w: %d records of %d bytes, at most %d", ErrTooLarge, len(records), sum, MaxAppendBytes)
	}
	return nil
}

// usable says why the log takes nothing, if so.
func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.err
}

// First returns the index of the first record still held; Last()+1 if none is.
func (l *Log) First() Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].first
}

// Last returns the index of the last durable record; First()-1 if there is none.
func (l *Log) Last() Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Err returns nil while the log takes writes, and else why it does not.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usable()
}

// Metrics returns the counters.
func (l *Log) Metrics() Metrics {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.metrics
	for _, s := range l.segments {
		m.Size += s.size
	}
	return m
}

// Close waits for appends under way, marks the end of the log so that damage to
// it and its loss can be told from a crash, and closes the files. A second Close
// does nothing.
func (l *Log) Close() error {
	l.cutting.Lock()
	defer l.cutting.Unlock()
	if !l.hold() {
		return nil
	}
	var err error
	if l.Err() == nil {
		err = l.end()
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.letGo(nil)
	return errors.Join(err, l.release())
}

// release closes the files and gives the lock back.
func (l *Log) release() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	if l.spare != nil {
		errs = append(errs, l.spare.Close())
	}
	if l.folder != nil {
		errs = append(errs, l.folder.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// hold waits until the log is the caller's alone: what was encoded is written
// and Append waits, until letGo. It returns false if the log is closed.
func (l *Log) hold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.held = true
	for l.busy || l.err == nil && len(l.pending.buf) > 0 {
		l.advance()
	}
	return true
}

// letGo ends hold; an error fails the log.
func (l *Log) letGo(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.fail(err)
	l.changed.Broadcast()
}

// fail poisons the log.
func (l *Log) fail(err error) {
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
}

// path returns the name of a file of the log.
func (l *Log) path(name string) string { return l.dir + "/" + name }

// find returns where in segments, which are never none, the one is that holds
// the record: the last one that does not begin after it.
func find(segments []*segment, index Index) int {
	i, found := slices.BinarySearchFunc(segments, index, func(s *segment, index Index) int {
		switch {
		case s.first < index:
			return -1
		case s.first > index:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	return max(i, 0)
}
