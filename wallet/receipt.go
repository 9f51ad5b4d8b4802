package wallet

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

// NoteReceipt notes positions that a server's answer had in the receipt of a context, if it has one.
func NoteReceipt(ctx context.Context, ps HistoryPositions) {
	r := receiptOf(ctx)
	for _, p := range ps {
		r.note(p.Partition, p.Index)
	}
}

// Position returns the index of the entry that a partition has decided last, of those with commands: everything
// that was acknowledged before is in it. 0: that is not known.
func (s *Service) Position(ctx context.Context, partition uint16) (rsm.Index, error) {
	f, err := s.query(ctx, s.parts[partition], &query{Subject: aboutPosition})
	if err != nil {
		return 0, err
	}
	return f.Index, nil
}

// othersWithin is how long an answer waits for the positions of other partitions.
const othersWithin = time.Second

// noteOthers notes where the other partitions are that took part in commands of which some were applied: what they decided
// of them was committed before. One that does not answer soon is left out.
func (s *Service) noteOthers(ctx context.Context, r *Receipt, others []uint16, results []byte) {
	if r == nil || len(others) == 0 || !slices.ContainsFunc(results, func(b byte) bool { return Result(b).Code() == Applied }) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, othersWithin)
	defer cancel()
	var left atomic.Int32
	left.Store(int32(len(others)))
	_ = s.await(ctx, func(done func()) { // without them it is a receipt too
		for _, n := range others {
			s.parts[n].query(&query{Subject: aboutPosition}, func(f *finding, err error) {
				if err == nil {
					r.note(n, f.Index)
				}
				if left.Add(-1) == 0 {
					done()
				}
			})
		}
	})
}

// others appends the partitions that take part in the commands of a piece, beside the one that decides them.
func (p *piece) others(to []uint16) []uint16 {
	add := func(n uint16) {
		if n != p.to.number && !slices.Contains(to, n) {
			to = append(to, n)
		}
	}
	for i, cmd := range p.commands {
		if p.kind != KindCrossTransactions {
			h, name := p.payee(i)
			if name == nil {
				add(h.Partition())
			} else {
				add(p.b.s.partitionOf(p.b.header.Tenant, name))
			}
			continue
		}
		_, own, _, _ := parseTransaction(cmd)
		for rest, n := own.postings, own.n; n > 0; n-- {
			var v rawPosting
			v, rest = nextPosting(rest)
			add(p.b.s.partitionOf(p.b.header.Tenant, v.name))
		}
	}
	return to
}

// Positions returns where commands were committed, by partition; none if nothing was.
func (r *Receipt) Positions() HistoryPositions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.positions)
}
