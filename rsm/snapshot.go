package rsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"maru.example/wal"
)

// The scheduling of a snapshot. The apply goroutine fills a buffer in a step,
// which ends when the buffer is full or the time is over. Under load a step is
// due when the steps have taken less than a share of the time; a step is never
// waited for: if all buffers are with the disk, it is left out.
const (
	snapshotBuffers = 4
	stepBytes       = 256 << 10
	stepTime        = time.Millisecond
	stepBudget      = 32 << 10 // of one call of Next: how often the clock is looked at
	stepShare       = 5        // a step may take one part in so many of the time
)

// Snapshot writes a snapshot of the present state and returns when it is
// durable. Calls share one. Where nothing was applied since the newest snapshot
// there is nothing to do.
func (n *Node) Snapshot(ctx context.Context) error {
	answer := make(chan error, 1)
	s := n.applier.snapshot
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.callers = append(s.callers, answer)
	s.mu.Unlock()
	select {
	case s.wanted <- struct{}{}:
	default: // there is a token
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("rsm: wait for the snapshot: %w", ctx.Err())
	}
}

// snapshotter decides when a snapshot is due and drives it. All but what mu
// guards belongs to the apply goroutine.
type snapshotter struct {
	n     *Node
	files *snapshotDir
	log   int64 // bytes of the entries since the newest snapshot
	due   int64 // so many make the next; negative: never
	time  int64 // of the last entry that was applied

	job    *snapshotJob // the one under way, or nil
	buffer []byte       // one to fill, if not nil
	rested time.Time    // when the last step ended
	took   time.Duration

	wanted  chan struct{} // has a token when a caller came
	mu      sync.Mutex
	callers []chan error // want one that begins after they came
	closed  bool
}

func newSnapshotter(n *Node, files *snapshotDir, state recovered) *snapshotter {
	s := &snapshotter{
		n:      n,
		files:  files,
		log:    state.logBytes,
		time:   state.time,
		wanted: make(chan struct{}, 1),
	}
	s.schedule(state.snapshotBytes)
	return s
}

// schedule says when the next snapshot is due, after one of so many bytes.
func (s *snapshotter) schedule(bytes int64) {
	s.due = -1
	if s.n.options.SnapshotBytes > 0 {
		s.due = max(s.n.options.SnapshotBytes, bytes)
	}
}

// grow counts an entry of the log.
func (s *snapshotter) grow(bytes int64) { s.log += bytes }

// begin begins a snapshot if one is due or wanted and none is under way. The
// entry at last has been applied, and nothing after it.
func (s *snapshotter) begin(last wal.Index) {
	s.settle()
	if s.job != nil {
		return
	}
	automatic := s.due >= 0 && s.log >= s.due && s.n.Err() == nil
	s.mu.Lock()
	callers := s.callers
	if automatic || len(callers) > 0 {
		s.callers = nil
	}
	s.mu.Unlock()
	if !automatic && len(callers) == 0 {
		return
	}
	if err := s.n.queue.failure(); err != nil || uint64(last) == s.n.counters.snapshotIndex.Load() {
		answer(callers, err)
		return
	}
	start := s.n.options.Now()
	s.job = &snapshotJob{
		at:      Position{Index: last, Time: s.time},
		source:  s.n.machine.Snapshot(),
		callers: callers,
		chunks:  make(chan []byte, snapshotBuffers),
		free:    make(chan []byte, snapshotBuffers),
		aborted: make(chan struct{}),
		done:    make(chan error, 1),
	}
	for range snapshotBuffers {
		s.job.free <- make([]byte, 0, stepBytes+stepBudget)
	}
	s.log, s.took = 0, 0
	go s.job.write(s.n, s.files)
	s.held(start)
}

// advance is called when there is nothing else to do: it begins a snapshot or
// takes a step of it, and says whether it did anything.
func (s *snapshotter) advance(last wal.Index) bool {
	s.begin(last)
	return s.step()
}

// advanceUnderLoad takes a step if steps have had less than their share of the time.
func (s *snapshotter) advanceUnderLoad() {
	if s.job == nil || s.job.source == nil {
		return
	}
	if s.n.options.Now().Sub(s.rested) >= (stepShare-1)*s.took {
		s.step()
	}
}

// step fills one buffer, if there is one, and says whether it did.
func (s *snapshotter) step() bool {
	job := s.job
	if job == nil || job.source == nil {
		return false
	}
	if s.buffer == nil {
		select {
		case s.buffer = <-job.free:
		default:
			return false // the disk is behind
		}
	}
	start := s.n.options.Now()
	buf, more := s.buffer[:0], true
	for more && len(buf) < stepBytes {
		buf, more = job.source.Next(buf, stepBudget)
		if s.n.options.Now().Sub(start) >= stepTime {
			break
		}
	}
	s.buffer = nil
	job.chunks <- buf // has room for every buffer
	if !more {
		s.closeSource()
		close(job.chunks)
	}
	s.held(start)
	return true
}

// held notes a hold of the apply goroutine that began at start.
func (s *snapshotter) held(start time.Time) {
	s.rested = s.n.options.Now()
	s.took = s.rested.Sub(start)
	longest := &s.n.counters.snapshotPause
	longest.Store(max(longest.Load(), int64(s.took)))
}

func (s *snapshotter) closeSource() {
	s.job.source.Close()
	s.job.source = nil
}

// buffers returns where the next buffer comes from, nil if none is needed.
func (s *snapshotter) buffers() <-chan []byte {
	if s.job == nil || s.job.source == nil {
		return nil
	}
	return s.job.free
}

// finished returns where the outcome comes from, nil if no snapshot is under way.
func (s *snapshotter) finished() <-chan error {
	if s.job == nil {
		return nil
	}
	return s.job.done
}

// settle ends the snapshot under way if its outcome is known.
func (s *snapshotter) settle() {
	select {
	case err := <-s.finished():
		s.end(err)
	default:
	}
}

// end finishes the snapshot under way. After a failure the next is due when the
// log has grown by a quarter of what makes one due else.
func (s *snapshotter) end(err error) {
	job := s.job
	if job.source != nil {
		s.closeSource()
	}
	s.job, s.buffer = nil, nil
	c := &s.n.counters
	if err != nil {
		c.snapshotFailures.Add(1)
		s.log = max(s.log, s.due-s.due/4)
		level := slog.LevelError
		if errors.Is(err, ErrDiskFull) { // foreseen, and harmless
			level = slog.LevelWarn
		}
		s.n.options.Logger.Log(context.Background(), level, "rsm: snapshot failed, another one is tried when the log has grown",
			"dir", s.n.dir, "index", uint64(job.at.Index), "error", err)
		answer(job.callers, fmt.Errorf("rsm: snapshot at index %d: %w", job.at.Index, err))
		return
	}
	c.snapshots.Add(1)
	c.snapshotIndex.Store(uint64(job.at.Index))
	c.snapshotBytes.Store(job.bytes)
	s.schedule(job.bytes)
	s.n.options.Logger.Info("rsm: snapshot written", "dir", s.n.dir, "index", uint64(job.at.Index), "bytes", job.bytes)
	answer(job.callers, nil)
}

// stop gives up the snapshot under way and refuses others. It waits for the
// goroutine that writes it, but not where the disk hangs.
func (s *snapshotter) stop() {
	s.mu.Lock()
	s.closed = true
	callers := s.callers
	s.callers = nil
	s.mu.Unlock()
	answer(callers, ErrClosed)
	if s.job == nil {
		return
	}
	close(s.job.aborted)
	select {
	case err := <-s.job.done:
		if !errors.Is(err, errSnapshotAborted) {
			s.end(err)
			return
		}
	case <-s.n.hung:
	}
	if s.job.source != nil {
		s.closeSource()
	}
	answer(s.job.callers, ErrClosed)
}

func answer(callers []chan error, err error) {
	for _, c := range callers {
		c <- err
	}
}
