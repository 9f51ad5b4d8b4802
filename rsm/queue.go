package rsm

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// proposalOverhead is what a proposal counts in the queue beside its data, so
// that empty ones are bounded too.
const proposalOverhead = 64

// item is a proposal in the queue. Its size is kept beside it, so that the
// writer does not touch the proposal while it holds the queue.
type item struct {
	proposal *Proposal
	bytes    int64
	since    time.Duration
}

func newItem(p *Proposal) item { return item{proposal: p, bytes: RoomOf(p)} }

// RoomOf returns what a proposal counts in a queue, and what has to be released
// when it is answered.
func RoomOf(p *Proposal) int64 { return int64(len(p.Data)) + proposalOverhead }

// ProposeShare is the part of a queue's limit, one in so many, that only TryAdd
// may use beyond it: who does not wait for room would never find any while others
// do.
const ProposeShare = 8

// Queue holds the proposals that wait to be proposed, in order. It counts the
// bytes of these and of those under way, until Release, and takes no more than
// its limit; but a single one is taken always. It is safe for concurrent use.
type Queue struct {
	max  int64
	now  func() time.Duration
	wake func() // there is something to look at; called with mu held

	waiters sync.Pool // of *waiter

	mu      sync.Mutex
	items   []item // from head on
	head    int
	queued  int64         // bytes of items
	stamp   time.Duration // when the queue was taken from last, or ceased to be empty
	bytes   int64
	waiting []*waiter // in order; they join before anything that comes later
	failed  error     // wraps ErrFailed
	closed  bool
	full    error // wraps ErrDiskFull
	refused uint64
}

// waiter is a proposal that waits for room in the queue.
type waiter struct {
	item  item
	joins chan error // capacity 1: nil when the item was put into the queue
}

// NewQueue returns an empty queue. Now is a clock that does not jump. Wake is called
// when the queue is not empty any more, or was closed. Neither may wait, nor call
// the queue.
func NewQueue(maxBytes int64, now func() time.Duration, wake func()) *Queue {
	return &Queue{max: maxBytes, now: now, wake: wake}
}

// TryAdd puts a proposal into the queue, or returns ErrBusy.
func (q *Queue) TryAdd(ctx context.Context, p *Proposal) error {
	if err := checkProposal(ctx, p); err != nil {
		return err
	}
	it := newItem(p)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.refusal(); err != nil {
		return err
	}
	if !q.hasRoom(it, q.max+q.max/ProposeShare) {
		q.refused++
		return ErrBusy
	}
	q.push(it)
	return nil
}

// Add puts a proposal into the queue; it waits for room until ctx ends. After an
// error Done is not called.
func (q *Queue) Add(ctx context.Context, p *Proposal) error {
	if err := checkProposal(ctx, p); err != nil {
		return err
	}
	it := newItem(p)
	q.mu.Lock()
	err := q.refusal()
	if err != nil || q.fits(it) {
		if err == nil {
			q.push(it)
		}
		q.mu.Unlock()
		return err
	}
	w, ok := q.waiters.Get().(*waiter)
	if !ok {
		w = &waiter{joins: make(chan error, 1)}
	}
	w.item = it
	q.waiting = append(q.waiting, w)
	q.mu.Unlock()

	select {
	case err = <-w.joins:
	case <-ctx.Done():
		err = q.leave(ctx, w)
	}
	w.item = item{}
	q.waiters.Put(w)
	return err
}

// leave takes w out of the line, or returns its answer where there is one already.
func (q *Queue) leave(ctx context.Context, w *waiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return <-w.joins
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return fmt.Errorf("rsm: wait for the queue: %w", ctx.Err())
}

// Take moves proposals of up to about max bytes to dst, at least one if any
// waits. Since is when the first of them joined the queue, or somewhat earlier: as
// looking at the clock for each would cost too much, those that join between two
// Takes count as if they had joined at the first.
func (q *Queue) Take(dst []*Proposal, maxBytes int64) (out []*Proposal, since time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := int64(0)
	if q.head < len(q.items) {
		since = q.items[q.head].since
	}
	for q.head < len(q.items) && (taken == 0 || taken < maxBytes) {
		it := &q.items[q.head]
		dst = append(dst, it.proposal)
		taken += it.bytes
		q.queued -= it.bytes
		*it = item{}
		q.head++
	}
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > len(q.items)/2: // move the smaller half, seldom
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	if len(q.items) > 0 {
		q.stamp = q.now()
	}
	return dst, since
}

// checkProposal refuses a proposal that cannot be queued at any time.
func checkProposal(ctx context.Context, p *Proposal) error {
	if n := len(p.Data); n > MaxProposalBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, MaxProposalBytes)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("rsm: not proposed: %w", err)
	}
	return nil
}

// Waiting returns the bytes that wait to be taken.
func (q *Queue) Waiting() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued
}

// Release gives back the room of proposals that are about to be answered.
func (q *Queue) Release(bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= bytes
	if q.bytes < 0 {
		panic(fmt.Sprintf("rsm: queue holds %d bytes", q.bytes))
	}
	n := 0
	for n < len(q.waiting) && q.hasRoom(q.waiting[n].item, q.max) {
		q.push(q.waiting[n].item)
		q.waiting[n].joins <- nil
		n++
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
}

// Fail refuses all proposals from now on. Those in the queue stay for take.
func (q *Queue) Fail(err error) {
	q.refuse(func() { q.failed = err })
}

// Close refuses all proposals from now on. Those in the queue stay for take.
func (q *Queue) Close() {
	q.refuse(func() { q.closed = true })
}

// SetFull refuses proposals until it is called with nil. It reports whether
// that is a change.
func (q *Queue) SetFull(err error) bool {
	q.mu.Lock()
	changed := (q.full == nil) != (err == nil)
	q.mu.Unlock()
	q.refuse(func() { q.full = err })
	return changed
}

// refuse changes what refusal looks at, and sends away those who wait.
func (q *Queue) refuse(change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change()
	err := q.refusal()
	if err == nil {
		return
	}
	for _, w := range q.waiting {
		w.joins <- err
	}
	clear(q.waiting)
	q.waiting = q.waiting[:0]
	q.signal()
}

// Err returns why the queue takes nothing now.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.refusal()
}

// Failure returns the error given to fail.
func (q *Queue) Failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failed
}

// Stats returns the bytes that wait or are under way, and how many proposals
// were refused because of them.
func (q *Queue) Stats() (bytes int64, refused uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes, q.refused
}

// The methods below are called with mu held.

func (q *Queue) refusal() error {
	switch {
	case q.failed != nil:
		return q.failed
	case q.closed:
		return ErrClosed
	default:
		return q.full
	}
}

func (q *Queue) fits(it item) bool {
	return len(q.waiting) == 0 && q.hasRoom(it, q.max)
}

func (q *Queue) hasRoom(it item, most int64) bool {
	return q.bytes == 0 || q.bytes+it.bytes <= most
}

func (q *Queue) push(it item) {
	q.bytes += it.bytes
	q.queued += it.bytes
	first := q.head == len(q.items)
	if first {
		q.stamp = q.now()
	}
	it.since = q.stamp
	q.items = append(q.items, it)
	if first {
		q.signal()
	}
}

func (q *Queue) signal() { q.wake() }
