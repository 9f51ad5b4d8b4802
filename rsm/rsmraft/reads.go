package rsmraft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"

	"maru.example/rsm"
)

// MaxReads is the most reads of a group that may wait at a time.
const MaxReads = 1 << 16

// Read calls fn between two batches, when this replica's state holds everything
// that was acknowledged by any replica before Read was called: reads are
// linearizable. The leader's index is asked for, and confirmed by a majority
// (ReadIndex: the Raft thesis, 6.4), once for all reads that wait. fn must be
// short, must not keep what it sees, and must not call the group. Read returns
// rsm.ErrBusy where MaxReads wait, rsm.ErrNoLeader where no leader is known, and,
// wrapped, the error of ctx if that ended first; then fn will not be called.
func (g *Group) Read(ctx context.Context, fn func()) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("rsm: not read: %w", err)
	}
	r := g.reads.newRead(fn)
	if err := g.reads.add(r); err != nil {
		r.recycle()
		return err
	}
	select {
	case err := <-r.done:
		r.recycle()
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(readWaits, readLeft) {
			return fmt.Errorf("rsm: not read: %w", ctx.Err())
		}
		err := <-r.done // fn runs or ran: it is short
		r.recycle()
		return err
	}
}

// StartRead is Read for those who cannot wait: fn is called, on the loop that
// applies entries, with nil at the moment at which Read would call it, or with the
// error that Read would return. It may be called before StartRead returns.
func (g *Group) StartRead(fn func(error)) {
	r := g.reads.newRead(nil)
	r.answered = fn
	if err := g.reads.add(r); err != nil {
		r.recycle()
		fn(err)
	}
}

// StartReadStale calls fn between two batches with the state as it is, and how old
// that may be: everything that was acknowledged longer ago is in it. A replica
// that has not heard of a leader since it was started waits for one. An error is
// one that Read would return.
func (g *Group) StartReadStale(fn func(age time.Duration, err error)) {
	g.reads.staleAt.Store(int64(g.host.runtime.Elapsed()) + 1)
	read := func(err error) {
		fn(g.host.runtime.Elapsed()-time.Duration(g.reads.fresh.Load()-1), err)
	}
	if g.reads.fresh.Load() == 0 {
		g.StartRead(read)
		return
	}
	g.StartPeek(read)
}

// StartPeek calls fn between two batches, on the loop that applies entries, with
// the state as it is: it may be old. An error says that the group has failed, was
// closed or removed; then fn may be called before StartPeek returns.
func (g *Group) StartPeek(fn func(error)) {
	if err := g.Err(); errors.Is(err, rsm.ErrFailed) || errors.Is(err, rsm.ErrClosed) || errors.Is(err, ErrRemoved) {
		fn(err)
		return
	}
	g.apply.Post(func() { fn(nil) })
}

// ApplyLoop returns the loop that applies entries, runs reads, and calls
// OnLeading's function: what is posted to it sees the machine between batches.
func (g *Group) ApplyLoop() rsm.Loop { return g.apply }

// The states of a read: Read and the apply loop both try to leave readWaits. The
// apply loop recycles a read that was left.
const (
	readWaits uint32 = iota
	readTaken
	readLeft // ctx ended before
)

// read is a Read under way. It is pooled.
type read struct {
	pool *sync.Pool
	fn   func()
	done chan error // capacity 1

	answered func(error) // instead of both, for one that nobody waits for
	state    atomic.Uint32
}

func (r *read) recycle() {
	r.fn, r.answered = nil, nil
	r.pool.Put(r)
}

// answer calls fn and gives err to the Read that waits, if it still does.
func (r *read) answer(err error) {
	if !r.state.CompareAndSwap(readWaits, readTaken) {
		r.recycle()
		return
	}
	if answered := r.answered; answered != nil {
		r.recycle()
		answered(err)
		return
	}
	if err == nil {
		r.fn()
	}
	r.done <- err
}

// staleInterval is how often the age of the state is brought up to date while
// there are stale reads, and staleFor how long after the last one.
const (
	staleInterval = 200 * time.Millisecond
	staleFor      = 10 * time.Second
)

// readQueue holds the reads of a group.
type readQueue struct {
	g       *Group
	pool    sync.Pool    // of *read
	fresh   atomic.Int64 // all that was acknowledged at this Elapsed is applied; plus one, 0: never
	staleAt atomic.Int64 // the last StartReadStale's Elapsed, plus one

	mu      sync.Mutex
	waiting []*read
	err     error // of a group that failed or was closed

	// The rest is the loop's.
	asked  []*read // whose index was asked for
	under  bool    // a request is under way
	number uint64  // of it
	began  time.Duration
	waited int // ticks
}

// init begins with a number at random: the leader may yet answer a request of the
// process before this one, with an index that is too old.
func (q *readQueue) init(g *Group) { q.g, q.number = g, g.host.runtime.Rand() }

// newRead returns a read from the pool. A pool belongs to one group: the channels
// of one made in a synctest bubble are of no use elsewhere.
func (q *readQueue) newRead(fn func()) *read {
	r, ok := q.pool.Get().(*read)
	if !ok {
		r = &read{pool: &q.pool, done: make(chan error, 1)}
	}
	r.fn = fn
	r.state.Store(readWaits)
	return r
}

func (q *readQueue) add(r *read) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.err != nil:
		return q.err
	case len(q.waiting) == MaxReads:
		return rsm.ErrBusy
	}
	q.waiting = append(q.waiting, r)
	if len(q.waiting) == 1 {
		q.g.loop.Post(q.start)
	}
	return nil
}

// start asks for the index of all reads that wait, unless a request is under way.
func (q *readQueue) start() {
	q.mu.Lock()
	empty := len(q.waiting) == 0
	q.mu.Unlock()
	if q.under || empty {
		return
	}
	if q.g.lead == 0 {
		q.refuse(q.g.noLeader())
		return
	}
	if q.g.leads && !q.g.settled {
		return // what an earlier leader acknowledged may not be known to be committed yet
	}
	q.mu.Lock()
	q.asked, q.waiting = q.waiting, q.asked[:0]
	q.mu.Unlock()
	q.ask()
}

// ask asks for the leader's index.
func (q *readQueue) ask() {
	q.number++
	q.under, q.waited, q.began = true, 0, q.g.host.runtime.Elapsed()
	q.g.raw.ReadIndex(binary.LittleEndian.AppendUint64(nil, q.number))
	q.g.work()
}

// confirmed is called with an index that a majority confirmed.
func (q *readQueue) confirmed(s raft.ReadState) {
	if !q.under || len(s.RequestCtx) != 8 || binary.LittleEndian.Uint64(s.RequestCtx) != q.number {
		return // of a request that was repeated
	}
	q.under = false
	batch, began := q.asked, int64(q.began)+1
	q.asked = nil
	q.g.apply.Post(func() {
		q.g.replica.Read(rsm.Index(s.Index), func(err error) {
			if err == nil {
				q.fresh.Store(max(q.fresh.Load(), began))
			} else if failure := q.g.queue.Failure(); failure != nil {
				err = failure
			}
			for _, r := range batch {
				r.answer(err)
			}
		})
	})
	q.g.loop.Post(q.start)
}

// tick repeats a request that was lost, and keeps the age of stale reads low.
func (q *readQueue) tick() {
	if q.under {
		if q.waited++; q.waited >= q.g.host.options.ElectionTicks {
			q.again()
		}
		return
	}
	q.start()
	if q.under || q.g.lead == 0 || q.g.leads && !q.g.settled {
		return
	}
	now := q.g.host.runtime.Elapsed()
	if last := q.staleAt.Load(); last != 0 && now-time.Duration(last) < staleFor && now-q.began > staleInterval {
		q.ask()
	}
}

// again repeats the request under way, or refuses its reads where there is no
// leader.
func (q *readQueue) again() {
	q.under = false
	if q.g.lead == 0 {
		q.refuse(q.g.noLeader())
		return
	}
	if q.g.leads && !q.g.settled {
		q.under, q.waited = true, 0 // until it is
		return
	}
	q.ask()
}

// leaderChanged repeats a request that the last leader may not answer.
func (q *readQueue) leaderChanged() {
	if q.under {
		q.g.loop.Post(func() {
			if q.under {
				q.again()
			}
		})
	}
}

// refuse answers all reads with an error.
func (q *readQueue) refuse(err error) {
	q.mu.Lock()
	all := append(q.asked, q.waiting...)
	q.asked, q.waiting, q.under = nil, nil, false
	q.mu.Unlock()
	if len(all) == 0 {
		return
	}
	q.g.apply.Post(func() {
		for _, r := range all {
			r.answer(err)
		}
	})
}

// fail refuses reads from now on.
func (q *readQueue) fail(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	q.refuse(err)
}
