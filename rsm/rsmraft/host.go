package rsmraft

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"maru.example/rsm"
	"maru.example/wal"
)

// Names in a host's directory.
const (
	lockName       = "LOCK"
	logName        = "log"
	groupsName     = "groups"
	checkpointName = "checkpoint"
)

// The free space is looked at once in diskInterval, also when idle, and when so
// many bytes were appended to the log.
const (
	diskInterval  = time.Second
	diskLookBytes = 16 << 20
)

var errSyncTimeout = errors.New("a write takes too long")

// Host is a node: it runs this node's replicas. It is safe for concurrent use.
type Host struct {
	id      NodeID
	dir     string
	options Options
	runtime rsm.Runtime
	lock    io.Closer
	log     *wal.Log

	ticks  rsm.Loop // of the clock, the disk's free space, and the list of groups
	writes rsm.Loop // appends to the log
	saves  rsm.Loop // writes snapshots and the checkpoint
	calls  caller

	mu      sync.Mutex
	groups  map[GroupID]*Group
	ordered []*Group // by number; never changed in place
	closed  bool
	waiting []*appendWork
	err     error              // wraps ErrFailed
	former  map[GroupID]uint64 // the terms in which replicas that were removed acted last
	failed  chan struct{}

	awake       atomic.Int64 // how long the host has run, in nanoseconds: a process that is stopped for a while does not take its disk for slow
	writing     atomic.Int64 // the awake since when something is to be written, plus one; 0: nothing is
	free        atomic.Int64
	shortage    atomic.Int32
	sending     atomic.Int32 // snapshots to other nodes
	done        atomic.Bool  // Close has drained the groups
	ownsRuntime bool
	opened      time.Duration

	ticked time.Duration // when tick was called last
	blind  atomic.Int64  // bytes written since it looked at the disk
	making sync.Mutex    // held while a replica is made
}

// appendWork is what a group wants to be durable.
type appendWork struct {
	group     *Group
	heads     []record // that come before the entries
	entries   []*pb.Entry
	hard      *hardState
	hardAt    int // how many entries come before it
	responses []*pb.Message
	then      func(first wal.Index) // instead of group.stored, if not nil
}

// addHardState puts a hard state behind the entries that it says are committed, and
// before the others. A crash may leave only the first of several records: then a
// commit index must not stand for entries that were to be replaced, nor must one
// that says that a change of members is committed be missing where the entries
// after the change are there.
func (w *appendWork) addHardState(h hardState) {
	w.hard, w.hardAt = &h, 0
	for w.hardAt < len(w.entries) && w.entries[w.hardAt].GetIndex() <= h.commit {
		w.hardAt++
	}
}

// before is the number of records that come before an entry.
func (w *appendWork) before(i int) int {
	if w.hard != nil && i >= w.hardAt {
		i++
	}
	return len(w.heads) + i
}

// count is the number of records.
func (w *appendWork) count() int { return w.before(len(w.entries)) }

// each calls add with the records in their order.
func (w *appendWork) each(add func(*record)) {
	for i := range w.heads {
		add(&w.heads[i])
	}
	for i := range len(w.entries) + 1 {
		if h := w.hard; h != nil && i == w.hardAt {
			add(&record{kind: recordHardState, group: w.group.id, term: h.term, index: h.commit, vote: h.vote})
		}
		if i < len(w.entries) {
			r := entryRecord(w.group.id, w.entries[i])
			add(&r)
		}
	}
}

// ID returns the node's number.
func (h *Host) ID() NodeID { return h.id }

// Failed is closed when the host has failed: its log, its disk, or a replica.
// Err says why. Nothing is retried: the process should end.
func (h *Host) Failed() <-chan struct{} { return h.failed }

// Err returns why the host failed, wrapping rsm.ErrFailed, or nil.
func (h *Host) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Group returns this node's replica of a group, nil if it has none.
func (h *Host) Group(id GroupID) *Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.groups[id]
}

// Groups returns this node's replicas in the order of their numbers.
func (h *Host) Groups() []*Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ordered
}

// addGroup makes a group known, unless the host is closed.
func (h *Host) addGroup(g *Group) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.groups[g.id] = g
	h.ordered = slices.Clone(h.ordered)
	h.ordered = append(h.ordered, g)
	slices.SortFunc(h.ordered, func(a, b *Group) int { return cmp.Compare(a.id, b.id) })
	return true
}

// append queues work for the log. All that waits is written together.
func (h *Host) append(w *appendWork) {
	h.mu.Lock()
	h.waiting = append(h.waiting, w)
	first := len(h.waiting) == 1
	if h.writing.Load() == 0 {
		h.writing.Store(h.sinceNow())
	}
	h.mu.Unlock()
	if first {
		h.writes.Post(h.write)
	}
}

// maxWriteBytes is about the most that is written and synced at once.
const maxWriteBytes = 16 << 20

// write appends what waits, of all groups, with one sync.
func (h *Host) write() {
	works, more := h.takeWork()
	if len(works) == 0 {
		return
	}
	first, err := h.appendNow(works)
	h.mu.Lock()
	h.writing.Store(0)
	if len(h.waiting) > 0 {
		h.writing.Store(h.sinceNow())
	}
	h.mu.Unlock()
	if err != nil {
		h.fail(err)
		return
	}
	for _, w := range works {
		at := first
		first += wal.Index(w.count())
		w.group.loop.Post(func() {
			if w.then != nil {
				w.then(at)
			} else {
				w.group.stored(w, at)
			}
		})
	}
	if more {
		h.writes.Post(h.write)
	}
}

// sinceNow returns what Host.writing holds for a write that begins now.
func (h *Host) sinceNow() int64 { return h.awake.Load() + 1 }

// appendNow appends records with one sync, and returns the first one's place.
// After an error the host has to fail.
func (h *Host) appendNow(works []*appendWork) (first wal.Index, err error) {
	records, size := 0, 0
	for _, w := range works {
		records += w.count()
	}
	heads := make([]byte, 0, records*recordHeaderBytes)
	all := make([]wal.Record, 0, records)
	add := func(r *record) {
		n := len(heads)
		heads = appendRecordHeader(heads, r)
		all = append(all, wal.Record{heads[n:len(heads):len(heads)], r.data})
		size += len(r.data)
	}
	for _, w := range works {
		w.each(add)
	}
	if first, err = h.log.Append(all...); err != nil {
		return 0, err
	}
	if h.blind.Add(int64(size)) >= diskLookBytes {
		h.blind.Store(0)
		if err := h.lookAtDisk(); err != nil {
			h.options.Logger.Warn("rsmraft: free space is unknown", "dir", h.dir, "error", err)
		}
	}
	return first, nil
}

// takeWork takes what waits, up to about maxWriteBytes, and says whether there is
// more.
func (h *Host) takeWork() (works []*appendWork, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, size := 0, 0
	for n < len(h.waiting) && (n == 0 || size < maxWriteBytes) {
		for _, e := range h.waiting[n].entries {
			size += len(e.GetData())
		}
		n++
	}
	works = h.waiting[:n:n]
	h.waiting = h.waiting[n:]
	if len(h.waiting) == 0 {
		h.waiting = nil
	}
	return works, len(h.waiting) > 0
}

// stalled says that the write under way takes so long that this node should not
// lead.
func (h *Host) stalled() bool {
	return h.writesSince(h.options.StallTimeout)
}

// writesSince says that a write is under way that began longer ago.
func (h *Host) writesSince(d time.Duration) bool {
	began := h.writing.Load()
	return began > 0 && time.Duration(h.awake.Load()-began) > d
}

// longestTick is how many ticks of time may pass between two calls of tick: if it
// were more, the process did not run.
const longestTick = 4

// tick runs the clock of the host.
func (h *Host) tick() {
	if h.Err() != nil || h.done.Load() {
		return
	}
	h.ticks.After(h.options.Tick, h.tick)
	now := h.runtime.Elapsed()
	h.awake.Add(int64(min(now-h.ticked, longestTick*h.options.Tick)))
	h.ticked = now
	hangs := h.writesSince(h.options.SyncTimeout)
	for _, g := range h.Groups() {
		hangs = hangs || g.writesSince(h.options.SyncTimeout)
	}
	if hangs && h.options.SyncTimeout > 0 {
		h.fail(fmt.Errorf("%w: more than %v", errSyncTimeout, h.options.SyncTimeout))
		return
	}
	h.mu.Lock()
	groups := h.ordered
	h.mu.Unlock()
	for _, g := range groups {
		if g.ticking.CompareAndSwap(false, true) {
			g.loop.Post(g.tick)
		}
	}
}

func (h *Host) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// fail ends the work of all groups: what is under way has an unknown outcome.
func (h *Host) fail(cause error) {
	err := fmt.Errorf("%w: %w", rsm.ErrFailed, cause)
	h.mu.Lock()
	if h.err != nil {
		h.mu.Unlock()
		return
	}
	h.err = err
	h.mu.Unlock()
	h.options.Logger.Error("rsmraft: failed, nothing more is taken", "dir", h.dir, "error", cause)
	for _, g := range h.Groups() {
		g.fail(err)
	}
	h.calls.loop.Post(func() { h.calls.fail(err) })
	close(h.failed)
}

// checkDisk refuses proposals while the disk has less room than the reserve.
func (h *Host) checkDisk() {
	if h.Err() != nil || h.isClosed() {
		return
	}
	h.ticks.After(diskInterval, h.checkDisk)
	if err := h.lookAtDisk(); err != nil {
		h.options.Logger.Warn("rsmraft: free space is unknown", "dir", h.dir, "error", err)
	}
}

// Receive takes a message from another node. It owns the bytes from now on.
func (h *Host) Receive(from NodeID, message []byte) {
	kind, id, body, err := decodeMessageHeader(message)
	if err != nil {
		h.options.Logger.Warn("rsmraft: message ignored", "from", from, "error", err)
		return
	}
	switch kind { //nolint:exhaustive // the others are for a replica
	case messageCall:
		h.serve(from, id, body)
		return
	case messageReply:
		h.calls.loop.Post(func() { h.calls.replied(from, body) })
		return
	}
	g := h.Group(id)
	if g == nil {
		if g = h.replicaFor(id, from); g == nil {
			return
		}
	}
	switch kind {
	case messageRaft:
		m, err := decodeRaft(body, h.id)
		if err == nil && m.GetType() == pb.MsgSnap {
			err = fmt.Errorf("%w: a snapshot without its offer", errMessage)
		}
		if err != nil || m.GetFrom() != uint64(from) {
			h.options.Logger.Warn("rsmraft: message ignored", "from", from, "group", id, "claims", m.GetFrom(), "error", err)
			return
		}
		g.loop.Post(func() { g.receive(m) })
	case messageForward:
		g.loop.Post(func() { g.forwards.take(from, body) })
	case messageAnswer:
		g.loop.Post(func() { g.forwards.answered(from, body) })
	case messageOffer, messageWant, messagePiece, messageGot:
		g.loop.Post(func() { g.transfer.receive(kind, from, body) })
	case messageFull:
		g.loop.Post(func() { g.noteFull(from) })
	case messageCall, messageReply:
	}
}

// Close answers what it can, gives up the rest, and closes the log. Where a write
// hangs, of the log, a record of decisions or a snapshot, it waits for twice Options.SyncTimeout
// at the most, and returns an error that wraps rsm.ErrFailed; the directory stays locked
// until the write ends.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	groups := h.ordered
	h.mu.Unlock()
	h.calls.loop.Post(func() { h.calls.fail(rsm.ErrClosed) })
	for _, g := range groups {
		g.drain()
	}
	for _, g := range groups {
		<-g.drained
	}
	for _, g := range groups {
		g.fail(rsm.ErrClosed)
	}
	for _, g := range groups {
		<-g.ended
	}
	if h.hangs() {
		go h.end() //nolint:errcheck // for a process that goes on: it ends when the write does
		return fmt.Errorf("rsmraft: close: %w", h.Err())
	}
	settled := h.settle()
	select {
	case <-settled:
	case <-h.late():
		go func() { // for a process that goes on
			<-settled
			h.end() //nolint:errcheck // nobody waits
		}()
		return fmt.Errorf("rsmraft: close: %w: of a record of decisions or a snapshot: %w", rsm.ErrFailed, errSyncTimeout)
	}
	if err := h.end(); err != nil {
		return fmt.Errorf("rsmraft: close: %w", err)
	}
	return nil
}

// hangs waits for the writes under way, of the host and of groups that do their own,
// and says whether one was given up instead.
func (h *Host) hangs() bool {
	loops := []rsm.Loop{h.writes}
	for _, g := range h.Groups() {
		loops = append(loops, g.loop)
	}
	idle := make(chan struct{}, len(loops))
	for _, l := range loops {
		l.Post(func() { idle <- struct{}{} })
	}
	late := h.late()
	if errors.Is(h.Err(), errSyncTimeout) {
		given := make(chan struct{})
		close(given)
		late = given
	}
	for range loops {
		select {
		case <-idle:
			continue
		case <-late:
		}
		break
	}
	if h.Err() == nil {
		return false
	}
	return h.writing.Load() != 0 || slices.ContainsFunc(h.Groups(), func(g *Group) bool { return g.writing.Load() != 0 })
}

// late returns what is closed after SyncTimeout.
func (h *Host) late() <-chan struct{} {
	late := make(chan struct{})
	if d := h.options.SyncTimeout; d > 0 {
		h.ticks.Post(func() { h.ticks.After(d, func() { close(late) }) })
	}
	return late
}

// settle returns what is closed when the records of decisions are closed, and no snapshot is being written any more.
func (h *Host) settle() <-chan struct{} {
	var busy sync.WaitGroup
	busy.Add(1)
	h.saves.Post(busy.Done)
	for _, g := range h.Groups() {
		if d := g.replica.Decisions(); d != nil {
			busy.Add(1)
			d.Closed(busy.Done)
		}
	}
	settled := make(chan struct{})
	go func() {
		busy.Wait()
		close(settled)
	}()
	return settled
}

// end ends the loops and closes the files.
func (h *Host) end() error {
	h.done.Store(true)
	if h.ownsRuntime {
		h.runtime.(*Runtime).Close()
	}
	var errs []error
	for _, g := range h.Groups() {
		errs = append(errs, g.log.closeReader())
	}
	return errors.Join(append(errs, h.log.Close(), h.lock.Close())...)
}

// groupDir returns the directory of a group's snapshots.
func (h *Host) groupDir(id GroupID) string { return groupDir(h.dir, id) }

func groupDir(dir string, id GroupID) string {
	return path.Join(dir, groupsName, fmt.Sprintf("%08d", id))
}
