package rsm

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"maru.example/vfs"
	"maru.example/wal"
)

// Names in a node's directory.
const (
	lockName     = "LOCK"
	logName      = "log"
	snapshotName = "snapshots"
)

// flushesUnderWay is how many flushes may be written and not yet applied.
const flushesUnderWay = 2

// Node is a running machine. It is safe for concurrent use.
//
// Two goroutines do the work: the writer takes proposals from the queue and
// appends them to the log, the apply goroutine feeds what is durable to the
// machine, answers, runs reads, and takes steps of a snapshot. The machine is
// touched by the apply goroutine alone.
type Node struct {
	machine Machine
	options Options
	dir     string
	lock    io.Closer
	log     *wal.Log
	queue   *queue
	reads   *readQueue
	calls   sync.Pool   // of *call
	flushes chan *flush // from the writer to the apply goroutine; closed after the last
	spare   chan *flush // the way back

	closing    chan struct{}
	failed     chan struct{}
	hung       chan struct{} // closed when the writer was given up
	writerDone chan struct{}
	applyDone  chan struct{}
	close      func() error // does it once

	writer  *writer
	applier *applier

	recovered Recovery
	free      atomic.Int64
	counters  counters
}

// counters are written by the node's goroutines and read by Metrics.
type counters struct {
	proposals        atomic.Uint64
	entries          atomic.Uint64
	applied          atomic.Uint64
	snapshots        atomic.Uint64
	snapshotFailures atomic.Uint64
	snapshotIndex    atomic.Uint64
	snapshotBytes    atomic.Int64
	snapshotPause    atomic.Int64 // nanoseconds
}

// Open recovers the machine from dir (newest good snapshot, then the log after
// it) and starts it. Only one node at a time may have dir open: another gets an
// error that wraps vfs.ErrLocked. Where what was acknowledged cannot be had back
// from dir, the error wraps wal.ErrCorrupt and says what is missing.
func Open(dir string, m Machine, o *Options) (_ *Node, err error) {
	options, err := withDefaults(o)
	if err != nil {
		return nil, err
	}
	fsys := options.FS
	said := newProgress(dir, &options)
	if err := fsys.MkdirAll(path.Join(dir, snapshotName)); err != nil {
		return nil, fmt.Errorf("rsm: make the directory %s: %w", dir, err)
	}
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("rsm: lock %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	files := &snapshotDir{fs: fsys, dir: path.Join(dir, snapshotName)}
	found, err := files.list()
	if err != nil {
		return nil, fmt.Errorf("rsm: open %s: %w", dir, err)
	}
	log, err := openLog(dir, found, &options, said)
	if err != nil {
		return nil, fmt.Errorf("rsm: open the log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, log.Close())
		}
	}()
	state, err := recoverMachine(m, log, files, found, said)
	if err != nil {
		return nil, fmt.Errorf("rsm: recover %s: %w", dir, err)
	}
	n := newNode(dir, m, options)
	n.lock, n.log = lock, log
	n.start(files, state)
	return n, nil
}

// openLog opens the log, of which it checks what comes after the newest snapshot.
// What comes before is checked if it is read. The log has to reach that snapshot,
// also where it is damaged: what it holds had been in the log.
func openLog(dir string, snapshots []wal.Index, o *Options, said *progress) (*wal.Log, error) {
	w := wal.Options{SegmentBytes: o.SegmentBytes, Logger: o.Logger, Progress: said.verified}
	if len(snapshots) > 0 {
		w.Reach = snapshots[len(snapshots)-1]
		w.VerifyFrom = w.Reach + 1
	}
	return wal.Open(o.FS, path.Join(dir, logName), &w)
}

// withDefaults returns the options with every field set.
func withDefaults(o *Options) (Options, error) {
	var options Options
	if o != nil {
		options = *o
	}
	if options.FS == nil {
		options.FS = vfs.OS()
	}
	if options.Now == nil {
		options.Now = time.Now //nolint:forbidigo // the documented default of Options.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&options.MaxEntryBytes, 1<<20)
	setDefault(&options.MaxQueueBytes, 64<<20)
	setDefault(&options.SyncTimeout, 10*time.Second)
	setDefault(&options.SnapshotBytes, 1<<30)
	setDefault(&options.ReserveBytes, 1<<30)
	if options.MaxEntryBytes < 0 || options.MaxEntryBytes > maxEntryOption {
		return Options{}, fmt.Errorf("rsm: MaxEntryBytes is %d, want 1 to %d", options.MaxEntryBytes, maxEntryOption)
	}
	if options.MaxQueueBytes < 0 {
		return Options{}, fmt.Errorf("rsm: MaxQueueBytes is %d, want at least 1", options.MaxQueueBytes)
	}
	if least := MinReserveBytes(options.MaxQueueBytes); options.ReserveBytes >= 0 && options.ReserveBytes < least {
		return Options{}, fmt.Errorf("rsm: ReserveBytes is %d, want at least %d, or less than 0 for none", options.ReserveBytes, least)
	}
	return options, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func newNode(dir string, m Machine, o Options) *Node {
	n := &Node{
		machine:    m,
		options:    o,
		dir:        dir,
		queue:      newQueue(o.MaxQueueBytes),
		reads:      newReadQueue(),
		flushes:    make(chan *flush, flushesUnderWay),
		spare:      make(chan *flush, flushesUnderWay+2), // and one in each goroutine
		closing:    make(chan struct{}),
		failed:     make(chan struct{}),
		hung:       make(chan struct{}),
		writerDone: make(chan struct{}),
		applyDone:  make(chan struct{}),
	}
	n.close = sync.OnceValue(n.shutdown)
	return n
}

// start runs the node from the recovered state on.
func (n *Node) start(files *snapshotDir, state recovered) {
	n.recovered = state.Recovery
	n.counters.applied.Store(uint64(n.log.Last()))
	n.counters.snapshotIndex.Store(uint64(state.SnapshotIndex))
	n.counters.snapshotBytes.Store(state.snapshotBytes)
	n.writer = newWriter(n, state.time)
	n.applier = newApplier(n, files, state)
	n.writer.checkDisk()
	go n.writer.run()
	go n.applier.run()
}

// Failed is closed when the log has failed. Err says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err returns why the node takes no proposals at this moment: nil, or an error that wraps
// ErrFailed, ErrDiskFull or ErrClosed.
func (n *Node) Err() error { return n.queue.err() }

// Metrics returns counters and gauges.
func (n *Node) Metrics() Metrics {
	bytes, refused := n.queue.stats()
	return Metrics{
		Proposals:        n.counters.proposals.Load(),
		Entries:          n.counters.entries.Load(),
		Applied:          wal.Index(n.counters.applied.Load()),
		QueueBytes:       bytes,
		Refused:          refused,
		Snapshots:        n.counters.snapshots.Load(),
		SnapshotFailures: n.counters.snapshotFailures.Load(),
		SnapshotIndex:    wal.Index(n.counters.snapshotIndex.Load()),
		SnapshotBytes:    n.counters.snapshotBytes.Load(),
		SnapshotPause:    time.Duration(n.counters.snapshotPause.Load()),
		Recovered:        n.recovered,
		FreeBytes:        n.free.Load(),
		Log:              n.log.Metrics(),
	}
}

// Close stops taking proposals, answers those that were taken, and closes the
// log. It returns after the last goroutine ended. A snapshot under way is given
// up.
//
// There is one exception: where an append to the log took longer than
// SyncTimeout, Close does not wait for it. It returns an error that wraps
// ErrFailed, and the directory stays locked until the operating system lets go
// of the file or the process ends.
func (n *Node) Close() error { return n.close() }

func (n *Node) shutdown() error {
	n.queue.close()
	close(n.closing)
	<-n.applyDone
	select {
	case <-n.writerDone:
		return n.closeFiles()
	case <-n.hung:
	}
	select {
	case <-n.writerDone: // late, but it came back
		return n.closeFiles()
	default:
	}
	go func() { // ends with the append, or with the process
		<-n.writerDone
		if err := n.closeFiles(); err != nil {
			n.options.Logger.Error("rsm: late close", "dir", n.dir, "error", err)
		}
	}()
	return fmt.Errorf("rsm: close: %w", n.queue.failure())
}

func (n *Node) closeFiles() error {
	if err := errors.Join(n.log.Close(), n.lock.Close()); err != nil {
		return fmt.Errorf("rsm: close: %w", err)
	}
	return nil
}
