package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// partitionLog is the log of a partition of the wallet: that of this node's
// replica, which may come and go.
type partitionLog struct {
	host func() *rsmraft.Host
	id   rsmraft.GroupID
	idle rsm.Loop // while there is no replica

	mu      sync.Mutex
	leading func(leads bool)
}

var _ wallet.PartitionLog = (*partitionLog)(nil)

// group returns the replica, or why there is none.
func (l *partitionLog) group() (*rsmraft.Group, error) {
	if h := l.host(); h != nil {
		if g := h.Group(l.id); g != nil {
			return g, nil
		}
	}
	return nil, fmt.Errorf("%w: this node has no replica of partition %d (yet)", rsm.ErrNoLeader, l.id-1)
}

// opened is called with each replica that is made here.
func (l *partitionLog) opened(g *rsmraft.Group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leading != nil {
		g.OnLeading(l.leading)
	}
}

// OnLeading implements wallet.PartitionLog.
func (l *partitionLog) OnLeading(f func(leads bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading = f
	if g, err := l.group(); err == nil {
		g.OnLeading(f)
	}
}

// ApplyLoop implements wallet.PartitionLog.
func (l *partitionLog) ApplyLoop() rsm.Loop {
	if g, err := l.group(); err == nil {
		return g.ApplyLoop()
	}
	return l.idle
}

// Propose implements wallet.Log.
func (l *partitionLog) Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error) {
	g, err := l.group()
	if err != nil {
		return nil, rsm.Position{}, err
	}
	return g.Propose(ctx, data)
}

// Submit implements wallet.Log.
func (l *partitionLog) Submit(ctx context.Context, p *rsm.Proposal) error {
	g, err := l.group()
	if err != nil {
		return err
	}
	return g.Submit(ctx, p)
}

// TrySubmit implements wallet.PartitionLog.
func (l *partitionLog) TrySubmit(ctx context.Context, p *rsm.Proposal) error {
	g, err := l.group()
	if err != nil {
		return err
	}
	return g.TrySubmit(ctx, p)
}

// Read implements wallet.Log.
func (l *partitionLog) Read(ctx context.Context, fn func()) error {
	g, err := l.group()
	if err != nil {
		return err
	}
	return g.Read(ctx, fn)
}

// Peek implements wallet.PartitionLog.
func (l *partitionLog) Peek(ctx context.Context, fn func()) error {
	g, err := l.group()
	if err != nil {
		return err
	}
	return g.Peek(ctx, fn)
}

// ReadStale reads this node's replica as it is.
func (l *partitionLog) ReadStale(ctx context.Context, fn func()) (time.Duration, error) {
	g, err := l.group()
	if err != nil {
		return 0, err
	}
	return g.ReadStale(ctx, fn)
}
