package rsm

import (
	"errors"
	"fmt"
	"time"

	"maru.example/wal"
)

// maxFlushBytes is about the most that is appended to the log at once. A sync
// of so much takes 10 to 30 ms on a common disk, as long as applying it.
const maxFlushBytes = 4 << 20

// The free space is looked at once in diskInterval, also when idle, and when so
// many bytes were appended to the log. A flush and its padding are no more again.
const (
	diskInterval  = time.Second
	diskLookBytes = 16 << 20
)

var errSyncTimeout = errors.New("append takes too long")

// flush is what is appended to the log at once: entries with their proposals.
type flush struct {
	proposals []*Proposal
	entries   []flushEntry
	time      int64
	err       error // the proposals' answer, if not nil; then there are no entries

	heads   []byte
	parts   [][]byte
	records []wal.Record
}

// flushEntry is one entry of a flush.
type flushEntry struct {
	end   int // of its proposals in the flush
	index wal.Index
	bytes int64 // of the record
}

// writer takes proposals from the queue and appends them to the log.
type writer struct {
	n      *Node
	last   int64 // the time of the last entry
	ticker *time.Ticker
	blind  int64 // bytes that were appended since the last look at the disk

	// watchdog fires when an append takes too long; nil if it may. Who stops it
	// owns the flush: the writer, if Stop says that it had not fired, else the
	// watchdog's function.
	watchdog *time.Timer
	underWay *flush
}

func newWriter(n *Node, last int64) *writer {
	w := &writer{n: n, last: last}
	w.ticker = time.NewTicker(diskInterval) //nolint:forbidigo // watches the disk, not part of the rules
	if n.options.SyncTimeout > 0 {
		w.watchdog = time.AfterFunc(n.options.SyncTimeout, w.giveUp) //nolint:forbidigo // watches the disk, not part of the rules
		w.watchdog.Stop()
	}
	return w
}

// run is the writer goroutine. It ends when the queue is closed and empty, or
// the log failed.
func (w *writer) run() {
	n := w.n
	defer close(n.writerDone)
	defer w.ticker.Stop()
	for {
		f := n.newFlush()
		var open bool
		f.proposals, open = n.queue.take(f.proposals, maxFlushBytes)
		switch {
		case len(f.proposals) > 0:
			if !w.commit(f) {
				return
			}
		case !open:
			close(n.flushes)
			return
		default:
			n.recycle(f)
			w.wait()
		}
	}
}

// wait returns when the queue may have something, and looks after the disk
// meanwhile.
func (w *writer) wait() {
	select {
	case <-w.n.queue.wake:
	case <-w.ticker.C:
		w.checkDisk()
	}
}

// commit appends a flush to the log and hands it to the apply goroutine. It
// returns false if the node failed.
func (w *writer) commit(f *flush) bool {
	n := w.n
	f.time = max(n.options.Now().UnixNano(), w.last)
	w.last = f.time
	f.encode(n.options.MaxEntryBytes)
	if w.watchdog != nil {
		w.underWay = f
		w.watchdog.Reset(n.options.SyncTimeout)
	}
	first, err := n.log.Append(f.records...)
	if w.watchdog != nil && !w.watchdog.Stop() {
		return false
	}
	if err != nil {
		n.fail(err, f)
		return false
	}
	for i := range f.entries {
		f.entries[i].index = first + wal.Index(i)
		w.blind += f.entries[i].bytes
	}
	n.flushes <- f // and from now on it is not ours
	if w.blind >= diskLookBytes {
		w.checkDisk()
	}
	select {
	case <-w.ticker.C:
		w.checkDisk()
	default:
	}
	return true
}

// giveUp is the watchdog's function. The append may return later, but the node
// does not believe it any more.
func (w *writer) giveUp() {
	close(w.n.hung)
	w.n.fail(fmt.Errorf("%w: more than %v", errSyncTimeout, w.n.options.SyncTimeout), w.underWay)
}

// fail ends the writing: the proposals of f and all that wait get the error. It
// is called once, by the owner of f.
func (n *Node) fail(cause error, f *flush) {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	n.options.Logger.Error("rsm: log failed, no more proposals are taken", "dir", n.dir, "error", cause)
	n.queue.fail(err)
	close(n.failed)
	for len(f.proposals) > 0 {
		f.err = err
		n.flushes <- f
		f = n.newFlush()
		f.proposals, _ = n.queue.take(f.proposals, maxFlushBytes)
	}
	close(n.flushes)
}

// checkDisk refuses proposals while the disk has less room than the reserve.
func (w *writer) checkDisk() {
	n := w.n
	w.blind = 0
	free, err := n.options.FS.Free(n.dir)
	if err != nil {
		n.options.Logger.Warn("rsm: free space is unknown", "dir", n.dir, "error", err)
		return
	}
	n.free.Store(free)
	full := n.beyondReserve(free)
	switch changed := n.queue.setFull(full); {
	case changed && full != nil:
		n.options.Logger.Warn("rsm: disk nearly full: no proposals are taken, reads go on", "dir", n.dir,
			"free_bytes", free, "reserve_bytes", n.options.ReserveBytes,
			"hint", "make room on this disk, or choose a smaller reserve: proposals are taken again by themselves")
	case changed:
		n.options.Logger.Info("rsm: room on the disk again: proposals are taken", "dir", n.dir, "free_bytes", free)
	}
}

// beyondReserve returns ErrDiskFull if so much room is less than the reserve.
func (n *Node) beyondReserve(free int64) error {
	if free >= n.options.ReserveBytes {
		return nil
	}
	return fmt.Errorf("%w: %d bytes free, %d are kept in reserve: make room on the disk of %s", ErrDiskFull, free, n.options.ReserveBytes, n.dir)
}

// newFlush returns an empty flush.
func (n *Node) newFlush() *flush {
	select {
	case f := <-n.spare:
		return f
	default:
		return &flush{}
	}
}

// recycle gives a flush back, without what it refers to.
func (n *Node) recycle(f *flush) {
	clear(f.proposals)
	clear(f.parts)
	f.proposals, f.entries, f.err = f.proposals[:0], f.entries[:0], nil
	f.heads, f.parts, f.records = f.heads[:0], f.parts[:0], f.records[:0]
	select {
	case n.spare <- f:
	default:
	}
}

// encode makes the records of the flush: parts that refer to the proposals.
func (f *flush) encode(maxEntryBytes int) {
	f.divide(maxEntryBytes)
	size := len(f.entries)*entryHeaderBytes + len(f.proposals)*entryLengthBytes
	if cap(f.heads) < size {
		f.heads = make([]byte, 0, size+size/2)
	}
	if parts := len(f.entries) + len(f.proposals); cap(f.parts) < parts {
		f.parts = make([][]byte, 0, parts+parts/2)
	}
	start := 0
	for _, e := range f.entries { // neither heads nor parts grows any more
		head, part := len(f.heads), len(f.parts)
		f.heads = appendEntryHeader(f.heads, e.end-start, f.time)
		f.parts = append(f.parts, nil)
		for _, p := range f.proposals[start:e.end] {
			f.heads = appendEntryLength(f.heads, len(p.Data))
			f.parts = append(f.parts, p.Data)
		}
		f.parts[part] = f.heads[head:]
		f.records = append(f.records, f.parts[part:])
		start = e.end
	}
}

// divide groups the proposals into entries: each ends with the proposal that
// makes it reach maxEntryBytes.
func (f *flush) divide(maxEntryBytes int) {
	bytes := int64(entryHeaderBytes)
	for i, p := range f.proposals {
		bytes += entryLengthBytes + int64(len(p.Data))
		if bytes >= int64(maxEntryBytes) || i == len(f.proposals)-1 {
			f.entries = append(f.entries, flushEntry{end: i + 1, bytes: bytes})
			bytes = entryHeaderBytes
		}
	}
}
