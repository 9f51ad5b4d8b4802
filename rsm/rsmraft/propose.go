package rsmraft

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"maru.example/rsm"
)

// Submit queues a proposal and returns. It waits while the queue is full, until
// ctx ends. If it returns an error, Done is not called. A replica that does not
// lead sends the proposal to the leader; if there is none the proposal gets
// rsm.ErrNoLeader.
func (g *Group) Submit(ctx context.Context, p *rsm.Proposal) error { return g.queue.Add(ctx, p) }

// TrySubmit is Submit where a full queue is answered with rsm.ErrBusy.
func (g *Group) TrySubmit(ctx context.Context, p *rsm.Proposal) error { return g.queue.TryAdd(ctx, p) }

// Propose commits data and returns a copy of the machine's result. It returns
// rsm.ErrBusy at once where the queue is full. When ctx ends first the outcome is
// unknown: the proposal may still be committed. It copies data, which may be
// changed once Propose returned.
func (g *Group) Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error) {
	c := newCall(&g.calls)
	c.state.Store(callWaits)
	c.proposal.Data = append(c.proposal.Data[:0], data...)
	if err := g.queue.TryAdd(ctx, &c.proposal); err != nil {
		c.recycle()
		return nil, rsm.Position{}, err
	}
	if !c.wait(ctx) {
		return nil, rsm.Position{}, fmt.Errorf("%w: %w", rsm.ErrUnknown, ctx.Err())
	}
	result, at, err := append(make([]byte, 0, len(c.result)), c.result...), c.at, c.err
	c.recycle()
	if err != nil {
		return nil, rsm.Position{}, err
	}
	return result, at, nil
}

// The states of a call: Propose and the apply loop both try to leave callWaits,
// and the one that comes second recycles the call.
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
	proposal rsm.Proposal
	done     chan struct{} // capacity 1
	state    atomic.Uint32
	result   []byte
	at       rsm.Position
	err      error
}

// newCall returns a call from the pool. A pool belongs to one group: the channels
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
func (c *call) finish(result []byte, at rsm.Position, err error) {
	c.result, c.at, c.err = append(c.result[:0], result...), at, err
	if c.state.CompareAndSwap(callWaits, callDone) {
		c.done <- struct{}{}
		return
	}
	c.recycle()
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
