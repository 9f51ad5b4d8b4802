package rsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The scheduling of a snapshot. The loop fills a buffer in a step, which ends
// when the buffer is full or the time is over. Under load a step is due when the
// steps have taken less than a share of the time; a step is never waited for: if
// all buffers are with the disk, it is left out.
const (
	snapshotBuffers = 4
	stepBytes       = 256 << 10
	stepTime        = time.Millisecond
	stepBudget      = 32 << 10 // of one call of Next: how often the clock is looked at
	stepShare       = 5        // a step may take one part in so many of the time
)

var errSnapshotAborted = errors.New("rsm: snapshot given up")

// snapshotter decides when a snapshot is due and drives it. It belongs to the
// replica's loop.
type snapshotter struct {
	r     *Replica
	log   int64 // bytes of the entries since the newest snapshot
	due   int64 // so many make the next; negative: never
	job   *snapshotJob
	next  []func(error) // want a snapshot that begins after the one under way
	ended bool
}

// snapshotJob is a snapshot under way: the machine's side of it.
type snapshotJob struct {
	at      State
	source  Snapshot   // nil when all of it was handed over
	files   []KeptFile // that it counts on
	file    *snapshotFileWriter
	callers []func(error)
	free    [][]byte // buffers to be filled
	busy    int      // buffers with the file
	rests   bool     // a step is scheduled
	applied Index    // by the replica, when the last step ended
	took    time.Duration
}

func (s *snapshotter) init(r *Replica) {
	s.r = r
	s.schedule(0)
}

// schedule says when the next snapshot is due, after one of so many bytes.
func (s *snapshotter) schedule(bytes int64) {
	s.due = -1
	if s.r.options.SnapshotBytes > 0 {
		s.due = max(s.r.options.SnapshotBytes, bytes)
	}
}

// grow counts an entry of the log and begins a snapshot if one is due.
func (s *snapshotter) grow(bytes int64) {
	s.log += bytes
	if s.due >= 0 && s.log >= s.due && s.job == nil && !s.ended {
		s.begin(nil)
	}
}

// want begins a snapshot for a caller.
func (s *snapshotter) want(done func(error)) {
	switch {
	case s.ended:
		done(ErrClosed)
	case s.job != nil:
		s.next = append(s.next, done)
	case s.r.state.Index == s.r.files.newest().Index:
		done(nil)
	default:
		s.begin([]func(error){done})
	}
}

func (s *snapshotter) begin(callers []func(error)) {
	r := s.r
	if err := r.options.Room(); err != nil {
		s.failed(&snapshotJob{at: r.state, callers: callers}, err)
		return
	}
	start := r.runtime.Elapsed()
	s.job = &snapshotJob{at: r.state, source: r.machine.Snapshot(), callers: callers}
	for range snapshotBuffers {
		s.job.free = append(s.job.free, make([]byte, 0, stepBytes+stepBudget))
	}
	if k, ok := s.job.source.(KeeperSnapshot); ok {
		s.job.files = k.Files()
	}
	s.job.file = newSnapshotFileWriter(r, s.job.at, s.job.files)
	s.log = 0
	s.held(start)
	s.plan()
}

// plan posts the next step: at once where nothing was applied since the last, so
// that an idle replica is quick, and else when the steps have had no more than
// their share of the time.
func (s *snapshotter) plan() {
	job := s.job
	if job.rests || job.source == nil || len(job.free) == 0 {
		return
	}
	job.rests = true
	step := func() {
		if s.job == job {
			job.rests = false
			s.step()
		}
	}
	if job.applied == s.r.state.Index {
		s.r.loop.Post(step)
		return
	}
	s.r.loop.After((stepShare-1)*job.took, step)
}

// step fills one buffer and hands it to the file.
func (s *snapshotter) step() {
	job, start := s.job, s.r.runtime.Elapsed()
	last := len(job.free) - 1
	buf, more := job.free[last][:0], true
	job.free = job.free[:last]
	for more && len(buf) < stepBytes {
		buf, more = job.source.Next(buf, stepBudget)
		if s.r.runtime.Elapsed()-start >= stepTime {
			break
		}
	}
	job.busy++
	job.file.write(buf, func(buf []byte, err error) { s.written(job, buf, err) })
	if !more {
		job.source.Close()
		job.source = nil
		s.finish(job)
	}
	s.held(start)
	s.plan()
}

// finish makes the snapshot durable; before it, the decisions that it makes a
// restart pass over.
func (s *snapshotter) finish(job *snapshotJob) {
	end := func() { job.file.finish(s.r.files.kept(job.at.Index), func(err error) { s.end(job, err) }) }
	if s.r.decisions == nil {
		end()
		return
	}
	s.r.decisions.flush(func(err error) {
		s.r.loop.Post(func() {
			switch {
			case s.job != job:
			case err != nil:
				job.file.abort()
				s.end(job, err)
			default:
				end()
			}
		})
	})
}

// written gets a buffer back from the file.
func (s *snapshotter) written(job *snapshotJob, buf []byte, err error) {
	if s.job != job {
		return
	}
	if err != nil {
		job.file.abort()
		s.end(job, err)
		return
	}
	job.busy--
	job.free = append(job.free, buf)
	s.plan()
}

// held notes a hold of the loop that began at start.
func (s *snapshotter) held(start time.Duration) {
	s.job.took = s.r.runtime.Elapsed() - start
	s.job.applied = s.r.state.Index
	longest := &s.r.counters.snapshotPause
	longest.Store(max(longest.Load(), int64(s.job.took)))
}

// end finishes the snapshot under way, and begins the next if one is wanted.
func (s *snapshotter) end(job *snapshotJob, err error) {
	if s.job == job {
		s.close(job, err)
		s.goOn()
	}
}

// close finishes the snapshot under way.
func (s *snapshotter) close(job *snapshotJob, err error) {
	if job.source != nil {
		job.source.Close()
	}
	s.job = nil
	if err != nil {
		s.failed(job, err)
	} else {
		s.succeeded(job)
	}
}

// goOn begins the snapshot that callers wait for, unless there is one already.
func (s *snapshotter) goOn() {
	if callers := s.next; len(callers) > 0 && !s.ended {
		s.next = nil
		if s.r.state.Index == s.r.files.newest().Index {
			answer(callers, nil)
			return
		}
		s.begin(callers)
	}
}

func (s *snapshotter) succeeded(job *snapshotJob) {
	r, bytes := s.r, int64(job.file.bytes)
	r.files.addGood(job.at)
	r.snapshotTaken(job.at.Index, job.files)
	r.counters.snapshots.Add(1)
	r.counters.snapshotIndex.Store(uint64(job.at.Index))
	r.counters.snapshotBytes.Store(bytes)
	s.schedule(bytes)
	r.options.Logger.Info("rsm: snapshot written", "dir", r.dir, "index", uint64(job.at.Index), "bytes", bytes)
	r.options.Saved(r.files.good)
	answer(job.callers, nil)
}

// failed ends a snapshot. The next is due when the log has grown by a quarter of
// what makes one due else.
func (s *snapshotter) failed(job *snapshotJob, err error) {
	r := s.r
	r.counters.snapshotFailures.Add(1)
	s.log = max(s.log, s.due) - s.due/4
	level := slog.LevelError
	if errors.Is(err, ErrDiskFull) || errors.Is(err, errSnapshotAborted) { // foreseen, and harmless
		level = slog.LevelWarn
	}
	r.options.Logger.Log(context.Background(), level, "rsm: snapshot failed, another one is tried when the log has grown",
		"dir", r.dir, "index", uint64(job.at.Index), "error", err)
	answer(job.callers, fmt.Errorf("rsm: snapshot at index %d: %w", job.at.Index, err))
}

// abort gives up the snapshot under way, as the machine's state is about to be
// replaced. Those who wait for the next do so until goOn.
func (s *snapshotter) abort() {
	if job := s.job; job != nil {
		job.file.abort()
		s.close(job, errSnapshotAborted)
	}
}

// stop gives up the snapshot under way and refuses others.
func (s *snapshotter) stop() {
	s.ended = true
	if job := s.job; job != nil {
		s.job = nil
		job.file.abort()
		if job.source != nil {
			job.source.Close()
		}
		answer(job.callers, ErrClosed)
	}
	answer(s.next, ErrClosed)
	s.next = nil
}

func answer(callers []func(error), err error) {
	for _, c := range callers {
		c(err)
	}
}
