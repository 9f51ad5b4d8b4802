package wallet

import (
	"context"
	"slices"
	"sync"

	"maru.example/rsm"
)

// Receipt takes the positions at which commands were committed.
type Receipt struct {
	mu        sync.Mutex
	positions HistoryPositions
}

type receiptKey struct{}

// WithReceipt returns a context with which a method of [Service] notes in the receipt where
// its commands were committed: who waits for a read model to have come there
// reads what they wrote.
func WithReceipt(ctx context.Context) (context.Context, *Receipt) {
	r := &Receipt{}
	return context.WithValue(ctx, receiptKey{}, r), r
}

// receiptOf returns the receipt that a caller wants, nil for none.
func receiptOf(ctx context.Context) *Receipt {
	r, _ := ctx.Value(receiptKey{}).(*Receipt)
	return r
}

// note notes a position. The last one of a partition counts.
func (r *Receipt) note(partition uint16, at rsm.Index) {
	if r == nil || at == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := slices.BinarySearchFunc(r.positions, partition, func(p HistoryPosition, n uint16) int { return int(p.Partition) - int(n) })
	if found {
		r.positions[i].Index = max(r.positions[i].Index, at)
		return
	}
	r.positions = slices.Insert(r.positions, i, HistoryPosition{partition, at})
}

// Positions returns where commands were committed, by partition; none if nothing was.
func (r *Receipt) Positions() HistoryPositions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.positions)
}
