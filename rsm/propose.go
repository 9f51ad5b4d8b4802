package rsm

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Submit queues a proposal and returns. It waits while the queue is full, until
// ctx ends. If it returns an error, Done is not called.
func (n *Node) Submit(ctx context.Context, p *Proposal) error {
	if err := check(ctx, len(p.Data)); err != nil {
		return err
	}
	return n.queue.add(ctx, newItem(p))
}

// Propose commits data and returns a copy of the machine's result. It returns
// ErrBusy at once where the queue is full. When ctx ends first the outcome is
// unknown: the proposal may still be committed. It copies data, which may be
// changed once Propose returned.
func (n *Node) Propose(ctx context.Context, data []byte) ([]byte, Position, error) {
	if err := check(ctx, len(data)); err != nil {
		return nil, Position{}, err
	}
	c := newCall(&n.calls)
	c.state.Store(callWaits)
	c.proposal.Data = append(c.proposal.Data[:0], data...)
	if err := n.queue.tryAdd(newItem(&c.proposal)); err != nil {
		c.recycle()
		return nil, Position{}, err
	}
	if !c.wait(ctx) {
		return nil, Position{}, fmt.Errorf("rsm: outcome unknown: %w", ctx.Err())
	}
	if c.err != nil {
		return nil, Position{}, c.err // the call is not used again, see Proposal.Data
	}
	result, at := append(make([]byte, 0, len(c.result)), c.result...), c.at
	c.recycle()
	return result, at, nil
}

// check refuses a proposal that cannot be queued at any time.
func check(ctx context.Context, bytes int) error {
	if bytes > MaxProposalBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, bytes, MaxProposalBytes)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("rsm: not proposed: %w", err)
	}
	return nil
}

// The states of a call: Propose and the apply goroutine both try to leave
// callWaits, and the one that comes second recycles the call.
const (
	callWaits uint32 = iota
	callDone
	callLeft // ctx ended before
)

// maxPooledBytes is the largest buffer that is kept with a call.
const maxPooledBytes = 64 << 10

// call is what a Propose under way needs. It is pooled.
type call struct {
	pool     *sync.Pool
	proposal Proposal
	done     chan struct{} // capacity 1
	state    atomic.Uint32
	result   []byte
	at       Position
	err      error
}

// newCall returns a call from the pool. A pool belongs to one node: the channels
// of one made in a synctest bubble are of no use elsewhere.
func newCall(pool *sync.Pool) *call {
	if c, ok := pool.Get().(*call); ok {
		return c
	}
	c := &call{pool: pool, done: make(chan struct{}, 1)}
	c.proposal.Done = c.finish
	return c
}

// finish is the proposal's Done.
func (c *call) finish(result []byte, at Position, err error) {
	c.result, c.at, c.err = append(c.result[:0], result...), at, err
	if c.state.CompareAndSwap(callWaits, callDone) {
		c.done <- struct{}{}
		return
	}
	if err == nil {
		c.recycle()
	}
}

// wait says whether the call was finished before ctx ended. If it was not, the
// call belongs to finish.
func (c *call) wait(ctx context.Context) bool {
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		if c.state.CompareAndSwap(callWaits, callLeft) {
			return false
		}
		<-c.done
		return true
	}
}

func (c *call) recycle() {
	if cap(c.proposal.Data) > maxPooledBytes {
		c.proposal.Data = nil
	}
	if cap(c.result) > maxPooledBytes {
		c.result = nil
	}
	c.pool.Put(c)
}
