package rsm

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// MaxReads is the most reads that may wait at a time.
const MaxReads = 1 << 16

// Read calls fn between two batches, when the state holds everything that was
// acknowledged before Read was called: reads are linearizable. fn must be short
// and must not keep what it sees, and it must not call the node. It returns
// ErrBusy where MaxReads wait, ErrClosed after Close, and, wrapped, the error of
// ctx if that ended first; then fn was not called and will not be.
func (n *Node) Read(ctx context.Context, fn func()) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("rsm: not read: %w", err)
	}
	r := n.reads.newRead(fn)
	if err := n.reads.add(r); err != nil {
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

// The states of a read: Read and the apply goroutine both try to leave
// readWaits. The apply goroutine recycles a read that was left.
const (
	readWaits uint32 = iota
	readTaken
	readLeft // ctx ended before
)

// read is a Read under way. It is pooled.
type read struct {
	pool  *sync.Pool
	fn    func()
	done  chan error // capacity 1
	state atomic.Uint32
}

func (r *read) recycle() {
	r.fn = nil
	r.pool.Put(r)
}

// readQueue holds the reads that wait for the apply goroutine.
type readQueue struct {
	wake    chan struct{} // has a token when there are reads
	waiting atomic.Int32  // len(reads), to look at without mu

	pool sync.Pool // of *read

	mu     sync.Mutex
	reads  []*read
	spare  []*read // the apply goroutine's, while it does not run reads
	closed bool
}

func newReadQueue() *readQueue {
	return &readQueue{wake: make(chan struct{}, 1)}
}

// newRead returns a read from the pool.
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
	case q.closed:
		return ErrClosed
	case len(q.reads) == MaxReads:
		return ErrBusy
	}
	q.reads = append(q.reads, r)
	q.waiting.Store(int32(len(q.reads)))
	if len(q.reads) == 1 {
		select {
		case q.wake <- struct{}{}:
		default: // there is a token
		}
	}
	return nil
}

// run runs all reads that wait now. The apply goroutine calls it.
func (q *readQueue) run() {
	q.mu.Lock()
	batch := q.reads
	q.reads = q.spare[:0]
	q.waiting.Store(0)
	q.mu.Unlock()
	for _, r := range batch {
		r.answer(r.fn, nil)
	}
	clear(batch)
	q.spare = batch
}

// close refuses reads from now on and answers those that wait.
func (q *readQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, r := range q.reads {
		r.answer(func() {}, ErrClosed)
	}
	q.reads = nil
}

// answer calls fn and gives err to the Read that waits, if it still does.
func (r *read) answer(fn func(), err error) {
	if !r.state.CompareAndSwap(readWaits, readTaken) {
		r.recycle()
		return
	}
	fn()
	r.done <- err
}
