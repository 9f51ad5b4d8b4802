// Package walletraft joins the partitions of a wallet with a node that runs groups
// by Raft: partition p is group p+1 (group 0 is the cluster's metadata).
package walletraft

import (
	"context"
	"fmt"
	"sync"
	"time"

	"maru.example/rsm"
	"maru.example/rsm/rsmraft"
	"maru.example/wallet"
)

// Group returns the group of a partition.
func Group(partition uint16) rsmraft.GroupID { return rsmraft.GroupID(partition) + 1 }

// Log is the log of a partition of the wallet: that of this node's replica, which
// may come and go.
type Log struct {
	host func() *rsmraft.Host
	id   rsmraft.GroupID
	idle rsm.Loop

	mu      sync.Mutex
	leading func(leads bool)
	newest  *rsmraft.Group // of the replicas that were made, which the host may not know yet
}

var _ wallet.PartitionLog = (*Log)(nil)

// NewLog returns the log of a partition on a host, which may be nil until it is
// open. While there is no replica, idle is the log's loop.
func NewLog(host func() *rsmraft.Host, partition uint16, idle rsm.Loop) *Log {
	return &Log{host: host, id: Group(partition), idle: idle}
}

// Replica returns this node's replica, or an error that wraps rsm.ErrNoLeader.
func (l *Log) Replica() (*rsmraft.Group, error) {
	if h := l.host(); h != nil {
		if g := h.Group(l.id); g != nil {
			return g, nil
		}
	}
	return nil, fmt.Errorf("%w: this node has no replica of partition %d (yet)", rsm.ErrNoLeader, l.id-1)
}

// Opened is to be called with each replica that is made here.
func (l *Log) Opened(g *rsmraft.Group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest = g
	if l.leading != nil {
		g.OnLeading(l.leading)
	}
}

// OnLeading implements wallet.PartitionLog.
func (l *Log) OnLeading(f func(leads bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leading = f
	if l.newest != nil {
		l.newest.OnLeading(f)
	}
}

// ApplyLoop implements wallet.PartitionLog.
func (l *Log) ApplyLoop() rsm.Loop {
	if g, err := l.Replica(); err == nil {
		return g.ApplyLoop()
	}
	return l.idle
}

// Propose implements wallet.PartitionLog.
func (l *Log) Propose(ctx context.Context, data []byte) ([]byte, rsm.Position, error) {
	g, err := l.Replica()
	if err != nil {
		return nil, rsm.Position{}, err
	}
	return g.Propose(ctx, data)
}

// Submit implements wallet.PartitionLog.
func (l *Log) Submit(ctx context.Context, p *rsm.Proposal) error {
	g, err := l.Replica()
	if err != nil {
		return err
	}
	return g.Submit(ctx, p)
}

// TrySubmit implements wallet.PartitionLog.
func (l *Log) TrySubmit(ctx context.Context, p *rsm.Proposal) error {
	g, err := l.Replica()
	if err != nil {
		return err
	}
	return g.TrySubmit(ctx, p)
}

// StartRead implements wallet.PartitionLog.
func (l *Log) StartRead(fn func(error)) {
	g, err := l.Replica()
	if err != nil {
		fn(err)
		return
	}
	g.StartRead(fn)
}

// StartReadStale implements wallet.PartitionLog.
func (l *Log) StartReadStale(fn func(age time.Duration, err error)) {
	g, err := l.Replica()
	if err != nil {
		fn(0, err)
		return
	}
	g.StartReadStale(fn)
}

// StartPeek implements wallet.PartitionLog.
func (l *Log) StartPeek(fn func(error)) {
	g, err := l.Replica()
	if err != nil {
		fn(err)
		return
	}
	g.StartPeek(fn)
}
