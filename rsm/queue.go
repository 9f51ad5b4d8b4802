package rsm

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// proposalOverhead is what a proposal counts in the queue beside its data, so
// that empty ones are bounded too.
const proposalOverhead = 64

// item is a proposal in the queue. Its size is kept beside it, so that the
// writer does not touch the proposal while it holds the queue.
type item struct {
	proposal *Proposal
	bytes    int64
}

func newItem(p *Proposal) item {
	return item{proposal: p, bytes: int64(len(p.Data)) + proposalOverhead}
}

// proposeShare is the part of max, one in so many, that only Propose may use
// beyond it: who does not wait for room would never find any while others do.
const proposeShare = 8

// queue holds the proposals that wait for the writer, in order. It counts the
// bytes of these and of those under way, until release, and takes no more than
// max; but a single one is taken always.
type queue struct {
	max  int64
	wake chan struct{} // has a token when the writer has something to look at

	waiters sync.Pool // of *waiter

	mu      sync.Mutex
	items   []item // from head on
	head    int
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

func newQueue(maxBytes int64) *queue {
	return &queue{max: maxBytes, wake: make(chan struct{}, 1)}
}

// tryAdd puts a proposal into the queue, or returns ErrBusy.
func (q *queue) tryAdd(it item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.refusal(); err != nil {
		return err
	}
	if !q.hasRoom(it, q.max+q.max/proposeShare) {
		q.refused++
		return ErrBusy
	}
	q.push(it)
	return nil
}

// add puts a proposal into the queue; it waits for room until ctx ends.
func (q *queue) add(ctx context.Context, it item) error {
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
func (q *queue) leave(ctx context.Context, w *waiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return <-w.joins
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return fmt.Errorf("rsm: wait for the queue: %w", ctx.Err())
}

// take moves proposals of up to about max bytes to dst, at least one if any
// waits. It says whether more can come.
func (q *queue) take(dst []*Proposal, maxBytes int64) (out []*Proposal, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := int64(0)
	for q.head < len(q.items) && (taken == 0 || taken < maxBytes) {
		it := &q.items[q.head]
		dst = append(dst, it.proposal)
		taken += it.bytes
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
	return dst, q.head < len(q.items) || !q.closed && q.failed == nil
}

// release gives back the room of proposals that are about to be answered.
func (q *queue) release(bytes int64) {
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

// fail refuses all proposals from now on. Those in the queue stay for take.
func (q *queue) fail(err error) {
	q.refuse(func() { q.failed = err })
}

// close refuses all proposals from now on. Those in the queue stay for take.
func (q *queue) close() {
	q.refuse(func() { q.closed = true })
}

// setFull refuses proposals until it is called with nil. It reports whether
// that is a change.
func (q *queue) setFull(err error) bool {
	q.mu.Lock()
	changed := (q.full == nil) != (err == nil)
	q.mu.Unlock()
	q.refuse(func() { q.full = err })
	return changed
}

// refuse changes what refusal looks at, and sends away those who wait.
func (q *queue) refuse(change func()) {
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

// err returns why the queue takes nothing now.
func (q *queue) err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.refusal()
}

// failure returns the error given to fail.
func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failed
}

// stats returns the bytes that wait or are under way, and how many proposals
// were refused because of them.
func (q *queue) stats() (bytes int64, refused uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes, q.refused
}

// The methods below are called with mu held.

func (q *queue) refusal() error {
	switch {
	case q.failed != nil:
		return q.failed
	case q.closed:
		return ErrClosed
	default:
		return q.full
	}
}

func (q *queue) fits(it item) bool {
	return len(q.waiting) == 0 && q.hasRoom(it, q.max)
}

func (q *queue) hasRoom(it item, most int64) bool {
	return q.bytes == 0 || q.bytes+it.bytes <= most
}

func (q *queue) push(it item) {
	q.bytes += it.bytes
	q.items = append(q.items, it)
	if len(q.items)-q.head == 1 {
		q.signal()
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // there is a token
	}
}
